import zipfile
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from imaging import look, open_image
from tests.pictures import drawn, hand
from tests.training.conftest import drawn_digits
from training.extra import Extra, load, weighted
from training.folders import SHOWN, FolderError
from training.recipes import ExtraRecipe

RECIPE = ExtraRecipe(held_out=0.2, share=0.25)


def read(path: Path, console: Console | None = None) -> Extra:
    return load(path, RECIPE, console or Console(quiet=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten ones, five sevens and a two."""
    for count, digit in ((10, 1), (5, 7), (1, 2)):
        hand.write_folder(tmp_path / "mine", count, [digit])
    return tmp_path / "mine"


def test_a_share_of_each_label_is_held_out_and_no_picture_is_in_both(folder: Path) -> None:
    extra = read(folder)
    counts = [torch.bincount(part.labels, minlength=8) for part in (extra.train, extra.validation)]
    assert [count[[1, 7, 2]].tolist() for count in counts] == [[8, 4, 1], [2, 1, 0]]
    train, validation = (
        {image.numpy().tobytes() for image in part.images}
        for part in (extra.train, extra.validation)
    )
    assert len(train | validation) == 16
    assert [part.sha256() for part in read(folder).splits().values()] == [
        part.sha256() for part in extra.splits().values()
    ]


def test_what_is_learned_from_is_what_the_service_would_see(tmp_path: Path) -> None:
    picture = hand.write(7, np.random.default_rng(0))
    (tmp_path / "7").mkdir()
    picture.save(tmp_path / "7" / "mine.png")
    extra = read(tmp_path)
    assert extra.train.images[0].numpy().tolist() == look(open_image(picture)).pixels.tolist()
    assert extra.splits().keys() == {"extra_train"}, "one picture is too few to hold one out"


def test_a_zip_is_read_as_its_folder_is(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "mine.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder))
        archive.writestr("__MACOSX/1/._0.png", b"of no use")
    assert read(packed).train.sha256() == read(folder).train.sha256()


def test_what_cannot_be_read_is_named_and_left_out(folder: Path) -> None:
    (folder / "1" / "notes.txt").write_text("not a picture")
    (folder / "1" / "blank.png").write_bytes(drawn.encode(np.full((50, 50), 255, np.uint8)))
    (folder / "1" / "again.png").write_bytes((folder / "1" / "0.png").read_bytes())
    (folder / "1" / ".DS_Store").write_bytes(b"of no use")
    shown = StringIO()
    extra = read(folder, Console(file=shown, width=1_000))
    assert len(extra.train) + len(extra.validation) == 16
    warnings = [line for line in shown.getvalue().splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 3
    for name in ("notes.txt", "blank.png", "the same picture as"):
        assert sum(name in warning for warning in warnings) == 1
    assert all(" is left out: " in warning for warning in warnings)


def test_of_many_files_that_are_left_out_the_first_are_named(folder: Path) -> None:
    for number in range(SHOWN + 3):
        (folder / "1" / f"{number}.txt").write_text("not a picture")
    shown = StringIO()
    read(folder, Console(file=shown, width=1_000))
    assert shown.getvalue().count(" is left out: ") == SHOWN
    assert "warning: 3 more files are left out" in shown.getvalue()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "no readable picture in"),
        ({"1/notes.txt": b"text"}, "no readable picture in"),
        ({"seven/0.png": b""}, "seven is not named after a digit. Name it 0 to 9"),
        ({"10/0.png": b""}, "10 is not named after a digit"),
        (
            dict.fromkeys(("1/a.png", "7/b.png"), b"PICTURE"),
            "a.png and .*b.png are one picture with two labels",
        ),
    ],
)
def test_what_nothing_can_be_learned_from_is_an_error(
    files: dict[str, bytes], sentence: str, tmp_path: Path
) -> None:
    picture = drawn.encode(hand.write(1, np.random.default_rng(0)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture if content == b"PICTURE" else content)
    with pytest.raises(FolderError, match=sentence):
        read(tmp_path)


def test_neither_a_folder_nor_a_zip_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="is neither a folder nor a zip file of one"):
        read(tmp_path / "nothing")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(FolderError, match="is neither a folder nor a zip file of one"):
        read(tmp_path / "text.zip")


@pytest.mark.parametrize("count", [4, 8])
def test_few_pictures_weigh_as_much_as_many(count: int) -> None:
    digits = drawn_digits(1_200, seed=1)
    extra = drawn_digits(50, seed=2)
    extra = extra[(extra.labels == 3) | (extra.labels == 5)][:count]
    repeated = weighted(extra, digits, RECIPE)
    for label in (3, 5):
        own, others = (int((part.labels == label).sum()) for part in (repeated, digits))
        assert own / (own + others) == pytest.approx(RECIPE.share, abs=0.01)
    assert set(repeated.labels.tolist()) == set(extra.labels.tolist())
