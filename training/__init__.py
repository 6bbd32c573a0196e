"""Trains three small QMNIST networks and writes them to `models/`."""
