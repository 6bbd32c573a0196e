"""Reads `models/` and answers with digits."""
