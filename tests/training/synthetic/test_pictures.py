from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from artifact import ONNX_FILE
from tests.training.conftest import drawn_digits
from training import figures
from training.dataset import Digits, joined
from training.evaluation import predict_all
from training.export import onnx_predict
from training.recipes import PicturesRecipe
from training.synthetic import pens, pictures, styles
from training.synthetic.paper import on_paper
from training.synthetic.pictures import KINDS, Kind, learned_from, make_picture

FEW = PicturesRecipe(as_it_is=3, sent=1.0, written=0.5, printed=0.25)
MODEL = Path(__file__).parents[3] / "models" / "deeper" / ONNX_FILE


def make(cache: Path, recipe: PicturesRecipe = FEW) -> Digits:
    digits = drawn_digits(40, seed=1)
    learned, once = learned_from(recipe, digits, cache=cache, console=Console(quiet=True))
    assert torch.equal(learned[: 3 * 40].images, joined(digits, digits, digits).images)
    assert torch.equal(learned[2 * 40 :].images, once.images)
    return once[40:]


def test_the_same_recipe_makes_the_same_pictures_and_another_seed_others(tmp_path: Path) -> None:
    made, again = make(tmp_path / "one"), make(tmp_path / "other")
    assert torch.equal(made.images, again.images)
    assert torch.equal(made.labels, again.labels)
    others = make(tmp_path / "one", replace(FEW, seed=1))
    assert made.images.shape != others.images.shape or not torch.equal(made.images, others.images)


def test_pictures_are_as_many_as_asked_for_but_for_those_whose_digit_is_not_found(
    tmp_path: Path,
) -> None:
    made = make(tmp_path)
    assert 0.8 * 70 < len(made) <= 70
    assert made.images.shape == (len(made), 28, 28)
    assert made.images.dtype == torch.uint8
    assert set(made.writers.tolist()) == {-1}


def test_pictures_are_made_once_and_anew_where_the_code_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert torch.equal(make(tmp_path).images, made.images)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
    monkeypatch.setattr(pictures, "_code", lambda: "other")
    make(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * len(kept)


@pytest.mark.parametrize("kind", KINDS)
def test_made_pictures_are_of_the_digit_that_they_are_said_to_be(kind: Kind) -> None:
    digits = drawn_digits(200, seed=2)
    rng = np.random.default_rng(3)
    seen, labels = [], []
    for image, label in zip(digits.images.numpy(), digits.labels.tolist(), strict=True):
        _, pixels = make_picture(kind, label, image, rng)
        if pixels is not None:
            seen.append(pixels)
            labels.append(label)
    answers = predict_all(onnx_predict(MODEL), torch.from_numpy(np.stack(seen))).digits
    assert (answers == labels).mean() > 0.85


def test_digits_are_written_in_all_ways_and_as_high_as_asked_for() -> None:
    rng = np.random.default_rng(4)
    for digit, ways in styles.WAYS.items():
        written = [styles.write(digit, rng) for _ in range(30 * len(ways))]
        lengths = {tuple(map(curve_length, way.split(" / "))) for _, way in ways}
        assert {tuple(map(len, strokes)) for strokes in written} == lengths
        for strokes in written:
            ink = pens.draw(strokes, rng, 60)
            assert ink.dtype == np.uint8
            assert ink.max() == 255
            assert 40 < len(ink) < 100


def curve_length(stroke: str) -> int:
    corners = stroke.count("!")
    return styles.STEPS * (len(stroke.split()) - 1) + corners + 1


def test_a_digit_stands_among_other_ink_on_light_paper_or_dark() -> None:
    rng = np.random.default_rng(6)
    ink = np.full((40, 30), 255, np.uint8)
    alone, light = 0, 0
    for _ in range(300):
        picture, (x, y, width, height) = on_paper(ink, lambda: ink, rng)
        assert (width, height) == (30, 40)
        paper, digit = np.median(picture[: y + 1]), np.median(picture[y:, x:][:height, :width])
        assert abs(paper - digit) > 40
        light += int(paper > digit)
        around = np.abs(picture.astype(float) - paper) > 0.6 * abs(paper - digit)
        around[max(0, y - 6) : y + height + 6, max(0, x - 6) : x + width + 6] = False
        alone += int(around.sum() < 10)
    assert 0.75 < light / 300 < 0.95
    assert 0.3 < alone / 300 < 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_a_sheet_shows_each_picture_beside_its_pixels(kind: Kind, tmp_path: Path) -> None:
    sheet = np.asarray(figures.draw_sheet(kind, drawn_digits(100, seed=7), 0, tmp_path / "a.png"))
    step = figures.SHEET_CELL + figures.SHEET_GAP
    assert sheet.shape == (10 * step, 2 * figures.SHEET_COLUMNS * step)
    pixels = sheet[:, step:].reshape(10, step, -1, 1)[:, : figures.SHEET_CELL, : figures.SHEET_CELL]
    assert np.mean(pixels == 255) > 0.5
    assert (tmp_path / "a.png").stat().st_size > 1_000


def test_a_picture_in_which_something_else_is_found_is_not_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digits = drawn_digits(1, seed=5)
    picture = np.full((60, 60), 255, np.uint8)
    picture[20:40, 28:32] = 0
    for box, found in (((28, 20, 4, 20), True), ((2, 2, 10, 20), False)):
        monkeypatch.setattr(pictures, "on_paper", lambda *_, box=box: (picture, box))
        rng = np.random.default_rng(0)
        _, pixels = make_picture("sent", 1, digits.images[0].numpy(), rng)
        assert (pixels is not None) is found
