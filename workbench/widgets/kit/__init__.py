"""What every widget shares: style, text, loading code, messages, Plotly."""
