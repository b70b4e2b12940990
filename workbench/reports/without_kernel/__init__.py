"""A widget on a page that works without a kernel: what it was asked and answered, played back."""
