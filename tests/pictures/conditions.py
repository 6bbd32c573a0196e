"""Pictures as people send them, made from QMNIST digits, for `benchmarks/imaging.py`.

Each condition draws a digit's ink, smoothly enlarged, on paper. Its name describes the pen, the
light or the camera. Pictures are uint8 `[H, W]`, `[H, W, 3]` (RGB) or `[H, W, 4]` (RGBA).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from skimage import data
from skimage.morphology import skeletonize

Digit = NDArray[np.uint8]  # [28, 28], 255 is ink
Picture = NDArray[np.uint8]
Ink = NDArray[np.float32]  # [H, W], 0…1, the covered share of each pixel
Rng = np.random.Generator

GRAPHITE, BALLPOINT, FELT, WHITE = (90, 90, 95), (40, 55, 130), (25, 25, 30), (250, 250, 250)
DRAWN = 200  # pixels, the longest side of the ink in most conditions


@dataclass(frozen=True)
class Condition:
    """One way in which a picture differs from QMNIST's.

    Attributes:
        group: `exact` if it may cost at most 0.3 percentage points of accuracy, `rough` if 1.0.
        render: Renders a digit and returns the encoded picture.
    """

    name: str
    group: str
    render: Callable[[Digit, Rng], bytes]


def ink_of(digit: Digit, longest: int = DRAWN) -> Ink:
    """Draw a digit's ink without a margin, `longest` pixels long, with a pen's sharp outlines."""
    rows, columns = np.nonzero(digit)
    box = digit[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = longest / max(box.shape)
    size = (max(1, round(box.shape[1] * scale)), max(1, round(box.shape[0] * scale)))
    coverage = box.astype(np.float32) / 255
    if scale < 1:
        return cv2.resize(coverage, size, interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(coverage, size, interpolation=cv2.INTER_CUBIC)
    return np.clip((smooth - 0.5) * max(scale, 1) + 0.5, 0, 1).astype(np.float32)


def pen(ink: Ink, width: float) -> Ink:
    """Redraw the centre lines of the strokes with a round pen of this width in pixels."""
    margin = int(width) + 2
    smooth = cv2.GaussianBlur(ink, (0, 0), max(ink.shape) / 60)  # avoids spurs on the centre line
    middle = np.pad(skeletonize(smooth > 0.5), margin)
    distance = cv2.distanceTransform((~middle).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.clip((width + 1) / 2 - distance, 0, 1).astype(np.float32)


def turn(ink: Ink, degrees: float) -> Ink:
    """Rotate ink about its centre, on a canvas large enough for it."""
    height, width = ink.shape
    side = int(np.hypot(height, width)) + 4
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    matrix[:, 2] += [(side - width) / 2, (side - height) / 2]
    return cv2.warpAffine(ink, matrix, (side, side))


def place(ink: Ink, rng: Rng, room: float = 1.6, corner: bool = False) -> Ink:
    """Place ink at random on a square canvas, `room` times as long as the ink's longest side."""
    side = round(max(ink.shape) * room)
    canvas = np.zeros((side, side), np.float32)
    spare = (side - ink.shape[0], side - ink.shape[1])
    share = rng.uniform(0, 0.06, 2) if corner else rng.uniform(0.3, 0.7, 2)
    top, left = (int(s * r) for s, r in zip(spare, share, strict=True))
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return canvas


def compose(ink: Ink, paper: ArrayLike, colour: ArrayLike = FELT) -> NDArray[np.float32]:
    """Lay ink of a colour on paper; float32 `[H, W, 3]`."""
    sheet = np.broadcast_to(np.asarray(paper, np.float32), (*ink.shape, 3))
    return sheet + ink[..., None] * (np.asarray(colour, np.float32) - sheet)


def photographed(
    picture: NDArray[np.floating], rng: Rng, noise: float = 4, quality: int = 85
) -> bytes:
    """Blur a little, add a sensor's noise, and encode as JPEG."""
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.8)
    noisy = blurred + rng.normal(0, noise, blurred.shape)
    return encode(noisy, "JPEG", quality=quality)


