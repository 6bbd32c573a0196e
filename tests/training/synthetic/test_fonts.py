from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.synthetic import fonts
from training.synthetic.fonts import Face, Family

DIGITS = "0123456789"
LOOKALIKES = "lISsZzB"
FACES = [*fonts.faces(held_out=False), *fonts.faces(held_out=True)]


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.path.stem)
def test_a_face_has_all_digits_and_they_are_not_its_letters(face: Face) -> None:
    missing = "\uffff"  # drawn as the font's glyph for missing characters
    for digit in DIGITS:
        for other in (*DIGITS.replace(digit, ""), *LOOKALIKES, missing):
            pictures = [fonts.draw(character, face, 40) for character in (digit, other)]
            assert not _alike(*pictures), (digit, other)


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    return one.shape == other.shape and np.abs(one.astype(int) - other).mean() < 1


def test_a_family_is_in_one_set_with_all_its_faces() -> None:
    fitted, measured = (fonts.faces(held_out=held_out) for held_out in (False, True))
    assert not {face.family for face in fitted} & {face.family for face in measured}
    assert len({face.path for face in (*fitted, *measured)}) == len(fitted) + len(measured)


def test_no_digit_to_measure_on_is_one_to_learn_from() -> None:
    for digit in DIGITS:
        fitted, measured = (
            [fonts.draw(digit, face, 40) for face in fonts.faces(held_out=held_out)]
            for held_out in (False, True)
        )
        assert not any(_alike(one, other) for one in fitted for other in measured)


def test_a_character_is_as_tall_as_asked_for_and_in_its_own_box() -> None:
    for height in (12, 28, 200):
        drawn = fonts.draw("7", FACES[0], height)
        assert drawn.dtype == np.uint8
        assert len(drawn) == height
        assert drawn[0].any()
        assert drawn[-1].any()
        assert drawn[:, 0].any()
        assert drawn[:, -1].any()


def test_print_is_drawn_in_many_ways_and_the_same_with_the_same_numbers() -> None:
    first, second = (
        [fonts.printed("4", rng, 28) for rng in map(np.random.default_rng, range(200))]
        for _ in range(2)
    )
    assert all(map(np.array_equal, first, second))
    assert all(28 <= len(drawn) <= 30 and drawn.max() > 60 for drawn in first)
    assert not any(_alike(one, other) for one, other in combinations(first[:20], 2))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts.families.cache_clear()
    monkeypatch.setattr(fonts, "TO_MEASURE", (Family("Nowhere", "font_nowhere"),))
    with pytest.raises(FileNotFoundError, match=r"font-nowhere .* extra `train`"):
        fonts.faces(held_out=True)
