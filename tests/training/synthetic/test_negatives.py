from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Generator

from imaging import look, open_picture
from tests import drawn
from tests.imaging.test_look import likeness
from tests.training.conftest import drawn_digits
from training.dataset import Digits
from training.synthetic import arrive, negatives
from training.synthetic.negatives import KINDS, Kind


@pytest.mark.parametrize("make", [negatives.to_learn_from, negatives.to_measure])
@pytest.mark.parametrize("kind", KINDS)
def test_negatives_have_qmnists_form_and_are_the_same_every_time(
    kind: Kind, make: Callable[[Kind, int, Digits, Generator], torch.Tensor]
) -> None:
    digits = drawn_digits(200, seed=1)
    first, second = (make(kind, 100, digits, Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.uint8
    assert first.shape[1:] == (28, 28)
    assert len(first) == (20 * 52 if kind == "letters" and make is negatives.to_measure else 100)
    ink = (first > 63).float()
    sides = torch.maximum(ink.amax(1).sum(1), ink.amax(2).sum(1))
    assert sides.max() <= 20
    assert len(first.flatten(1).unique(dim=0)) > 0.9 * len(first)


def test_the_form_is_what_the_service_makes_of_plain_pictures() -> None:
    pictures = np.stack([np.asarray(drawn.on_paper(digit, 64)) for digit in range(10)])
    ours = arrive(torch.from_numpy(pictures).float()).numpy()
    for picture, form in zip(pictures, ours, strict=True):
        served = look(open_picture(drawn.encode(picture), 10_000)).pixels
        # The service centres half a pixel off and sharpens what it enlarges.
        assert likeness(form, served) > 0.85


def test_the_fonts_to_measure_on_are_others() -> None:
    fitted = negatives.glyphs(negatives.FIT_FONTS, "aQ").flatten(1)
    measured = negatives.glyphs(negatives.TEST_FONTS, "aQ").flatten(1)
    assert len(measured) == 2 * 20
    assert torch.cdist(fitted, measured).min() > 255


def test_halves_are_of_two_classes() -> None:
    digits = drawn_digits(200, seed=1)
    alike = digits[digits.labels == 3]
    assert len(negatives.to_measure("halves", 100, alike, Generator())) == 0
