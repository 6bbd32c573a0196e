"""Loads the models, and turns pixels into predictions."""
