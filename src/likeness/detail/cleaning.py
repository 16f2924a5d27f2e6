"""Relief of skin told from hair, stubble and noise: wrinkles are lines, the rest is specks or far too strong."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.detail.chart import DetailChart
from likeness.filters import gaussian_blur, smoothstep, weighted_blur

# Root mean square of shade over some millimetres that is hair: where hair is to be expected, and elsewhere.
_HAIR, _HAIR_IN_THE_FACE = 0.13, 0.28
_HAIR_EXTENT_MM = 3.0
# Parts wider than the first are other things than skin; nothing is read within about the second of them.
_OTHER_MM, _OTHER_REACH_MM = 2.0, 3.0
# (mm of Gaussian between the bands, mm over which a line must keep its direction, share of specks that is kept)
_FINE_MM, _FINE_REACH_MM = 0.8, 1.6
_COARSE_REACH_MM = 3.2
_SPECKS_KEPT = 0.2
# Coherence of a direction that specks reach by chance, and one that only lines have.
_SPECKS, _LINE = 0.36, 0.72
# Slope (root mean square) below which no direction is seen in anything.
_FLAT = 0.02
# How far along a line its relief is averaged, mm to either side.
_ALONG_MM = 1.2


def bare_skin(shade: Float[Tensor, "H W"], weight: Float[Tensor, "H W"], chart: DetailChart) -> Float[Tensor, "H W"]:
    """1 where shade varies as skin's does, 0 where as hair's: as strongly, or less so near the hairline."""
    known = (weight > 0.05).float() * weight.clamp_min(0.2) + 1e-4
    strength = weighted_blur(shade.square()[None], known, _HAIR_EXTENT_MM / chart.mm_per_texel)[0].sqrt()
    limit = _HAIR_IN_THE_FACE + (_HAIR - _HAIR_IN_THE_FACE) * chart.hairline
    return smoothstep(strength / limit, 1.15, 0.75)


def away_from_others(
    weight: Float[Tensor, "H W"], asked: Bool[Tensor, "H W"], chart: DetailChart
) -> Float[Tensor, "H W"]:
    """0 within some millimetres of wide parts that are not skin after all, whose borders would be taken for folds.

    ``asked`` is where the camera sees what the model takes for skin. Specks, as moles are, have no such surroundings.
    """
    mm = chart.mm_per_texel
    other = (asked & (weight < 0.15)).float()
    wide = (gaussian_blur(other[None], _OTHER_MM / mm)[0] > 0.5).float()
    return smoothstep(gaussian_blur(wide[None], _OTHER_REACH_MM / mm)[0], 0.25, 0.02)


def keep_lines(relief: Float[Tensor, "H W"], mm: float) -> Float[Tensor, "H W"]:
    """Relief with its lines smoothed along themselves and its specks damped, in two bands."""
    broad = gaussian_blur(relief[None], _FINE_MM / mm)[0]
    return _lines_of(broad, _COARSE_REACH_MM, 0.8, mm) + _lines_of(relief - broad, _FINE_REACH_MM, 0.3, mm)


def _lines_of(band: Float[Tensor, "H W"], reach_mm: float, smooth_mm: float, mm: float) -> Float[Tensor, "H W"]:
    direction, coherence = line_direction(band, reach_mm, smooth_mm, mm)
    share = smoothstep(coherence, _SPECKS, _LINE)
    along = _mean_along(band, direction, _ALONG_MM / mm)
    return share * along + (1 - share) * _SPECKS_KEPT * band


def line_direction(
    relief: Float[Tensor, "H W"], reach_mm: float, smooth_mm: float, mm: float
) -> tuple[Float[Tensor, "2 H W"], Float[Tensor, "H W"]]:
    """The unit direction (x, y) of lines, and how clearly there is one, in [0, 1] (structure tensor, Bigün and
    Granlund 1987)."""
    smooth = gaussian_blur(relief[None], smooth_mm / mm)[0]
    wide = functional.pad(smooth[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    dx, dy = (wide[1:-1, 2:] - wide[1:-1, :-2]) / (2 * mm), (wide[2:, 1:-1] - wide[:-2, 1:-1]) / (2 * mm)
    xx, xy, yy = gaussian_blur(torch.stack([dx * dx, dx * dy, dy * dy]), reach_mm / mm)
    spread = torch.hypot(xx - yy, 2 * xy)
    angle = torch.atan2(2 * xy, xx - yy) / 2 + torch.pi / 2
    return torch.stack([angle.cos(), angle.sin()]), spread / (xx + yy + _FLAT**2)


def _mean_along(band: Float[Tensor, "H W"], direction: Float[Tensor, "2 H W"], reach: float) -> Float[Tensor, "H W"]:
    """The mean over five places along each texel's line."""
    height, width = band.shape
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    total = torch.zeros_like(band)
    for step, weight in ((-1.0, 0.15), (-0.5, 0.22), (0.0, 0.26), (0.5, 0.22), (1.0, 0.15)):
        at_x, at_y = x + step * reach * direction[0], y + step * reach * direction[1]
        grid = torch.stack([2 * at_x / width - 1, 2 * at_y / height - 1], -1)[None]
        total += weight * functional.grid_sample(band[None, None], grid, align_corners=False)[0, 0]
    return total
