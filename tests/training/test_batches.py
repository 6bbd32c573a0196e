import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.training.conftest import drawn_digits
from training.batches import ahead, epochs
from training.recipes import RECIPES

RECIPE = replace(RECIPES["notebook"]["baseline"], epochs=3, batch_size=64)
CPU = torch.device("cpu")


def test_an_epoch_is_every_digit_once() -> None:
    digits = drawn_digits(500, seed=1)
    batches = list(epochs(digits, RECIPE, seed=0, device=CPU, first=3))
    assert [len(y) for _, y in batches] == [64] * 7 + [52]
    seen = torch.cat([y for _, y in batches])
    assert torch.equal(seen.bincount(), digits.labels.bincount())
    assert not torch.equal(seen, digits.labels)


@pytest.mark.parametrize("recipe", ["notebook", "strong"])
def test_an_epochs_batches_do_not_depend_on_the_epochs_before(recipe: str) -> None:
    chosen = replace(RECIPES[recipe]["baseline"], epochs=3, batch_size=100)  # type: ignore[index]
    digits = drawn_digits(200, seed=1)
    whole = [x for x, _ in epochs(digits, chosen, seed=0, device=CPU, first=1)]
    last = [x for x, _ in epochs(digits, chosen, seed=0, device=CPU, first=3)]
    assert torch.equal(torch.cat(whole[-2:]), torch.cat(last))
    assert not torch.equal(torch.cat(whole[:2]), torch.cat(last))


def test_ahead_gives_the_same_items() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))


def test_an_error_ahead_is_raised_where_the_items_are_taken() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="no more"):
        next(stream)


def test_a_stream_that_is_closed_leaves_no_thread() -> None:
    stream = ahead(iter(range(10_000)))
    next(stream)
    stream.close()
    assert "batches" not in [thread.name for thread in threading.enumerate()]
