import math
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.training.conftest import drawn_digits
from training.batches import Augmenter, ahead, epochs
from training.networks import normalise
from training.recipes import Augmentation, RecipeName, recipe_for

RECIPE = replace(recipe_for("baseline", "notebook"), epochs=3, batch_size=64)
CPU = torch.device("cpu")
NONE = Augmentation(rotation=0, scale=0, shear=0, shift=0, elastic=0)
ROWS = torch.arange(50)


def test_an_epoch_is_every_digit_once() -> None:
    digits = drawn_digits(500, seed=1)
    batches = list(epochs(digits, RECIPE, seed=0, device=CPU, first=3))
    assert [len(y) for _, y in batches] == [64] * 7 + [52]
    seen = torch.cat([y for _, y in batches])
    assert torch.equal(seen.bincount(), digits.labels.bincount())
    assert not torch.equal(seen, digits.labels)


@pytest.mark.parametrize("recipe", ["notebook", "strong"])
def test_an_epochs_batches_do_not_depend_on_the_epochs_before(recipe: RecipeName) -> None:
    chosen = replace(recipe_for("baseline", recipe), epochs=3, batch_size=100)
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


def augment(augmentation: Augmentation, seed: int = 0) -> torch.Tensor:
    digits = drawn_digits(50, seed=3)
    return Augmenter(digits.images, augmentation)(ROWS, torch.Generator().manual_seed(seed))


def test_no_distortion_is_the_picture_itself() -> None:
    expected = normalise(drawn_digits(50, seed=3).images)
    torch.testing.assert_close(augment(NONE), expected, rtol=0, atol=1e-5)


def test_the_generator_alone_decides() -> None:
    assert torch.equal(augment(Augmentation(), 1), augment(Augmentation(), 1))
    assert not torch.equal(augment(Augmentation(), 1), augment(Augmentation(), 2))


def test_an_affine_distortion_is_affine_grids() -> None:
    """Compare with PyTorch's affine_grid for the same random numbers."""
    limits = Augmentation(elastic=0)
    u = torch.rand(50, 6, generator=torch.Generator().manual_seed(5)) * 2 - 1
    angle, shear = u[:, 0] * math.radians(limits.rotation), u[:, 3] * limits.shear
    scale = torch.exp(u[:, 1:3] * limits.scale)
    shift = u[:, 4:] * limits.shift / 14
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    sheared = torch.zeros(50, 2, 2)
    sheared[:, 0, 0], sheared[:, 0, 1], sheared[:, 1, 1] = (
        scale[:, 0],
        scale[:, 0] * shear,
        scale[:, 1],
    )
    theta = torch.cat([turn @ sheared, shift.unsqueeze(2)], 2)
    grid = F.affine_grid(theta, [50, 1, 28, 28], align_corners=False)
    images = drawn_digits(50, seed=3).images[:, None] / 255
    expected = F.grid_sample(images, grid, align_corners=False).flatten(1) * 2 - 1
    torch.testing.assert_close(augment(limits, 5), expected, rtol=0, atol=1e-4)


def test_the_elastic_distortion_moves_ink_by_about_what_it_says() -> None:
    moved = augment(Augmentation(rotation=0, scale=0, shear=0, shift=0, elastic=1.0))
    plain = augment(NONE)
    centres = []
    for pixels in (plain, moved):
        ink = (pixels.view(-1, 28, 28).numpy() + 1) / 2
        weights = ink / ink.sum(axis=(1, 2), keepdims=True)
        centres.append((weights.sum(axis=1) * np.arange(28)).sum(axis=1))
    offsets = np.abs(centres[1] - centres[0])
    assert 0.1 < offsets.mean() < 1.0
