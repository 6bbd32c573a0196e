"""Reads `models/` and answers with digits."""

__version__ = "0.1.0"
