import math

import numpy as np
import torch
import torch.nn.functional as F

from tests.training.conftest import drawn_digits
from training.augment import Augmenter
from training.networks import normalise
from training.recipes import Augmentation

NONE = Augmentation(rotation=0, scale=0, shear=0, shift=0, elastic=0)
ROWS = torch.arange(50)


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
    """Against PyTorch's own affine_grid, with the same random numbers."""
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