def encode(picture: NDArray[np.number], form: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if form == "PNG":
        options.setdefault("compress_level", 1)
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def scaled(side: int) -> Callable[[Digit, Rng], bytes]:
    def render(digit: Digit, rng: Rng) -> bytes:
        longest = max(1, round(side * 20 / 28))
        return encode(255 - 255 * place(ink_of(digit, longest), rng, 28 / 20))

    return render


def stroke(share: float) -> Callable[[Digit, Rng], bytes]:
    """Return a renderer whose pen is as wide as this share of the drawn digit's height."""

    def render(digit: Digit, rng: Rng) -> bytes:
        height = DRAWN * (1 - share)
        width = max(1.0, share * DRAWN)
        drawn = pen(ink_of(digit, round(height)), width)
        rows, columns = np.nonzero(drawn > 0)
        drawn = drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        return encode(255 - 255 * place(drawn, rng))

    return render


def inverted(digit: Digit, rng: Rng) -> bytes:
    return encode(255 * place(ink_of(digit), rng))


def native_inverted(digit: Digit, _: Rng) -> bytes:
    return encode(255 - digit)


def corner(digit: Digit, rng: Rng) -> bytes:
    return encode(255 - 255 * place(ink_of(digit, 60), rng, 5, corner=True))


def cropped(digit: Digit, _: Rng) -> bytes:
    return encode(255 - 255 * ink_of(digit))


def cropped_inverted(digit: Digit, _: Rng) -> bytes:
    return encode(255 * ink_of(digit, 60))


def pale(digit: Digit, rng: Rng) -> bytes:
    return encode(235 - 45 * place(ink_of(digit), rng))


def coloured(digit: Digit, rng: Rng) -> bytes:
    paper = rng.integers(150, 256, 3)
    while True:
        colour = rng.integers(0, 256, 3)
        if np.abs(colour - paper).max() > 110:  # a person can tell ink and paper apart
            break
    return encode(compose(place(ink_of(digit), rng), paper, colour))


def transparent(digit: Digit, rng: Rng) -> bytes:
    ink = place(ink_of(digit), rng)
    colour = np.broadcast_to(np.zeros(3, np.float32), (*ink.shape, 3))
    return encode(np.dstack([colour, 255 * ink]))


def white_on_transparent(digit: Digit, rng: Rng) -> bytes:
    ink = place(ink_of(digit), rng)
    colour = np.broadcast_to(np.asarray(WHITE, np.float32), (*ink.shape, 3))
    return encode(np.dstack([colour, 255 * ink]))


def shadow(digit: Digit, rng: Rng) -> bytes:
    """The light falls off from one side to a third of its strength at the other."""
    ink = place(ink_of(digit), rng, 2)
    sheet = compose(ink, (240, 238, 230), BALLPOINT)
    return photographed(sheet * _falloff(ink.shape, rng, 0.33)[..., None], rng)


def hard_shadow(digit: Digit, rng: Rng) -> bytes:
    """A hand's shadow with a sharp edge falls across the picture."""
    ink = place(ink_of(digit), rng, 2)
    sheet = compose(ink, (240, 238, 230), FELT)
    ramp = _ramp(ink.shape, rng) + rng.uniform(-0.3, 0.3)
    light = 1 - 0.4 / (1 + np.exp(-ramp * 40))
    return photographed(sheet * light[..., None], rng)


def squared(digit: Digit, rng: Rng) -> bytes:
    ink = place(ink_of(digit), rng, 2)
    return photographed(
        compose(ink, _lined(ink.shape, rng, rows=True, columns=True), BALLPOINT), rng
    )


def ruled(digit: Digit, rng: Rng) -> bytes:
    """Ruled paper with lines as dark as the pencil."""
    ink = place(ink_of(digit), rng, 2)
    paper = _lined(ink.shape, rng, rows=True, colour=GRAPHITE)
    return photographed(compose(ink, paper, GRAPHITE), rng)


def jpeg(digit: Digit, rng: Rng) -> bytes:
    return encode(255 - 255 * place(ink_of(digit, 80), rng), "JPEG", quality=20)


def grain(digit: Digit, rng: Rng) -> bytes:
    ink = place(ink_of(digit), rng, 2)
    paper = 205 + 15 * _noise(ink.shape, rng, 1.2) + 8 * _noise(ink.shape, rng, 6)
    return encode(paper - 110 * ink + rng.normal(0, 8, ink.shape))


def rotated(degrees: float) -> Callable[[Digit, Rng], bytes]:
    def render(digit: Digit, rng: Rng) -> bytes:
        return encode(255 - 255 * place(turn(ink_of(digit), degrees), rng, 1.2))

    return render


def specks(digit: Digit, rng: Rng) -> bytes:
    """Dust, and two punched holes at the left edge."""
    ink = place(ink_of(digit), rng, 2.2)
    side = len(ink)
    dirt = np.zeros_like(ink)
    for _ in range(rng.integers(3, 12)):
        spot = tuple(int(v) for v in rng.uniform(0, side, 2))
        cv2.circle(dirt, spot, int(rng.integers(1, max(2, side // 90))), 1, -1, cv2.LINE_AA)
    for down in (0.3, 0.7):
        cv2.circle(dirt, (side // 16, int(down * side)), side // 28, 1, -1, cv2.LINE_AA)
    return encode(250 - 220 * np.maximum(ink, dirt))


def frame(digit: Digit, rng: Rng) -> bytes:
    """The dark, slightly slanted edges that a scanner adds on up to four sides."""
    ink = place(ink_of(digit), rng, 2)
    side = len(ink)
    sheet = compose(ink, (245, 245, 240), BALLPOINT)
    for edge in rng.permutation(4)[: rng.integers(1, 5)]:
        sheet = np.rot90(sheet, edge)
        first, last = rng.integers(side // 100 + 1, side // 10, 2)
        corners = np.array([[0, 0], [side, 0], [side, last], [0, first]], np.int32)
        sheet = cv2.fillPoly(np.ascontiguousarray(sheet), [corners], (15.0, 15.0, 15.0))
        sheet = np.rot90(sheet, -edge)
    return photographed(np.ascontiguousarray(sheet), rng)


def boxed(digit: Digit, rng: Rng) -> bytes:
    """A form's cell around the digit, with lines as thick as a pen's."""
    ink = place(ink_of(digit), rng, 1.7)
    side = len(ink)
    cell = np.zeros_like(ink)
    inset = int(rng.integers(side // 40 + 1, side // 15))
    cv2.rectangle(cell, (inset, inset), (side - inset, side - inset), 1, side // 100 + 1)
    return encode(250 - 220 * np.maximum(ink, cell))


def cell(digit: Digit, rng: Rng) -> bytes:
    """A printed form's cell, or some of its sides, slightly rotated."""
    ink = place(ink_of(digit, 140), rng, rng.uniform(1.9, 2.6))
    lines = _cell(ink, rng, 140)
    pen_shade, line_shade = rng.uniform(20, 130), rng.uniform(20, 170)
    grey = 245 - (245 - line_shade) * lines
    return photographed(grey + ink * (np.minimum(grey, pen_shade) - grey), rng, noise=3)


def touching_cell(digit: Digit, rng: Rng) -> bytes:
    """A printed cell with one side that runs through the digit's outermost strokes."""
    ink = place(ink_of(digit, 140), rng, rng.uniform(1.9, 2.6))
    lines = _cell(ink, rng, 140, touching=True)
    grey = 245 - 205 * np.maximum(ink, lines * rng.uniform(0.5, 1))
    return photographed(grey, rng, noise=3)


def _cell(ink: Ink, rng: Rng, height: int, touching: bool = False) -> Ink:
    """Draw one to four sides of a cell around ink, ending at its corners or at the border."""
    side = len(ink)
    rows, columns = np.nonzero(ink > 0.5)
    box = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
    away = rng.uniform(0.05, 0.3, 4) * height
    if touching:
        away[rng.integers(4)] = -rng.uniform(0, 0.04) * height
    left, top, right, bottom = np.rint(box + away * [-1, -1, 1, 1]).astype(int)
    closed = rng.random() < 0.3
    first, last = (np.array([left, top]), np.array([right, bottom])) if closed else (0, side)
    (x0, y0), (x1, y1) = np.broadcast_to(first, 2).tolist(), np.broadcast_to(last, 2).tolist()
    sides = [((x0, top), (x1, top)), ((x0, bottom), (x1, bottom))]
    sides += [((left, y0), (left, y1)), ((right, y0), (right, y1))]
    count = 4 if closed else rng.integers(1, 5)
    lines = np.zeros_like(ink)
    thickness = int(rng.integers(1, max(2, height // 20)))
    for i in rng.permutation(4)[:count]:
        start, end = sides[i]
        cv2.line(lines, start, end, 1.0, thickness, cv2.LINE_AA)
    if rng.random() < 0.2:  # dotted
        step = int(rng.integers(2, 6)) * thickness
        y, x = np.mgrid[:side, :side] // step
        lines *= (x + y) % 2 == 0
    elif rng.random() < 0.3:  # badly printed
        lines *= _noise(ink.shape, rng, 2) > -1
    turned = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-3, 3), 1)
    return cv2.warpAffine(lines, turned, (side, side), borderMode=cv2.BORDER_REPLICATE)


def photo(digit: Digit, rng: Rng) -> bytes:
    """Everything at once: a small rotated digit on squared paper, in uneven light."""
    drawn = pen(turn(ink_of(digit, 180), rng.uniform(-8, 8)), rng.uniform(8, 20))
    ink = place(drawn, rng, rng.uniform(2, 4))
    paper = _lined(ink.shape, rng, rows=True, columns=True)
    sheet = compose(ink, paper, BALLPOINT) * _falloff(ink.shape, rng, 0.5)[..., None]
    return photographed(sheet, rng, noise=7, quality=60)


def table(digit: Digit, rng: Rng) -> bytes:
    """A slightly rotated sheet of paper on a darker table."""
    ink = place(pen(ink_of(digit), rng.uniform(6, 20)), rng, 2.2)
    small, side = len(ink), round(1.5 * len(ink))
    wood = rng.uniform(30, 120, 3) + 8 * _noise((side, side), rng, 3)[..., None]
    turned = cv2.getRotationMatrix2D((small / 2, small / 2), rng.uniform(-12, 12), 1)
    turned[:, 2] += (side - small) / 2 + rng.uniform(-0.1, 0.1, 2) * small
    paper = compose(ink, (238, 236, 228), BALLPOINT).astype(np.float32)
    sheet = cv2.warpAffine(paper, turned, (side, side))
    covered = cv2.warpAffine(np.ones_like(ink), turned, (side, side))[..., None]
    scene = wood * (1 - covered) + sheet * covered
    return photographed(scene * _falloff((side, side), rng, 0.6)[..., None], rng)


def blackboard(digit: Digit, rng: Rng) -> bytes:
    ink = place(pen(ink_of(digit), 10), rng, 2)
    chalk = ink * (0.6 + 0.25 * _noise(ink.shape, rng, 0.8))
    board = 45 + 8 * _noise(ink.shape, rng, 20)
    return photographed(np.dstack([shade * board + 190 * chalk for shade in (0.8, 1, 0.85)]), rng)


def dark_corners(digit: Digit, rng: Rng) -> bytes:
    ink = place(ink_of(digit, 120), rng, 3)
    y, x = np.mgrid[-1 : 1 : len(ink) * 1j, -1 : 1 : len(ink) * 1j]
    light = 1 - 0.4 * (x**2 + y**2)
    return photographed(compose(ink, (230, 230, 225), GRAPHITE) * light[..., None], rng, noise=8)


def finger(digit: Digit, rng: Rng) -> bytes:
    """A fingertip that holds the paper reaches in from the border."""
    ink = place(ink_of(digit, 150), rng, 2.6)
    side = len(ink)
    sheet = compose(ink, (235, 233, 228), FELT)
    tip = (int(rng.uniform(0, side)), side)
    cv2.ellipse(sheet, tip, (side // 7, side // 4), 0, 0, 360, (190.0, 140.0, 120.0), -1)
    return photographed(sheet, rng)


def crumpled(digit: Digit, rng: Rng) -> bytes:
    ink = place(ink_of(digit, 160), rng, 2)
    light = 1 + 0.07 * _noise(ink.shape, rng, 25) + 0.03 * _noise(ink.shape, rng, 8)
    return photographed(compose(ink, (225, 225, 220), BALLPOINT) * light[..., None], rng)


def pencil(digit: Digit, rng: Rng) -> bytes:
    """A thin grey stroke with the paper's grain showing through."""
    ink = place(pen(ink_of(digit), 5), rng, 2.2)
    grey = 225 - 110 * ink * (0.55 + 0.2 * _noise(ink.shape, rng, 1))
    return photographed(np.dstack([grey + 6 * _noise(ink.shape, rng, 1.5)] * 3), rng, noise=5)


def _ramp(shape: tuple[int, ...], rng: Rng) -> NDArray[np.float32]:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return ((np.cos(angle) * x + np.sin(angle) * y) / np.sqrt(2)).astype(np.float32)


def _falloff(shape: tuple[int, ...], rng: Rng, darkest: float) -> NDArray[np.float32]:
    ramp = (_ramp(shape, rng) + 1) / 2
    return (darkest + (1 - darkest) * ramp ** rng.uniform(0.7, 1.5)).astype(np.float32)


def _noise(shape: tuple[int, ...], rng: Rng, size: float) -> NDArray[np.float32]:
    noise = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), size)
    return noise / noise.std()


def _lined(
    shape: tuple[int, ...],
    rng: Rng,
    *,
    rows: bool = False,
    columns: bool = False,
    colour: tuple[int, int, int] = (150, 175, 215),
) -> Picture:
    """Return paper with printed lines, slightly rotated."""
    side = max(shape)
    paper = np.full((2 * side, 2 * side, 3), (245, 243, 236), np.uint8)
    step = int(rng.uniform(0.11, 0.3) * side)
    thickness = max(1, side // 200)
    for at in range(step // 2, 2 * side, step):
        if rows:
            cv2.line(paper, (0, at), (2 * side, at), colour, thickness, cv2.LINE_AA)
        if columns:
            cv2.line(paper, (at, 0), (at, 2 * side), colour, thickness, cv2.LINE_AA)
    turned = cv2.getRotationMatrix2D((side, side), rng.uniform(-3, 3), 1)
    turned[:, 2] -= side / 2
    sheet = cv2.warpAffine(paper, turned, (side, side))
    return sheet[: shape[0], : shape[1]]


CONDITIONS = (
    *(Condition(f"{side} px", "exact", scaled(side)) for side in (10, 14, 20, 40, 100, 280, 600)),
    Condition("28 px, inverted", "exact", native_inverted),
    Condition("light on dark", "exact", inverted),
    Condition("in a corner", "exact", corner),
    Condition("cropped to its ink", "exact", cropped),
    Condition("cropped, light on dark", "exact", cropped_inverted),
    Condition("coloured", "exact", coloured),
    Condition("transparent", "exact", transparent),
    Condition("white on transparent", "exact", white_on_transparent),
    Condition("specks and holes", "exact", specks),
    *(
        Condition(f"pen of {share} %", "rough", stroke(share / 100))
        for share in (0.5, 2, 5, 10, 15, 20, 33)
    ),
    Condition("pale", "rough", pale),
    Condition("shadow", "rough", shadow),
    Condition("shadow with an edge", "rough", hard_shadow),
    Condition("squared paper", "rough", squared),
    Condition("ruled paper", "rough", ruled),
    Condition("JPEG quality 20", "rough", jpeg),
    Condition("grain", "rough", grain),
    Condition("turned 10° left", "rough", rotated(10)),
    Condition("turned 10° right", "rough", rotated(-10)),
    Condition("scanner's edges", "rough", frame),
    Condition("in a form's cell", "rough", boxed),
    Condition("in a printed cell", "rough", cell),
    Condition("touching its cell", "rough", touching_cell),
    Condition("sheet on a table", "rough", table),
    Condition("blackboard", "rough", blackboard),
    Condition("dark corners", "rough", dark_corners),
    Condition("finger in the picture", "rough", finger),
    Condition("crumpled paper", "rough", crumpled),
    Condition("pencil", "rough", pencil),
    Condition("all at once", "rough", photo),
)


@dataclass(frozen=True)
class Line:
    """An encoded picture of several digits, and the text written on it."""

    picture: bytes
    text: str


def lines(
    digits: NDArray[np.uint8], labels: NDArray[np.int64], rng: Rng, gap: tuple[float, float]
) -> Iterator[Line]:
    """Yield endless lines of 3 to 8 digits; each digit has its own size, gap and baseline."""
    while True:
        chosen = rng.integers(0, len(digits), rng.integers(3, 9))
        inks = [ink_of(digits[i], int(80 * rng.uniform(0.8, 1.2))) for i in chosen]
        gaps = [int(80 * rng.uniform(*gap)) for _ in inks]
        width = sum(ink.shape[1] for ink in inks) + sum(gaps) + 160
        sheet = np.zeros((220, width), np.float32)
        x = 80
        for ink, space in zip(inks, gaps, strict=True):
            y = int(110 - ink.shape[0] / 2 + 80 * rng.uniform(-0.15, 0.15))
            part = sheet[y : y + ink.shape[0], x : x + ink.shape[1]]
            np.maximum(part, ink, out=part)
            x += ink.shape[1] + space
        yield Line(encode(255 - 225 * sheet), "".join(str(labels[i]) for i in chosen))


# Photographs from scikit-image that show no digits.
PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "moon"),
    "rocket",
)


def photographs(rng: Rng) -> Iterator[bytes]:
    """Yield endless square crops of photographs without digits."""
    whole = [getattr(data, name)() for name in PHOTOGRAPHS]
    while True:
        photograph = whole[rng.integers(len(whole))]
        side = rng.integers(100, min(photograph.shape[:2]) + 1)
        top, left = (rng.integers(length - side + 1) for length in photograph.shape[:2])
        yield encode(photograph[top : top + side, left : left + side], "JPEG", quality=85)
