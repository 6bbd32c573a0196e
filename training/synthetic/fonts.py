"""Printed characters, in fonts that Python packages ship.

The fonts come in two sets: one to learn from, one to be measured on. A family is in one of them
with all its faces (bold, italic, …), whose digits are much alike.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

EM = 128  # pixels: the size in which a face is drawn, larger than most pictures need


@dataclass(frozen=True)
class Family:
    """Faces of one design, and the package in which they come."""

    name: str
    package: str
    patterns: tuple[str, ...] = ("files/*.[ot]tf",)  # of the files, below the package's folder


@dataclass(frozen=True)
class Face:
    """A font's file."""

    family: str
    path: Path


MATPLOTLIB = "mpl-data/fonts/ttf/"

TO_LEARN_FROM = (
    # Sans, serif, mono. The faces for display have no digits.
    Family("DejaVu", "matplotlib", (MATPLOTLIB + "DejaVu*[!y].ttf",)),
    # Serif, sans, mono. Not cmex10 and cmsy10, which are symbols.
    Family(
        "Computer Modern", "matplotlib", (MATPLOTLIB + "cm[!es]*.ttf", MATPLOTLIB + "cmss*.ttf")
    ),
    # Sans. Not its hairlines, Lato-Thin: of a small picture's pixels they are a quarter.
    Family("Lato", "font_lato", ("files/Lato-[!T]*.ttf",)),
    Family("Fredoka One", "font_fredoka_one"),  # sans, round and heavy
    Family("Caladea", "font_caladea"),  # serif
    Family("Arvo", "fontpkg_arvo"),  # slab serif
    Family("Space Mono", "fontpkg_space_mono"),
    Family("Amatic SC", "font_amatic_sc"),  # by hand, narrow
    Family("Intuitive", "font_intuitive"),  # by hand
)
TO_MEASURE = (
    Family("Hanken Grotesk", "font_hanken_grotesk"),  # sans
    Family("STIX", "matplotlib", (MATPLOTLIB + "STIXGeneral*.ttf",)),  # serif
    Family("DM Mono", "fontpkg_dm_mono"),
    Family("Kalam", "fontpkg_kalam"),  # by hand
)


@cache
def families(*, held_out: bool) -> tuple[tuple[Face, ...], ...]:
    """Return the faces of each family to learn from, or of those held out to measure on."""
    return tuple(map(_find, TO_MEASURE if held_out else TO_LEARN_FROM))


def faces(*, held_out: bool) -> tuple[Face, ...]:
    """Return all faces to learn from, or all those held out to measure on."""
    return tuple(face for family in families(held_out=held_out) for face in family)


def draw(character: str, face: Face, height: int) -> NDArray[np.uint8]:
    """Draw a character, as tall as asked for and as wide as it then is.

    Returns:
        uint8 `[height, W]`, 255 is ink, with none but the character's own box around it.
    """
    ink = _ink(character, face)
    width = max(1, round(ink.width * height / ink.height))
    return np.asarray(ink.resize((width, height), Image.Resampling.BILINEAR))


def printed(character: str, rng: np.random.Generator, height: int) -> NDArray[np.uint8]:
    """Draw a character as print may show it, to learn from: slanted, stretched, bold or thin.

    Each family is as likely as any other, and so is each face of the family.

    Returns:
        uint8 `[H, W]`, 255 is ink, with none but the character's own box around it; H is `height`,
        or up to two pixels more.
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
            "installed; it comes with the extra `train`."
        )
    return tuple(Face(family.name, path) for path in paths)


@cache
def _ink(character: str, face: Face) -> Image.Image:
    """Draw a character in the face's own size, cropped to its ink."""
    image = Image.new("L", (3 * EM, 3 * EM))
    ImageDraw.Draw(image).text((EM, EM), character, fill=255, font=_typeface(face.path))
    return image.crop(image.getbbox())


@cache
def _typeface(path: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, EM)


def _slanted(ink: Image.Image, shear: float) -> Image.Image:
    """Lean a character over, by so many columns a row, to the right if positive."""
    wider = abs(shear) * ink.height
    # The place in the upright character that a pixel of the leaning one is taken from.
    upright = (1, shear, -max(0.0, shear * ink.height), 0, 1, 0)
    size = (ink.width + round(wider), ink.height)
    slanted = ink.transform(size, Image.Transform.AFFINE, upright, Image.Resampling.BILINEAR)
    return slanted.crop(slanted.getbbox())


def _bolder(ink: Image.Image, pixels: float) -> Image.Image:
    """Let strokes grow by a part of a pixel on each side, or shrink if it is negative."""
    roomy = Image.new("L", (ink.width + 2, ink.height + 2))
    roomy.paste(ink, (1, 1))
    whole = ImageFilter.MaxFilter(3) if pixels > 0 else ImageFilter.MinFilter(3)
    return Image.blend(roomy, roomy.filter(whole), abs(pixels))
