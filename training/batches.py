"""The batches of a training, shuffled and augmented for every epoch, in a second thread."""

import math
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from training.dataset import SIDE, Digits
from training.networks import MEAN, PIXELS, STD, normalise
from training.recipes import Augmentation, Recipe

Batch = tuple[Tensor, Tensor]  # normalised pixels, float32 [B, 784]; labels, int64 [B]

AHEAD = 16  # batches

T = TypeVar("T")


def stream(
    digits: Digits, recipe: Recipe, *, seed: int, device: torch.device, first: int
) -> Generator[Batch, None, None]:
    """Yield the batches of `epochs`; make them in a second thread if they are augmented."""
    batches = epochs(digits, recipe, seed=seed, device=device, first=first)
    return batches if recipe.augmentation is None else ahead(batches)


def seed_of(seed: int, epoch: int) -> int:
    """Derive the seed of an epoch, counted from 1, from its training's seed."""
    return 1_000_003 * seed + epoch


def epochs(
    digits: Digits, recipe: Recipe, *, seed: int, device: torch.device, first: int
) -> Generator[Batch, None, None]:
    """Yield the batches of all epochs from number `first` on.

    An epoch's batches depend only on the seed and the epoch's number, so an interrupted training
    continues with the same ones. All pictures stay in the device's memory, as bytes or floats; a
    batch is gathered by a slice of the shuffled row numbers.
    """
    labels = digits.labels.to(device)
    prepare = _preparation(digits.images.to(device), recipe)
    together = recipe.batch_size * recipe.made_together
    for epoch in range(first, recipe.epochs + 1):
        generator = torch.Generator().manual_seed(seed_of(seed, epoch))
        order = torch.randperm(len(digits), generator=generator).to(device)
        for rows in order.split(together):
            pixels = prepare(rows, generator)
            yield from zip(
                pixels.split(recipe.batch_size),
                labels[rows].split(recipe.batch_size),
                strict=True,
            )


def _preparation(images: Tensor, recipe: Recipe) -> Callable[[Tensor, torch.Generator], Tensor]:
    if recipe.augmentation is not None:
        return Augmenter(images, recipe.augmentation)
    return lambda rows, _: normalise(images[rows])


class Augmenter:
    """Augments batches of digits by tensor operations, with one bilinear interpolation.

    The place from which a pixel of the result is taken is a linear function of a few random
    numbers: six for rotation, scale, shear and shift, and two for each point of a coarse grid,
    whose displacements are interpolated between the points. (This is the elastic distortion of
    Simard et al., Best Practices for Convolutional Neural Networks Applied to Visual Document
    Analysis, 2003, with a grid instead of smoothed noise.) So one matrix product gives the fields
    of a whole batch.

    Args:
        images: All pictures, uint8 `[N, 28, 28]`.
        augmentation: How far they are distorted.
    """

    def __init__(self, images: Tensor, augmentation: Augmentation) -> None:
        self.augmentation = augmentation
        self._images = images.float().div_(255).unsqueeze(1)
        # Pixel centres in grid_sample's coordinates: -1…1 from edge to edge.
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
        # Maps the coefficients of the x field and of the y field to both fields, interleaved.
        self._terms = len(basis)
        fields = torch.zeros(2, self._terms, PIXELS, 2, device=images.device)
        fields[0, :, :, 0] = basis
        fields[1, :, :, 1] = basis
        self._basis = fields.view(2 * self._terms, 2 * PIXELS)

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Augment some pictures.

        Args:
            rows: Their row numbers, int64 `[B]`.
            generator: Draws the random numbers, on the CPU.

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


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield the same items, which a second thread takes from their iterator in advance.

    PyTorch's operations release Python's lock, so one core makes batches while another learns from
    them.
    """
    ready: queue.Queue[T | BaseException | None] = queue.Queue(AHEAD)
    stopped = threading.Event()

    def put(item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=1)
            except queue.Full:
                continue
            return

    def work() -> None:
        # These settings are per thread and not inherited from the thread that trains.
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that takes the items
            put(error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
