"""Generates negatives: pictures that are not digits.

There are two sets, one to learn from and one to measure on. They use different families of fonts
for letters, different ways to scribble, different digits for halves, different layouts for charts,
and different random numbers for everything.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Generator, Tensor

from training.dataset import SIDE, Digits
from training.recipes import TYPICALITY
from training.synthetic import charts, fonts
from training.synthetic.arrival import Pictures, arrive
from training.synthetic.fonts import Face

Kind = Literal["letters", "halves", "noise", "scribbles", "textures", "charts"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Draws the points of a stroke, float64 [M, 2].
Scribble = Callable[[np.random.Generator], NDArray[np.float64]]

CANVAS = 64  # pixels: the side of most pictures
LARGEST = 44  # pixels: the height or the width of a character
EDGE = 6  # pixels that a scribble leaves free
NEAR = 1_000  # rows: only digits this near are joined, since they are of the same kind
CHUNK = 1_000

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
LOOKALIKES = "OolISsZzBbgq"  # letters that look like digits
PLAIN_LETTERS = "".join(letter for letter in LETTERS if letter not in LOOKALIKES)
DIGITS = "0123456789"


def to_learn_from(kind: Kind, count: int, digits: Digits, generator: Generator) -> Tensor:
    """Make pictures to learn from, and read them through `imaging`; halves are of `digits`.

    Letters that look like digits are left out, since printed digits count as digits.

    Returns:
        Those of `count` pictures in which `imaging` finds one digit, uint8 `[M, 28, 28]`.
    """
    pictures: Pictures
    if kind == "letters":
        plain, likely = _letters_to_learn_from()
        chosen = likely.multinomial(count, replacement=True, generator=generator)
        distorted = [_distorted(plain[rows], generator) for rows in chosen.split(CHUNK)]
        pictures = torch.cat([in_bytes(some) for some in distorted]).numpy()
    elif kind == "charts":
        pictures = charts.to_learn_from(count, _numbers(generator))
    else:
        pictures = _made(kind, count, digits, generator, scribble=_in_many_ways).numpy()
    pixels, _ = arrive(pictures)
    return torch.from_numpy(pixels)


def to_measure(kind: Kind, count: int, digits: Digits, generator: Generator) -> Pictures:
    """Make pictures to measure on; letters are drawn once per face, without the lookalikes."""
    if kind == "letters":
        return printed(PLAIN_LETTERS)
    if kind == "charts":
        return charts.to_measure(count, _numbers(generator))
    return _made(kind, count, digits, generator, scribble=_spline).numpy()


def printed(characters: str) -> NDArray[np.uint8]:
    """Draw each character in each face to measure on, uint8 `[N, 64, 64]`."""
    faces = fonts.faces(held_out=True)
    drawn = [_large(character, face) for face in faces for character in characters]
    return torch.stack(drawn).numpy()


def _numbers(generator: Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))


def in_bytes(pictures: Tensor) -> Tensor:
    """Round pictures in 0…255 to uint8."""
    return pictures.round().clamp(0, 255).byte()


def _made(
    kind: Kind, count: int, digits: Digits, generator: Generator, scribble: Scribble
) -> Tensor:
    match kind:
        case "halves":
            return _halves(count, digits, generator)
        case "noise":
            return in_bytes(_noise(count, generator))
        case "scribbles":
            return _paint(count, generator, scribble)
        case "textures":
            return in_bytes(_textures(count, generator))
    raise ValueError(kind)


@cache
def _letters_to_learn_from() -> tuple[Tensor, Tensor]:
    """Draw each letter in each face, float32 `[N, 64, 64]`; return their weights, float32 `[N]`.

    All families have the same weight, whatever their number of faces.
    """
    families = fonts.families(held_out=False)
    faces = [(face, 1 / len(family)) for family in families for face in family]
    plain = [_large(letter, face) for face, _ in faces for letter in PLAIN_LETTERS]
    likely = [share for _, share in faces for _ in PLAIN_LETTERS]
    return torch.stack(plain).float(), torch.tensor(likely)


def _large(character: str, face: Face) -> Tensor:
    """Draw a character in the middle, as large as fits: uint8 `[64, 64]` with 255 for ink."""
    drawn = fonts.draw(character, face, LARGEST)
    if drawn.shape[1] > LARGEST:
        drawn = fonts.draw(character, face, round(LARGEST**2 / drawn.shape[1]))
    height, width = drawn.shape
    top, left = (CANVAS - height) // 2, (CANVAS - width) // 2
    picture = torch.zeros(CANVAS, CANVAS, dtype=torch.uint8)
    picture[top : top + height, left : left + width] = torch.from_numpy(drawn.copy())
    return picture


def _distorted(pictures: Tensor, generator: Generator) -> Tensor:
    """Turn, scale, shear, bend, thicken and thin each picture at random."""
    limits = TYPICALITY.letters
    count = len(pictures)
    u = torch.rand(count, 4, generator=generator) * 2 - 1
    angle, shear = limits.rotation * u[:, 0], limits.shear * u[:, 1]
    x, y = (limits.scale * u[:, 2]).exp(), (limits.scale * u[:, 3]).exp()
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros(count)
    across = [cosine * x, cosine * x * shear - sine * y, zero]
    down = [sine * x, sine * x * shear + cosine * y, zero]
    affine = torch.stack([*across, *down], dim=1).view(count, 2, 3)
    grid = F.affine_grid(affine, [count, 1, CANVAS, CANVAS], align_corners=False)
    points = torch.randn(count, 2, limits.grid, limits.grid, generator=generator)
    bend = limits.bend * points
    grid += F.interpolate(bend, (CANVAS, CANVAS), mode="bicubic", align_corners=True).permute(
        0, 2, 3, 1
    )
    pictures = F.grid_sample(pictures.unsqueeze(1), grid, align_corners=False)
    width = torch.rand(count, generator=generator)
    for some in (width < limits.thicker, width < limits.thickest):
        pictures[some] = F.max_pool2d(pictures[some], 3, 1, 1)
    thinned = width > 1 - limits.thinner
    pictures[thinned] = -F.max_pool2d(-pictures[thinned], 3, 1, 1)
    return pictures.squeeze(1)


def _halves(count: int, digits: Digits, generator: Generator) -> Tensor:
    """Join halves of two digits of different classes, side by side or one above the other."""
    first = torch.randint(len(digits), (2 * count,), generator=generator)
    second = (first + torch.randint(1, NEAR, first.shape, generator=generator)) % len(digits)
    different = (digits.labels[first] != digits.labels[second]).nonzero()[:, 0]
    # Nine in ten pairs are of different classes, so twice as many as needed are enough.
    different = different[:count]
    joined = digits.images[first[different]].clone()
    other = digits.images[second[different]]
    beside = torch.rand(len(joined), generator=generator) < 0.5
    joined[beside, :, SIDE // 2 :] = other[beside, :, SIDE // 2 :]
    joined[~beside, SIDE // 2 :] = other[~beside, SIDE // 2 :]
    return joined


def _noise(count: int, generator: Generator) -> Tensor:
    """Draw uniform, Gaussian, salt-and-pepper and smooth noise, a quarter of each."""
    quarter = math.ceil(count / 4)
    shape = (quarter, SIDE, SIDE)

    def one_each() -> Tensor:
        return torch.rand(quarter, 1, 1, generator=generator)

    uniform = torch.rand(shape, generator=generator)
    gaussian = 0.6 * one_each() + (0.1 + 0.3 * one_each()) * torch.randn(shape, generator=generator)
    salt = (torch.rand(shape, generator=generator) < 0.05 + 0.3 * one_each()).float()
    smooth = _stretched(
        torch.cat(
            [
                _blurred(torch.randn(part, SIDE, SIDE, generator=generator), sigma)
                for part, sigma in _parts(quarter, (0.7, 1.0, 1.5, 2.0, 3.0))
            ]
        )
    )
    smooth[::2] = (smooth[::2] > 0.6).float()
    pictures = torch.cat([uniform, gaussian, salt, smooth])
    return _shuffled(pictures, count, generator).clamp(0, 1) * 255


def _parts(count: int, values: tuple[float, ...]) -> list[tuple[int, float]]:
    sizes = [len(part) for part in torch.arange(count).tensor_split(len(values))]
    return list(zip(sizes, values, strict=True))


def _textures(count: int, generator: Generator) -> Tensor:
    """Draw patches like those of photographs: gradients, 1/f noise, blobs, edges, simple scenes."""
    side = 48
    axis = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    part = math.ceil(count / 5)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(part, 1, 1, generator=generator)

    def ramp() -> Tensor:
        angle = uniform(0, 2 * math.pi)
        return angle.cos() * x + angle.sin() * y

    def pink(low: float, high: float) -> Tensor:
        frequency = torch.fft.fftfreq(side)
        radius = (frequency[:, None] ** 2 + frequency**2).sqrt()
        radius[0, 0] = math.inf  # no constant part
        real, imaginary = torch.randn(2, part, side, side, generator=generator)
        spectrum = torch.complex(real, imaginary) * radius ** -uniform(low, high)
        return _stretched(torch.fft.ifft2(spectrum).real)

    gradients = ramp()
    gradients[::2] = ((x - uniform(-1, 1)) ** 2 + (y - uniform(-1, 1)) ** 2).sqrt()[::2]
    gradients = _stretched(gradients) ** uniform(0.5, 2)

    blobs = torch.zeros(part, side, side)
    for _ in range(8):
        stretch = uniform(0.5, 1.5)
        distance = ((x - uniform(-1, 1)) * stretch) ** 2 + ((y - uniform(-1, 1)) / stretch) ** 2
        blobs += uniform(-0.7, 1.3) * torch.exp(-0.5 * distance / uniform(0.08, 0.48) ** 2)

    edges = torch.zeros(part, side, side)
    for _ in range(3):
        line = ramp() + uniform(-0.6, 0.6)
        edges += uniform(-0.3, 0.7) * torch.sigmoid(line * uniform(8, 68))
        edges += (uniform() > 0.7) * 0.4 * torch.sin(line * uniform(4, 24))

    scenes = torch.where(y > uniform(-0.5, 0.5), uniform(), uniform() + 0.3 * uniform() * y)
    for _ in range(5):
        across, down = x - uniform(-1, 1), y - uniform(-1, 1)
        width, height = uniform(0.1, 0.6), uniform(0.1, 0.6)
        box = (across.abs() < width) & (down.abs() < height)
        ellipse = (across / width) ** 2 + (down / height) ** 2 < 1
        shape = torch.where(uniform() < 0.5, box, ellipse)
        scenes = torch.where(shape, uniform() + 0.2 * across, scenes)
    scenes = scenes + uniform(0, 0.25) * (pink(0.8, 1.6) - 0.5)

    kinds = [gradients, pink(0.6, 2.2), _stretched(blobs), _stretched(edges), _stretched(scenes)]
    pictures = _shuffled(torch.cat(kinds), count, generator)
    share = torch.rand(count, generator=generator)
    threshold = pictures.flatten(1).quantile(0.55, dim=1).view(-1, 1, 1)
    pictures = torch.where(share.view(-1, 1, 1) < 0.4, (pictures > threshold).float(), pictures)
    negative = torch.rand(count, 1, 1, generator=generator) < 0.5
    return torch.where(negative, 1 - pictures, pictures) * 255


def _stretched(pictures: Tensor) -> Tensor:
    low, high = pictures.amin((1, 2), keepdim=True), pictures.amax((1, 2), keepdim=True)
    return (pictures - low) / (high - low).clamp(min=1e-6)


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = F.pad(pictures.unsqueeze(1), (reach, reach, reach, reach), mode="reflect")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(rows, kernel.view(1, 1, -1, 1)).squeeze(1)


def _shuffled(pictures: Tensor, count: int, generator: Generator) -> Tensor:
    return pictures[torch.randperm(len(pictures), generator=generator)[:count]]


def _paint(count: int, generator: Generator, path: Scribble) -> Tensor:
    """Paint scribbles: one to three strokes from `path`, with pens of different widths."""
    rng = _numbers(generator)
    scribbles = np.zeros((count, CANVAS, CANVAS), np.uint8)
    for scribble in scribbles:
        image = Image.new("L", (CANVAS, CANVAS))
        pen = ImageDraw.Draw(image)
        width = int(rng.integers(2, 11))
        for _ in range(rng.integers(1, 4)):
            points = np.clip(path(rng), 4, CANVAS - 5)
            pen.line(list(map(tuple, points)), fill=255, width=width, joint="curve")
        scribble[:] = np.asarray(image)
    return torch.from_numpy(scribbles)


def _in_many_ways(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a stroke in one of the ways to learn from."""
    ways: tuple[Scribble, ...] = (_walk, _corners, _corners, _loops, _zigzag, _arcs)
    return ways[rng.integers(len(ways))](rng)


