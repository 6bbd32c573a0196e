import json
import shutil
from io import StringIO
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from rich.console import Console
from torchvision.datasets import QMNIST

from imaging import look, open_image
from tests.pictures import drawn, hand
from training import dataset
from training.dataset import DatasetError, Digits


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A data set in folders: for each digit, four pictures to train on and one to test on."""
    hand.write_folder(tmp_path / "mine" / "train", 4, range(10))
    hand.write_folder(tmp_path / "mine" / "test", 1, range(10), seed=1)
    return tmp_path / "mine"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small data set that tests may damage."""
    drawn.write_qmnist(tmp_path, train=60, test=30)
    return tmp_path


def raw(root: Path, name: str) -> Path:
    return root / "QMNIST" / "raw" / name


def test_load_gives_the_files_pixels_and_labels(root: Path) -> None:
    digits = dataset.load(root, "test")
    images, labels = drawn.digits(30, seed=2)
    assert digits.images.dtype == torch.uint8
    assert np.array_equal(digits.images.numpy(), images)
    assert digits.labels.tolist() == labels.tolist()


def test_the_digits_are_those_of_the_models_cards(data_root: Path, models: Path) -> None:
    card = json.loads((models / "deeper" / "card.json").read_text(encoding="utf-8"))
    held_out = card["training"]["recipe"]["validation"]
    train, test = dataset.load(data_root, "train"), dataset.load(data_root, "test")
    assert {
        name: {"rows": len(digits), "sha256": digits.sha256()}
        for name, digits in dataset.splits(train, test, held_out).items()
    } == card["data"]["splits"]


def test_a_missing_data_set_that_cannot_be_downloaded_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(_: QMNIST) -> None:
        raise URLError("no network")

    monkeypatch.setattr(QMNIST, "download", offline)
    with pytest.raises(DatasetError, match=r"not in .* could not be downloaded: .*no network"):
        dataset.load(tmp_path, "train")


@pytest.mark.parametrize("length", [0, 3, 10, 16, 17, 1_000])
@pytest.mark.parametrize("name", ["qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"])
def test_a_truncated_file_is_one_sentence(root: Path, name: str, length: int) -> None:
    content = raw(root, name).read_bytes()
    raw(root, name).write_bytes(content[: min(length, len(content) - 4)])
    with pytest.raises(DatasetError, match=r"test split in .* is damaged"):
        dataset.load(root, "test")


def test_files_that_do_not_belong_together_are_one_sentence(root: Path) -> None:
    labels = raw(root, "qmnist-train-labels-idx2-int").read_bytes()
    raw(root, "qmnist-test-labels-idx2-int").write_bytes(labels)
    with pytest.raises(DatasetError, match="30 pictures, but labels"):
        dataset.load(root, "test")


def test_a_label_that_is_no_digit_is_one_sentence(root: Path) -> None:
    drawn.write_idx(
        raw(root, "qmnist-test-labels-idx2-int"), 0x0C, np.full((30, 8), 11, np.dtype(">i4"))
    )
    with pytest.raises(DatasetError, match="a label is not a digit"):
        dataset.load(root, "test")


def test_no_writer_is_on_both_sides_of_a_split(root: Path) -> None:
    digits = dataset.load(root, "train")
    rest, held_out = dataset.hold_out_writers(digits, 1 / 3)
    assert len(held_out) == 20
    assert len(rest) == 40
    assert not set(rest.writers.tolist()) & set(held_out.writers.tolist())


def test_the_same_writers_are_held_out_every_time(root: Path) -> None:
    digits = dataset.load(root, "train")
    torch.manual_seed(1)
    _, first = dataset.hold_out_writers(digits, 1 / 3)
    torch.manual_seed(2)
    _, second = dataset.hold_out_writers(digits, 1 / 3)
    assert first.sha256() == second.sha256()


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (10_000, {"test10k": 10_000}),
        (60_000, {"test10k": 10_000, "test50k": 50_000, "test60k": 60_000}),
        (500, {"test": 500}),
    ],
)
def test_test_digits_are_named_as_their_authors_do(rows: int, sizes: dict[str, int]) -> None:
    zeros = torch.zeros(rows, dtype=torch.int64)
    digits = Digits(torch.zeros(rows, 1, 1, dtype=torch.uint8), zeros, zeros, zeros)
    splits = dataset.test_splits(digits)
    assert {name: len(split) for name, split in splits.items()} == sizes


def test_an_own_data_set_is_its_pictures_as_the_service_sees_them(own: Path) -> None:
    test = dataset.load(own, "test")
    rng = np.random.default_rng(1)
    seen = {digit: look(open_image(hand.write(digit, rng))).pixels for digit in range(10)}
    assert sorted(test.labels.tolist()) == list(range(10))
    for image, label in zip(test.images, test.labels.tolist(), strict=True):
        assert np.array_equal(image.numpy(), seen[label])
    assert dataset.load(own, "test").sha256() == test.sha256()


def test_an_own_data_set_is_mixed_and_held_out_by_picture(own: Path) -> None:
    train, test = dataset.load(own, "train"), dataset.load(own, "test")
    assert train.labels.tolist() != sorted(train.labels.tolist())
    splits = dataset.splits(train, test, 0.1)
    assert {name: len(digits) for name, digits in splits.items()} == {
        "train": 36,
        "validation": 4,
        "test": 10,
    }


@pytest.mark.parametrize("rows", [10_000, 60_000])
def test_as_many_digits_of_ones_own_are_not_named_as_qmnists(rows: int) -> None:
    zeros = torch.zeros(rows, dtype=torch.int64)
    digits = Digits(torch.zeros(rows, 1, 1, dtype=torch.uint8), zeros, zeros, zeros - 1)
    assert dataset.test_splits(digits).keys() == {"test"}


def test_a_data_set_is_named_by_its_folder_or_is_qmnist(own: Path, root: Path) -> None:
    assert dataset.source(own) == "mine"
    assert dataset.source(root) == "QMNIST"
    (root / "train").mkdir()  # belongs to another of torchvision's data sets
    assert dataset.source(root) == "QMNIST"


def test_what_cannot_be_read_in_an_own_data_set_is_a_warning(own: Path) -> None:
    (own / "train" / "3" / "notes.txt").write_text("no picture")
    shown = StringIO()
    assert len(dataset.load(own, "train", Console(file=shown, width=1_000))) == 40
    assert "notes.txt is left out: " in shown.getvalue()


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("test", "There is no folder .*test. A data set needs both"),
        ("test/3", "test has no pictures of 3. Add some"),
    ],
)
def test_an_own_data_set_that_is_not_whole_is_an_error(gone: str, message: str, own: Path) -> None:
    shutil.rmtree(own / gone)
    with pytest.raises(DatasetError, match=message):
        dataset.load(own, "test")


def test_digits_without_a_split_are_an_error_and_nothing_is_downloaded(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QMNIST, "download", lambda _: pytest.fail("a download"))
    with pytest.raises(DatasetError, match="contains folders of digits, but no split"):
        dataset.load(own / "train", "train")
