"""Pictures brought into QMNIST's form, many at once.

LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, section III-A. The
service does more with each picture that it is sent, so that it comes out nearer to this form.
"""

import torch
from torch import Tensor

SIDE, INK_SIDE = 28, 20
CHUNK = 1_000


def qmnist_form(pictures: Tensor) -> Tensor:
    """Bring pictures into the form that QMNIST has, many at once.

    Ink high; the box of the ink, its longest side scaled to 20 pixels; its centre of mass in the
    centre of 28 x 28.

    Args:
        pictures: float32 `[N, S, S]` in 0…255, dark on light or light on dark.

    Returns:
        uint8 `[N, 28, 28]`.
    """
    return torch.cat([_qmnist_form(chunk) for chunk in pictures.split(CHUNK)])


def _qmnist_form(pictures: Tensor) -> Tensor:
    border = torch.cat(
        [pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]], dim=1
    )
    paper = border.median(dim=1).values.view(-1, 1, 1)
    ink = torch.where(paper < 128, pictures - paper, paper - pictures).clamp(min=0)
    ink = (ink * (255 / ink.amax((1, 2), keepdim=True).clamp(min=1))).floor()
    marked = ink >= 0.25 * 255

    low_y, size_y = _extent(marked.any(dim=2))
    low_x, size_x = _extent(marked.any(dim=1))
    longest = torch.maximum(size_y, size_x)
    rows, height = _resampling(low_y, size_y, longest, ink.shape[1])
    columns, width = _resampling(low_x, size_x, longest, ink.shape[2])
    small = (rows @ ink @ columns.transpose(1, 2)).round()
    placed = _placing(small.sum(dim=2), height) @ small
    placed = placed @ _placing(small.sum(dim=1), width).transpose(1, 2)
    return placed.round().clamp(0, 255).byte()


def _extent(marked: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first marked place and the length to the last one, for each row of `[N, S]`."""
    first = marked.int().argmax(dim=1)
    after = marked.shape[1] - marked.flip(1).int().argmax(dim=1)
    return first, after - first


def _resampling(low: Tensor, size: Tensor, longest: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Make the matrices `[N, 20, S]` that scale boxes bilinearly, and the sizes they scale to."""
    scaled = (size * INK_SIDE / longest).round().clamp(min=1)
    ratio = size / scaled
    reach = ratio.clamp(min=1).view(-1, 1, 1)
    places = torch.arange(INK_SIDE)
    sources = torch.arange(side)
    centres = (places + 0.5) * ratio[:, None] + low[:, None]
    weights = (1 - ((sources + 0.5) - centres.unsqueeze(2)).abs() / reach).clamp(min=0)
    inside = (sources >= low[:, None]) & (sources < (low + size)[:, None])
    weights *= inside.unsqueeze(1) & (places < scaled[:, None]).unsqueeze(2)
    return weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-6), scaled


def _placing(mass: Tensor, size: Tensor) -> Tensor:
    """Make the matrices `[N, 28, 20]` that move each picture's centre of mass to the centre."""
    places = torch.arange(INK_SIDE)
    centre = (mass * (places + 0.5)).sum(dim=1) / mass.sum(dim=1).clamp(min=1)
    offset = torch.minimum((SIDE / 2 - centre).round().clamp(min=0), SIDE - size)
    return (torch.arange(SIDE)[:, None] == (offset[:, None] + places)[:, None, :]).float()
