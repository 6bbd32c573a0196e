"""Digits as people store them: in folders, tar files and Parquet."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from serving.inference import artifacts
from serving.offline.labelling import Job
from serving.settings import Provider
from tests.archives import tarred
from tests.conftest import COMMITTED_MODELS
from tests.pictures import drawn

DAMAGED = drawn.encode(drawn.on_paper(3))[:200]


@pytest.fixture(scope="package")
def job() -> Job:
    artifact = artifacts.load(COMMITTED_MODELS / "deeper")
    return Job(artifact, Provider.CPU, max_image_bytes=100_000, max_image_pixels=1_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures in folders named after their digits, a damaged picture, and a text file."""
    root = tmp_path / "pictures"
    for digit in (2, 7):
        (root / str(digit)).mkdir(parents=True)
        drawn.on_paper(digit).save(root / str(digit) / "drawing.png")
        drawn.on_paper(digit, side=100).save(root / str(digit) / "small.jpg")
        (root / str(digit) / ".DS_Store").touch()
    (root / "damaged.png").write_bytes(DAMAGED)
    (root / "notes.txt").write_text("not a picture", encoding="utf-8")
    return root


def write_tar(path: Path, **files: bytes) -> None:
    path.write_bytes(tarred(files))


def write_pixels(path: Path, count: int, rows: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Write drawn digits as a Parquet file of raw pixels; return the digits and their labels."""
    images, labels = drawn.digits(count, seed=3)
    flat = pa.py_buffer(images.tobytes())
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(784), count, [None, flat])
    table = pa.table({"pixels": column, "label": pa.array(labels)})
    pq.write_table(table, path, row_group_size=rows)
    return images, labels
