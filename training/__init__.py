"""Trains small networks that read digits, and exports them for serving."""