def _walk(rng: np.random.Generator) -> NDArray[np.float64]:
    """Walk with a changing heading."""
    turns = int(rng.integers(4, 13))
    curvature = np.repeat(rng.normal(0, 0.35, turns), 12) + rng.normal(0, 0.1, 12 * turns)
    return _fitted(_headed(curvature, rng), rng)


def _corners(rng: np.random.Generator) -> NDArray[np.float64]:
    """Round the corners of a random polygon."""
    points = rng.uniform(EDGE, CANVAS - EDGE, (int(rng.integers(4, 13)), 2))
    for _ in range(rng.integers(0, 4)):  # Chaikin's corner cutting
        cut = [0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]]
        points = np.concatenate([points[:1], np.stack(cut, axis=1).reshape(-1, 2), points[-1:]])
    return points


def _loops(rng: np.random.Generator) -> NDArray[np.float64]:
    """Circle a moving centre, as in a coil or a rosette."""
    t = np.linspace(0, 2 * math.pi * rng.uniform(1.5, 7), 150)
    around = np.stack([np.cos(t), rng.uniform(0.3, 1.5) * np.sin(t)], axis=1)
    slower = rng.uniform(0.1, 0.8, 2) * t[:, None] + rng.uniform(0, 2 * math.pi, 2)
    drift = rng.uniform(-0.3, 0.3, 2) * t[:, None] + rng.uniform(0, 1.5) * np.sin(slower)
    return _fitted(around + drift, rng)


