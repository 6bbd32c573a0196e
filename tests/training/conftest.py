import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """As in training: two threads would only wait for each other in networks so small."""
    torch.set_num_threads(1)
