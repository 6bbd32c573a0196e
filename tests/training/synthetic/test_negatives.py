from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Generator

from imaging import look, open_picture
from tests.pictures import drawn
from tests.training.conftest import drawn_digits
from training.dataset import Digits
from training.synthetic import arrival, charts, fonts, negatives
from training.synthetic.arrival import arrive
from training.synthetic.negatives import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_to_learn_from_are_all_different_and_the_same_every_time(kind: Kind) -> None:
    digits = drawn_digits(200, seed=1)
    first, second = (
        negatives.to_learn_from(kind, 100, digits, Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert first.dtype == torch.uint8
    assert first.shape[1:] == (28, 28)
    assert 0 < len(first) <= 100  # only pictures in which one digit is found
    # Some pictures of noise become the same square of ink.
    assert len(first.flatten(1).unique(dim=0)) > 0.7 * len(first)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_to_measure_are_all_different_and_the_same_every_time(kind: Kind) -> None:
    digits = drawn_digits(200, seed=1)
    first, second = (
        negatives.to_measure(kind, 100, digits, Generator().manual_seed(3)) for _ in range(2)
    )
    assert all(map(np.array_equal, first, second))
    assert len(first) == (23 * 40 if kind == "letters" else 100)
    assert {picture.dtype for picture in first} == {np.dtype(np.uint8)}
    assert len({picture.tobytes() for picture in first}) > 0.7 * len(first)


def test_letters_that_are_digits_in_shape_are_counted_apart() -> None:
    assert sorted(negatives.PLAIN_LETTERS + negatives.LOOKALIKES) == sorted(negatives.LETTERS)


@pytest.mark.parametrize("make", [charts.to_learn_from, charts.to_measure])
def test_charts_are_dark_on_light_and_of_many_sizes(
    make: Callable[[int, np.random.Generator], list[NDArray[np.uint8]]],
) -> None:
    made = make(50, np.random.default_rng(1))
    assert all(100 <= side <= 480 for chart in made for side in chart.shape)
    assert len({chart.shape for chart in made}) > 40
    assert np.mean([np.median(chart) > 200 for chart in made]) > 0.9
    assert all(chart.min() < 128 for chart in made)
    _, found = arrive(made)
    assert found.mean() > 0.5


def test_pictures_arrive_as_the_service_sees_them() -> None:
    paper = np.full((64, 64), 255, np.uint8)
    pictures = [np.asarray(drawn.on_paper(digit, 64)) for digit in range(10)]
    pixels, found = arrive(np.stack([paper, *pictures]))
    assert found.tolist() == [False] + [True] * 10
    for picture, form in zip(pictures, pixels, strict=True):
        served = look(open_picture(drawn.encode(picture), 10_000)).pixels
        assert np.array_equal(form, served)


def test_many_pictures_arrive_in_processes_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.stack([np.asarray(drawn.on_paper(digit % 10, 40)) for digit in range(40)])
    alone = arrive(pictures)
    monkeypatch.setattr(arrival, "ALONE", 0)
    monkeypatch.setattr(arrival, "CHUNK", 10)
    for found, expected in zip(arrive(pictures), alone, strict=True):
        assert np.array_equal(found, expected)


def test_each_character_is_drawn_once_in_each_face_held_out() -> None:
    pictures = torch.from_numpy(negatives.printed("aW1")).flatten(1)
    assert len(pictures.unique(dim=0)) == len(pictures) == 3 * len(fonts.faces(held_out=True))
    assert torch.equal(torch.from_numpy(negatives.printed("W")).flatten(1), pictures[1::3])
    for picture in negatives.printed("lW"):
        rows, columns = picture.any(1).sum(), picture.any(0).sum()
        assert 43 <= max(rows, columns) <= 45


def test_halves_are_of_two_classes() -> None:
    digits = drawn_digits(200, seed=1)
    alike = digits[digits.labels == 3]
    assert len(negatives.to_measure("halves", 100, alike, Generator())) == 0


def test_halves_are_of_digits_that_are_near() -> None:
    """Halves come from nearby rows, so QMNIST's digits are seldom joined with others."""
    kinds = torch.arange(2).repeat_interleave(3_000)
    labels = torch.arange(6_000) % 10
    shades = (100 * (1 + kinds)).byte()
    digits = Digits(shades.view(-1, 1, 1).repeat(1, 28, 28), labels, labels, labels)
    halves = np.asarray(negatives.to_measure("halves", 1_000, digits, Generator()))
    mixed = halves[:, 0, 0] != halves[:, 27, 27]
    assert mixed.mean() < 0.3
