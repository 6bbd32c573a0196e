"""Augmentation of whole batches as tensor operations: each picture is resampled once, bilinearly.

Where a pixel of the result looks in the picture is a linear function of a few random numbers: six
for rotation, scale, shear and shift, and two for each point of a coarse grid, whose displacements
are interpolated between the points (the elastic distortion of Simard et al., Best Practices for
Convolutional Neural Networks Applied to Visual Document Analysis, 2003, on a grid in the place of
smoothed noise). So the fields of a batch are one matrix product.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.networks import MEAN, PIXELS, STD
from training.recipes import Augmentation

SIDE = 28


class Augmenter:
    """Augments digits of one data set.

    Args:
        images: All pictures, uint8 `[N, 28, 28]`.
        augmentation: How far they are distorted.
    """

    def __init__(self, images: Tensor, augmentation: Augmentation) -> None:
        self.augmentation = augmentation
        self._images = images.float().div_(255).unsqueeze(1)
        # Pixel centres, with -1…1 from edge to edge, as grid_sample has them.
        centres = (torch.arange(SIDE, device=images.device) + 0.5) * (2 / SIDE) - 1
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        points = augmentation.grid**2
        bumps = F.interpolate(
            torch.eye(points, device=images.device).view(points, 1, augmentation.grid, -1),
            (SIDE, SIDE),
            mode="bicubic",
            align_corners=True,
        )
        basis = torch.cat(
            [x.reshape(1, -1), y.reshape(1, -1), torch.ones_like(x).view(1, -1), bumps.flatten(1)]
        )
        # Coefficients of the x field, then of the y field -> both fields, interleaved.
        self._terms = len(basis)
        fields = torch.zeros(2, self._terms, PIXELS, 2, device=images.device)
        fields[0, :, :, 0] = basis
        fields[1, :, :, 1] = basis
        self._basis = fields.view(2 * self._terms, 2 * PIXELS)

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Augment some pictures.

        Args:
            rows: Which, int64 `[B]`.
            generator: Where the random numbers come from, on the CPU.

        Returns:
            Normalised pixels, float32 `[B, 784]` in -1…1.
        """
        fields = self._coefficients(len(rows), generator).to(rows.device) @ self._basis
        augmented = F.grid_sample(
            self._images[rows], fields.view(-1, SIDE, SIDE, 2), align_corners=False
        )
        return augmented.flatten(1).sub_(MEAN).div_(STD)

    def _coefficients(self, count: int, generator: torch.Generator) -> Tensor:
        limits = self.augmentation
        uniform = torch.rand(count, 6, generator=generator).mul_(2).sub_(1)
        angle = uniform[:, 0] * math.radians(limits.rotation)
        scale_x = torch.exp(uniform[:, 1] * limits.scale)
        scale_y = torch.exp(uniform[:, 2] * limits.scale)
        shear = uniform[:, 3] * limits.shear
        pixel = 2 / SIDE
        coefficients = torch.randn(count, 2, self._terms, generator=generator)
        coefficients *= limits.elastic * pixel
        cosine, sine = angle.cos(), angle.sin()
        coefficients[:, 0, 0] = cosine * scale_x
        coefficients[:, 0, 1] = cosine * scale_x * shear - sine * scale_y
        coefficients[:, 0, 2] = uniform[:, 4] * limits.shift * pixel
        coefficients[:, 1, 0] = sine * scale_x
        coefficients[:, 1, 1] = sine * scale_x * shear + cosine * scale_y
        coefficients[:, 1, 2] = uniform[:, 5] * limits.shift * pixel
        return coefficients.view(count, -1)
