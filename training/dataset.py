"""QMNIST, through torchvision, as uint8 tensors in memory; and how it is split."""

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision.datasets import QMNIST

# Columns of QMNIST's extended labels.
CLASS = 0
SERIES = 1
WRITER = 2

SIDE = 28  # pixels
TEST10K = 10_000


class DatasetError(Exception):
    """The data set is missing or damaged; the message says which and what to do."""


@dataclass(frozen=True)
class Digits:
    """Some digits with their labels.

    Attributes:
        images: uint8 `[N, 28, 28]`, 255 is ink.
        labels: int64 `[N]`, the digit, 0…9.
        writers: int64 `[N]`, who wrote it.
        series: int64 `[N]`, NIST's HSF series: 4 is of high-school students, the others of
            employees of the Census Bureau.
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
        """Fingerprint of pixels and labels, whatever files they came from."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels, self.writers):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def joined(*parts: Digits) -> Digits:
    """Join some digits, in this order."""
    return Digits(
        *(
            torch.cat([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Digits)
        )
    )


def load(root: Path, split: Literal["train", "test"]) -> Digits:
    """Read one split of QMNIST from a torchvision root, downloading it when it is missing.

    Raises:
        DatasetError: It is not there and cannot be downloaded, or what is there is damaged.
    """
    try:
        source = QMNIST(root, what=split, compat=False, download=True)
    except OSError as error:  # also urllib's URLError
        raise DatasetError(
            f"QMNIST's {split} split is not in {root} and could not be downloaded: {error}"
        ) from error
    except (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # What torchvision's reader raises depends on where the file is cut or overwritten.
        raise _damaged(root, split, str(error) or type(error).__name__) from error

    images, targets = source.data, source.targets
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
        f"QMNIST's {split} split in {root} is damaged ({what}); "
        f"delete its files in {root / 'QMNIST' / 'raw'} to have them downloaded again"
    )


def hold_out_writers(digits: Digits, share: float) -> tuple[Digits, Digits]:
    """Split off the digits of a share of the writers: `(the rest, held out)`.

    No writer is on both sides, so the held-out digits stand for handwriting not seen before.
    The same writers are taken every time, whatever the seed of the training.
    """
    writers = digits.writers.unique()
    order = torch.randperm(len(writers), generator=torch.Generator().manual_seed(0))
    chosen = writers[order[: round(share * len(writers))]]
    held_out = torch.isin(digits.writers, chosen)
    return digits[~held_out], digits[held_out]


def splits(train: Digits, test: Digits, held_out: float) -> dict[str, Digits]:
    """Name all digits of a training: `train`, `validation` where any are held out, and the test's.

    Args:
        train: The training digits.
        test: The test digits.
        held_out: The share of the training writers whose digits are for validation, 0…1.
    """
    rest, validation = hold_out_writers(train, held_out)
    named = {"train": rest, "validation": validation, **test_splits(test)}
    return {name: digits for name, digits in named.items() if len(digits) > 0}


def test_splits(digits: Digits) -> dict[str, Digits]:
    """Name the test digits as QMNIST's authors do.

    The official file has 60,000: the first 10,000 are MNIST's own test digits, `test10k`, and
    the last 50,000 are `test50k`. Some copies hold the first 10,000 only.
    """
    if len(digits) == TEST10K:
        return {"test10k": digits}
    if len(digits) == 6 * TEST10K:
        return {"test10k": digits[:TEST10K], "test50k": digits[TEST10K:], "test60k": digits}
    return {"test": digits}


def headline(splits: Iterable[str]) -> str:
    """Choose the test split that a model's headline figure, its charts and its result are of.

    The first, so that `test10k` is compared with `test10k`, whether or not a copy of QMNIST has
    the other 50,000 digits. A card names it in `details.split`.
    """
    return next(name for name in splits if name.startswith("test"))
