"""Reads generated pictures through `imaging`, as the service reads its users' pictures.

This module does not import torch, so that the processes that it starts need not either.
"""

import atexit
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging import SIDE, look, open_image
from imaging.errors import PictureError

# uint8 [H, W] each, of different sizes, or [N, S, S] of the same size
Pictures = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 1_000  # pictures per call of a process
ALONE = 5_000  # up to this many pictures, starting processes takes longer than it saves


def arrive(pictures: Pictures) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read pictures through `imaging`; 100,000 take about 45 seconds on two cores.

    Args:
        pictures: N pictures, dark on light or light on dark.

    Returns:
        The pixels of the pictures in which `imaging` finds one digit, uint8 `[M, 28, 28]` with 255
        for ink; and a mask of these pictures, bool `[N]`.
    """
    chunks = [pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK)]
    found = spread(_look, chunks, len(pictures))
    pixels, which = zip(*found, strict=True) if chunks else ((), ())
    return (
        np.concatenate([np.empty((0, SIDE, SIDE), np.uint8), *pixels]),
        np.concatenate([np.empty(0, np.bool_), *which]),
    )


def spread(function: Callable[[T], R], chunks: Iterable[T], pictures: int) -> Iterator[R]:
    """Apply a function to chunks of pictures: in several processes, if there are many pictures."""
    return (map if pictures <= ALONE else _processes().map)(function, chunks)


@cache
def _processes() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool


def _look(pictures: Pictures) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    seen = list(map(_look_at_one, pictures))
    found = [pixels for pixels in seen if pixels is not None]
    return (
        np.array(found, np.uint8).reshape(-1, SIDE, SIDE),
        np.array([pixels is not None for pixels in seen], np.bool_),
    )


def _look_at_one(picture: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    try:
        return look(open_image(Image.fromarray(picture))).pixels
    except PictureError:
        return None
