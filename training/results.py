"""The results, by the name under which `tests/end_to_end/test_readme.py` imports them."""

from training.card import load_results as load

__all__ = ["load"]
