"""The version: what exports and archives name, and what pip installs."""

__version__ = "0.2.0"
