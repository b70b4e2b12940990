"""Static pages: what was measured, as a person reads it, and the one module of still charts."""
