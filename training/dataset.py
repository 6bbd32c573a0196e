"""The data set as uint8 tensors in memory, and its splits: QMNIST, or folders of your own."""

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from torch import Tensor
from torchvision.datasets import QMNIST

from training import folders

Split = Literal["train", "test"]

# Columns of QMNIST's extended labels.
CLASS = 0
SERIES = 1
WRITER = 2

SIDE = 28  # pixels
TEST10K = 10_000


class DatasetError(Exception):
    """The data set is missing or damaged; the message says which one and what to do."""


@dataclass(frozen=True)
class Digits:
    """Some digits with their labels.

    Attributes:
        images: uint8 `[N, 28, 28]`, 255 is ink.
        labels: int64 `[N]`, the digit, 0…9.
        writers: int64 `[N]`, who wrote it. Nobody knows that of the pictures in your own data set,
            so each of these has a writer of its own.
        series: int64 `[N]`, NIST's HSF series: high-school students wrote series 4, employees of
            the Census Bureau the others. -1 for digits that are not QMNIST's.
    """

    images: Tensor
    labels: Tensor
    writers: Tensor
    series: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | Tensor) -> "Digits":
        return Digits(self.images[rows], self.labels[rows], self.writers[rows], self.series[rows])

    def sha256(self) -> str:
        """Return a fingerprint of pixels, labels and writers, whatever files they came from."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels, self.writers):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def joined(*parts: Digits) -> Digits:
    """Join digits in this order."""
    return Digits(
        *(
            torch.cat([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Digits)
        )
    )


def is_own(root: Path) -> bool:
    """Tell whether a folder is a data set of your own: not QMNIST's, and with a split in it."""
    splits = [(root / split).is_dir() for split in ("train", "test")]
    return any(splits) and not (root / "QMNIST").is_dir()


def source(root: Path) -> str:
    """Return the data set's name for the card."""
    return root.resolve().name if is_own(root) else "QMNIST"


def load(root: Path, split: Split, console: Console | None = None) -> Digits:
    """Read one split of a data set.

    Args:
        root: A folder that contains `train/` and `test/`, each with folders `0` to `9` of pictures.
            Any other folder is torchvision's, into which QMNIST is downloaded if it is missing.
        split: Which split.
        console: Shows the progress and the warnings about your own pictures.

    Raises:
        DatasetError: The data set is missing and cannot be downloaded, or is damaged or incomplete.
        FolderError: Your own pictures cannot be used.
    """
    if is_own(root):
        return _load_own(root / split, console or Console(quiet=True))
    if any((root / label).is_dir() for label in folders.LABELS):
        raise DatasetError(
            f"{root} contains folders of digits, but no split. Move them to {root / 'train'}, and "
            f"pictures to test with to {root / 'test'}."
        )
    return _load_qmnist(root, split)


def _load_own(folder: Path, console: Console) -> Digits:
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}. A data set needs both train/ and test/.")
    images, labels = folders.read(folder, console)
    missing = sorted(set(range(10)) - set(labels.tolist()))
    if missing:
        raise DatasetError(
            f"{folder} has no pictures of {', '.join(map(str, missing))}. "
            "Add some: each split needs pictures of every digit."
        )
    # Neighbours are of different classes, as in QMNIST; synthetic/negatives.py relies on that.
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    writers = torch.arange(len(labels))
    return Digits(images[order], labels[order], writers, torch.full_like(writers, -1))


def _load_qmnist(root: Path, split: Split) -> Digits:
    try:
        data = QMNIST(root, what=split, compat=False, download=True)
    except OSError as error:  # includes urllib's URLError
        raise DatasetError(
            f"QMNIST's {split} split is not in {root} and could not be downloaded: {error}"
        ) from error
    except (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # torchvision raises any of these, depending on where the file is cut or overwritten.
        raise _damaged(root, split, str(error) or type(error).__name__) from error

    images, targets = data.data, data.targets
    if images.shape[1:] != (SIDE, SIDE) or len(images) == 0:
        raise _damaged(root, split, f"the pictures' shape is {list(images.shape)}")
    if targets.shape != (len(images), 8):
        raise _damaged(root, split, f"{len(images)} pictures, but labels {list(targets.shape)}")
    digits = Digits(
        images,
        labels=targets[:, CLASS].contiguous(),
        writers=targets[:, WRITER].contiguous(),
        series=targets[:, SERIES].contiguous(),
    )
    if not torch.all((digits.labels >= 0) & (digits.labels <= 9)):
        raise _damaged(root, split, "a label is not a digit")
    return digits


def _damaged(root: Path, split: str, what: str) -> DatasetError:
    return DatasetError(
        f"QMNIST's {split} split in {root} is damaged ({what}). "
        f"Delete its files in {root / 'QMNIST' / 'raw'} to download them again."
    )


def hold_out_writers(digits: Digits, share: float) -> tuple[Digits, Digits]:
    """Split off the digits of a share of the writers: `(the rest, held out)`.

    No writer is on both sides, so the held-out digits represent unseen handwriting. The same
    writers are held out every time, whatever the seed of the training.
    """
    writers = digits.writers.unique()
    order = torch.randperm(len(writers), generator=torch.Generator().manual_seed(0))
    chosen = writers[order[: round(share * len(writers))]]
    held_out = torch.isin(digits.writers, chosen)
    return digits[~held_out], digits[held_out]


def splits(train: Digits, test: Digits, held_out: float) -> dict[str, Digits]:
    """Name all digits of a training: `train`, `validation` if any are held out, and the test's.

    Args:
        train: The training digits.
        test: The test digits.
        held_out: The share of the training writers whose digits are for validation, 0…1.
    """
    rest, validation = hold_out_writers(train, held_out)
    named = {"train": rest, "validation": validation, **test_splits(test)}
    return {name: digits for name, digits in named.items() if len(digits) > 0}


def test_splits(digits: Digits) -> dict[str, Digits]:
    """Name the test digits, QMNIST's as its authors do.

    The official file has 60,000: the first 10,000 are MNIST's own test digits, `test10k`, and
    the last 50,000 are `test50k`. Some copies have only the first 10,000.
    """
    if torch.any(digits.series < 0):
        return {"test": digits}
    if len(digits) == TEST10K:
        return {"test10k": digits}
    if len(digits) == 6 * TEST10K:
        return {"test10k": digits[:TEST10K], "test50k": digits[TEST10K:], "test60k": digits}
    return {"test": digits}


def headline(splits: Iterable[str]) -> str:
    """Return the test split for a model's headline figure, its charts and its result.

    It is the first one, so that `test10k` is compared with `test10k`, whether or not a copy of
    QMNIST has the other 50,000 digits. A card names it in `details.split`.
    """
    return next(name for name in splits if name.startswith("test"))