def _zigzag(rng: np.random.Generator) -> NDArray[np.float64]:
    """Move back and forth, as in hatching or crossing out."""
    count = int(rng.integers(5, 22))
    points = np.stack([np.linspace(0, 1, count), np.arange(count) % 2], axis=1)
    points = points * (rng.uniform(0.5, 2), 1) + rng.normal(0, rng.uniform(0, 0.2), points.shape)
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return _fitted(points @ turn, rng)


def _arcs(rng: np.random.Generator) -> NDArray[np.float64]:
    """Join arcs and straight lines, with sharp turns between some of them."""
    pieces = int(rng.integers(4, 9))
    curvature = np.repeat(rng.choice([0, 0, -0.25, 0.25, -0.12, 0.12], pieces), 14)
    curvature[::14] += rng.choice([0, 1], pieces) * rng.uniform(-2.5, 2.5, pieces)
    return _fitted(_headed(curvature, rng), rng)


def _headed(curvature: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    heading = np.cumsum(curvature) + rng.uniform(0, 2 * math.pi)
    return np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)


def _fitted(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Scale a stroke to at least half of the picture, and place it at random."""
    points = points - points.min(axis=0)
    points = points * (rng.uniform(0.5, 1) * (CANVAS - 2 * EDGE) / max(points.max(), 1e-6))
    fitted: NDArray[np.float64] = points + rng.uniform(EDGE, CANVAS - EDGE - points.max(axis=0))
    return fitted


def _spline(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a Catmull-Rom spline through random points."""
    points = rng.uniform(6, CANVAS - 6, (int(rng.integers(7, 12)), 2))
    p0, p1, p2, p3 = points[:-3], points[1:-2], points[2:-1], points[3:]
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    curve: NDArray[np.float64] = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    flat: NDArray[np.float64] = curve.transpose(1, 0, 2).reshape(-1, 2)
    return flat
