"""Generates digits as people send them: copies of training digits, other handwriting, print.

Each is put on paper and read through `imaging`, so that it looks as it would to a served model.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

import imaging
from imaging import SIDE, look, open_image
from imaging.errors import PictureError
from training.card import replacing_file
from training.dataset import Digits, joined
from training.recipes import PicturesRecipe
from training.synthetic import fonts, pens, styles
from training.synthetic.arrival import spread
from training.synthetic.paper import Box, Picture, on_paper
from training.synthetic.pens import Ink
from training.synthetic.styles import Rng

Kind = Literal["sent", "written", "printed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CHUNK = 500
HEIGHTS = 12, 160  # pixels of a digit in its picture, from the least to the most
WORN = 0.12  # the share drawn with a dry pen
OVERLAP = 0.4  # of the box found with the digit's box; below, something else was found


def learned_from(
    recipe: PicturesRecipe | None, digits: Digits, *, cache: Path, console: Console
) -> tuple[Digits, Digits]:
    """Return the pictures of an epoch; the same digits and code give the same pictures.

    Args:
        recipe: How many pictures of each kind to make; `None` makes none.
        digits: The training digits.
        cache: The folder that keeps the pictures, one file per kind.
        console: Shows the progress.

    Returns:
        The digits, repeated as the recipe says, and the generated pictures in which `imaging` finds
        the right digit; the writers and series of these are -1. Second, the same pictures with each
        digit once.
    """
    if recipe is None:
        return digits, digits
    kinds = [kind for kind in KINDS if getattr(recipe, kind) > 0]
    made = [_of_a_kind(kind, recipe, digits, cache, console) for kind in kinds]
    return joined(*[digits] * recipe.as_it_is, *made), joined(digits, *made)


def make_picture(
    kind: Kind, digit: int, copied: NDArray[np.uint8], rng: Rng
) -> tuple[Picture, NDArray[np.uint8] | None]:
    """Make a picture of a digit, and read it through `imaging`.

    Args:
        kind: Which kind.
        digit: 0…9.
        copied: A training digit of that class, uint8 `[28, 28]`, for the kind that copies it.
        rng: Draws all random numbers.

    Returns:
        The picture, uint8 `[H, W]`; and its pixels, uint8 `[28, 28]` with 255 for ink, or `None` if
        `imaging` finds something else in it.
    """
    low, high = np.log(HEIGHTS)
    height = round(np.exp(rng.uniform(low, high)))
    ink = _ink(kind, digit, copied, rng, height)
    if rng.random() < WORN:
        ink = pens.worn(ink, rng)

    def other() -> Ink:
        drawn: Kind = "printed" if kind == "printed" else "written"
        return _ink(drawn, int(rng.integers(10)), copied, rng, height)

    picture, box = on_paper(ink, other, rng)
    try:
        view = look(open_image(Image.fromarray(picture)))
    except PictureError:
        return picture, None
    return picture, view.pixels if _overlap(view.box, box) >= OVERLAP else None


def _ink(kind: Kind, digit: int, copied: NDArray[np.uint8], rng: Rng, height: int) -> Ink:
    match kind:
        case "sent":
            return pens.copied(copied, rng, height)
        case "written":
            return pens.draw(styles.write(digit, rng), rng, height)
        case "printed":
            return fonts.printed(str(digit), rng, height)


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union, 0…1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


@dataclass(frozen=True, eq=False)
class _Order:
    """An order to a process: pictures of these digits, with random numbers of this seed."""

    kind: Kind
    digits: NDArray[np.int64]
    copied: NDArray[np.uint8]
    seed: tuple[int, ...]


def _of_a_kind(
    kind: Kind, recipe: PicturesRecipe, digits: Digits, cache: Path, console: Console
) -> Digits:
    count = round(getattr(recipe, kind) * len(digits))
    identity = [kind, count, recipe.seed, digits.sha256(), _code()]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    path = cache / f"{kind}-{digest[:12]}.npz"
    if not path.exists():
        orders = _orders(kind, count, recipe.seed, digits)
        made = spread(_fill, orders, count)
        parts = track(made, f"{kind} digits", len(orders), console=console, transient=True)
        images, labels = map(np.concatenate, zip(*parts, strict=True))
        with replacing_file(path) as unfinished:
            np.savez(unfinished, images=images, labels=labels)
    kept = np.load(path)
    nobody = torch.full((len(kept["labels"]),), -1)
    return Digits(
        torch.from_numpy(kept["images"]), torch.from_numpy(kept["labels"]), nobody, nobody
    )


def _orders(kind: Kind, count: int, seed: int, digits: Digits) -> list[_Order]:
    images, labels = digits.images.numpy(), digits.labels.numpy()
    number = KINDS.index(kind)
    rng = np.random.default_rng((seed, number))
    times = math.ceil(count / len(digits))
    rows = np.concatenate([rng.permutation(len(digits)) for _ in range(times)])[:count]
    return [
        _Order(kind, labels[some], images[some], (seed, number, part))
        for part, some in enumerate(np.split(rows, range(CHUNK, count, CHUNK)))
    ]


def _fill(order: _Order) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng(order.seed)
    seen = [
        make_picture(order.kind, int(digit), copied, rng)[1]
        for digit, copied in zip(order.digits, order.copied, strict=True)
    ]
    found = [pixels for pixels in seen if pixels is not None]
    which = np.array([pixels is not None for pixels in seen], np.bool_)
    return np.array(found, np.uint8).reshape(-1, SIDE, SIDE), order.digits[which]


@cache
def _code() -> str:
    """Return a fingerprint of the code that makes pictures and of the code that reads them."""
    names = ("fonts", "paper", "pens", "pictures", "styles")
    files = [Path(__file__).with_name(f"{name}.py") for name in names]
    files += sorted(Path(imaging.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
