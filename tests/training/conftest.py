import pytest
import torch

from tests.pictures import drawn
from training.dataset import Digits


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Use one thread, as training does: in such small networks, two would wait for each other."""
    torch.set_num_threads(1)


def drawn_digits(count: int, seed: int) -> Digits:
    images, labels = drawn.digits(count, seed)
    writers = torch.arange(count) // 20
    return Digits(torch.from_numpy(images), torch.from_numpy(labels), writers, writers % 5)
