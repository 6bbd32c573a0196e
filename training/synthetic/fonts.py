"""Draws printed characters, in fonts from Python packages.

The fonts are divided into two sets, one to learn from and one to measure on. All faces of a family
(bold, italic, …) are in the same set, since their digits look alike.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

EM = 128  # pixels: the font size, larger than most pictures need


@dataclass(frozen=True)
class Family:
    """Faces of one design, and the package that contains them."""

    name: str
    package: str
    patterns: tuple[str, ...] = (
        "files/*.[ot]tf",
    )  # of the files, relative to the package's folder


@dataclass(frozen=True)
class Face:
    """A font file."""

    family: str
    path: Path


MATPLOTLIB = "mpl-data/fonts/ttf/"

TO_LEARN_FROM = (
    # Sans, serif, mono. The display faces have no digits.
    Family("DejaVu", "matplotlib", (MATPLOTLIB + "DejaVu*[!y].ttf",)),
    # Serif, sans, mono, without cmex10 and cmsy10, which have symbols.
    Family(
        "Computer Modern", "matplotlib", (MATPLOTLIB + "cm[!es]*.ttf", MATPLOTLIB + "cmss*.ttf")
    ),
    # Sans, without Lato-Thin, whose hairlines are a quarter of a pixel wide in a small picture.
    Family("Lato", "font_lato", ("files/Lato-[!T]*.ttf",)),
    Family("Fredoka One", "font_fredoka_one"),  # sans, round and heavy
    Family("Caladea", "font_caladea"),  # serif
    Family("Arvo", "fontpkg_arvo"),  # slab serif
    Family("Space Mono", "fontpkg_space_mono"),
    Family("Amatic SC", "font_amatic_sc"),  # handwritten, narrow
    Family("Intuitive", "font_intuitive"),  # handwritten
)
TO_MEASURE = (
    Family("Hanken Grotesk", "font_hanken_grotesk"),  # sans
    Family("STIX", "matplotlib", (MATPLOTLIB + "STIXGeneral*.ttf",)),  # serif
    Family("DM Mono", "fontpkg_dm_mono"),
    Family("Kalam", "fontpkg_kalam"),  # handwritten
)


@cache
def families(*, held_out: bool) -> tuple[tuple[Face, ...], ...]:
    """Return the faces of each family to learn from, or of those held out to measure on."""
    return tuple(map(_find, TO_MEASURE if held_out else TO_LEARN_FROM))


def faces(*, held_out: bool) -> tuple[Face, ...]:
    """Return all faces to learn from, or all those held out to measure on."""
    return tuple(face for family in families(held_out=held_out) for face in family)


def draw(character: str, face: Face, height: int) -> NDArray[np.uint8]:
    """Draw a character with the given height and a proportional width.

    Returns:
        uint8 `[height, W]` with 255 for ink, cropped to the character.
    """
    ink = _ink(character, face)
    width = max(1, round(ink.width * height / ink.height))
    return np.asarray(ink.resize((width, height), Image.Resampling.BILINEAR))


def printed(character: str, rng: np.random.Generator, height: int) -> NDArray[np.uint8]:
    """Draw a character to learn from, at random slanted, stretched, bold or thin.

    All families are equally likely, and so are all faces of a family.

    Returns:
        uint8 `[H, W]` with 255 for ink, cropped to the character; H is `height` or up to two pixels
        more.
    """
    among = families(held_out=False)
    family = among[rng.integers(len(among))]
    ink = _ink(character, family[rng.integers(len(family))])
    stretch = 1.0
    if rng.random() < 0.5:
        stretch = rng.uniform(0.85, 1.15)
    if rng.random() < 1 / 3:
        ink = _slanted(ink, rng.uniform(-0.25, 0.25))
    width = max(1, round(ink.width * stretch * height / ink.height))
    ink = ink.resize((width, height), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        ink = _bolder(ink, rng.uniform(-0.5, 0.5))
    return np.asarray(ink.crop(ink.getbbox()))


def _find(family: Family) -> tuple[Face, ...]:
    try:
        with as_file(files(family.package)) as folder:
            paths = sorted(path for pattern in family.patterns for path in folder.glob(pattern))
    except ModuleNotFoundError:
        paths = []
    if not paths:
        raise FileNotFoundError(
            f"The package {family.package.replace('_', '-')} with the font {family.name} is not "
            "installed. Install the extra `train`."
        )
    return tuple(Face(family.name, path) for path in paths)


@cache
def _ink(character: str, face: Face) -> Image.Image:
    """Draw a character in the font size `EM`, cropped to its ink."""
    image = Image.new("L", (3 * EM, 3 * EM))
    ImageDraw.Draw(image).text((EM, EM), character, fill=255, font=_typeface(face.path))
    return image.crop(image.getbbox())


@cache
def _typeface(path: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, EM)


def _slanted(ink: Image.Image, shear: float) -> Image.Image:
    """Slant a character by `shear` columns per row, to the right if positive."""
    wider = abs(shear) * ink.height
    # Maps a pixel of the slanted character to its place in the upright one.
    upright = (1, shear, -max(0.0, shear * ink.height), 0, 1, 0)
    size = (ink.width + round(wider), ink.height)
    slanted = ink.transform(size, Image.Transform.AFFINE, upright, Image.Resampling.BILINEAR)
    return slanted.crop(slanted.getbbox())


def _bolder(ink: Image.Image, pixels: float) -> Image.Image:
    """Thicken strokes by a part of a pixel on each side, or thin them if it is negative."""
    roomy = Image.new("L", (ink.width + 2, ink.height + 2))
    roomy.paste(ink, (1, 1))
    whole = ImageFilter.MaxFilter(3) if pixels > 0 else ImageFilter.MinFilter(3)
    return Image.blend(roomy, roomy.filter(whole), abs(pixels))
