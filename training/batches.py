"""The batches of a training, shuffled anew in every epoch; and a second thread to make them in."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from training.augment import Augmenter
from training.dataset import Digits
from training.networks import normalise
from training.recipes import Recipe

Batch = tuple[Tensor, Tensor]  # normalised pixels, float32 [B, 784]; labels, int64 [B]

AHEAD = 16  # batches
AUGMENTED_TOGETHER = 4  # batches

T = TypeVar("T")


def epochs(
    digits: Digits, recipe: Recipe, *, seed: int, device: torch.device, first: int
) -> Generator[Batch, None, None]:
    """Give the batches of all epochs from number `first` on, one after the other.

    An epoch's batches depend on the seed and its number alone, so a training that was interrupted
    goes on as if it had not been. All pictures stay in the device's memory as bytes or floats; a
    batch is gathered by a slice of the shuffled row numbers.
    """
    labels = digits.labels.to(device)
    prepare = _preparation(digits.images.to(device), recipe)
    together = recipe.batch_size * AUGMENTED_TOGETHER
    for epoch in range(first, recipe.epochs + 1):
        generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
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


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Give the same items, which a second thread takes from their iterator some way ahead.

    PyTorch's operations leave other threads to run, so making batches and learning from them
    share two cores.
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
        # Settings of a thread, and so not inherited from the one that trains.
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the items are taken
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
