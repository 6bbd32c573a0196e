"""Pixels become predictions, by the models that are served."""
