from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from imaging import look, open_picture
from tests.pictures import drawn
from tests.training.conftest import drawn_digits
from training.dataset import Digits
from training.synthetic import arrival, fonts, negatives
from training.synthetic.arrival import arrive
from training.synthetic.negatives import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [negatives.to_learn_from, negatives.to_measure])
def test_pictures_of_a_kind_are_all_different_and_the_same_every_time(
    make: Callable[[Kind, int, Digits, Generator], Tensor], kind: Kind
) -> None:
    digits = drawn_digits(200, seed=1)
    first, second = (make(kind, 100, digits, Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.uint8
    # Some noise is a square of ink, as it arrives.
    assert len(first.flatten(1).unique(dim=0)) > 0.7 * len(first)
    if make is negatives.to_measure:
        assert len(first) == (23 * 52 if kind == "letters" else 100)
    else:
        assert first.shape[1:] == (28, 28)
        assert 0 < len(first) <= 100  # in the others, nothing is found


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
    pictures = negatives.printed("aW1").flatten(1)
    assert len(pictures.unique(dim=0)) == len(pictures) == 3 * len(fonts.faces(held_out=True))
    assert torch.equal(negatives.printed("W").flatten(1), pictures[1::3])
    for picture in negatives.printed("lW"):
        rows, columns = picture.amax(1).count_nonzero(), picture.amax(0).count_nonzero()
        assert 43 <= max(rows, columns) <= 45


def test_halves_are_of_two_classes() -> None:
    digits = drawn_digits(200, seed=1)
    alike = digits[digits.labels == 3]
    assert len(negatives.to_measure("halves", 100, alike, Generator())) == 0
