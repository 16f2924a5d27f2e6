"""Hair on the scalp: where the photos show it, what colour it has, and how far it goes on where they show nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.nn.functional import interpolate as resize

from likeness.appearance.anatomy import Anatomy
from likeness.appearance.chart import anatomy_of, chart_of, dilate, region_map
from likeness.appearance.chart_mirror import mirrored
from likeness.appearance.skin_mask import weighted_median
from likeness.heads.protocol import Head
from likeness.push_pull import fill_holes

# The hairline is soft over this part of the chart's width (a centimetre and a half).
_HAIRLINE = 0.03
# Texels (of 512²) of seen scalp below which nothing is said of hair.
_ENOUGH = 150
_STRANDS = 0.16
# In logs: how far the ratios of channels may lie beyond those of hair and skin.
_STRANGE = 0.15
# What the other side, and the whole scalp, say of hair, against what is seen at a place.
_MIRRORED, _PRIOR, _BELOW = 0.05, 0.03, 0.02


@dataclass(frozen=True, eq=False)
class Hair:
    """``cover`` (s, s) in [0, 1]: where the head wears hair; ``colour`` (3,): its linear albedo; ``shown`` (s, s):
    where the photo shows hair, or hair and skin mixed as at a hairline."""

    cover: Float[Tensor, "s s"]
    colour: Float[Tensor, " 3"]
    shown: Float[Tensor, "s s"]


def read_hair(
    head: Head,
    albedo: Float[Tensor, "3 s s"],
    expected: Float[Tensor, "3 s s"],
    seen: Float[Tensor, "s s"],
    skin: Float[Tensor, "s s"],
) -> Hair | None:
    """Hair as a photo shows it on the chart: scalp that is seen and is no skin. None when no hair is seen.

    ``albedo`` is the photo's colour over its light, ``expected`` that of the skin there, ``seen`` how squarely and
    ``skin`` how surely skin is seen.
    """
    scalp, ground = scalp_map(head, seen.shape[-1]), hair_ground(head, seen.shape[-1])
    no_skin = ((0.6 - skin) / 0.4).clamp(0, 1)
    darker = (albedo.mean(0) < 0.6 * expected.mean(0)) & (ground > 0.5)
    weights = seen * no_skin * ((scalp > 0.6) | darker)
    if float(weights.sum()) < _ENOUGH * (seen.shape[-1] / 512) ** 2:
        return None
    colour = torch.tensor([weighted_median(channel.flatten(), weights.flatten()) for channel in albedo])
    colour = _natural(colour.clamp(0.004, 0.6))
    colours = (albedo, colour[:, None, None], expected)
    is_hair = no_skin * _nearer(*colours)
    cover = ground * _gone_on(head, is_hair, seen * torch.maximum(is_hair, skin), scalp, ground)
    return Hair(cover, colour, seen * (ground > 0) * _between(*colours))


def _between(albedo: Tensor, hair: Tensor, skin: Tensor) -> Float[Tensor, "s s"]:
    """In [0, 1]: whether a colour is about as bright as hair or skin or something between, and not strange to both."""
    colours = (albedo, hair, skin)
    gray = albedo.new_tensor([0.3, 0.5, 0.2])[:, None, None]
    seen, dark, light = ((gray * (c + 0.003).log()).sum(0) for c in colours)
    low, high = torch.minimum(dark, light) - 0.8, torch.maximum(dark, light) + 0.35
    ratios = torch.stack(
        [(c[[0, 2]] + 0.003).log() - (c[1:2] + 0.003).log() for c in torch.broadcast_tensors(*colours)]
    )
    strange = (ratios[0] - ratios[1:].amax(0) - _STRANGE).relu() + (ratios[1:].amin(0) - _STRANGE - ratios[0]).relu()
    as_bright = ((seen - low) / 0.3).clamp(0, 1) * ((high - seen) / 0.3).clamp(0, 1)
    return as_bright * torch.exp(-12 * strange.sum(0))


def _gone_on(head: Head, is_hair: Tensor, weight: Tensor, scalp: Tensor, ground: Tensor) -> Float[Tensor, "s s"]:
    """Hair where none is seen: as on the other side, as around, and on the scalp as on all that is seen of it."""
    weight = weight * (ground > 0)
    # Hair below the scalp says little of it, but where no scalp is seen it is all there is.
    hairy = (weight * is_hair * (scalp + _BELOW)).sum()
    share = hairy / (hairy + (weight * scalp * (1 - is_hair)).sum()).clamp_min(1e-6)
    total, known = is_hair * weight + share * _PRIOR * scalp, weight + _PRIOR * scalp
    other = mirrored(head, torch.stack([is_hair * weight, weight]))
    if other is not None:
        total, known = total + _MIRRORED * other[0], known + _MIRRORED * other[1]
    went_on = fill_holes((total / known.clamp_min(1e-6))[None], known.clamp_max(1.0))[0]
    return ((went_on - 0.3) / 0.4).clamp(0, 1)


def _natural(colour: Float[Tensor, " 3"]) -> Float[Tensor, " 3"]:
    """Hair is never greener than red nor bluer than green: that is the surroundings' light, or dye left aside."""
    red, green, blue = colour.tolist()
    green = min(green, red)
    return torch.tensor([red, green, min(blue, green)])


def _nearer(albedo: Tensor, hair: Tensor, skin: Tensor) -> Float[Tensor, "s s"]:
    """In [0, 1]: whether a colour is more like the hair's than the skin's (gloss on skin is like neither)."""
    seen = (albedo + 0.003).log()

    def distance2(other: Tensor) -> Tensor:
        off = seen - (other + 0.003).log()
        bright = (off * off.new_tensor([0.3, 0.5, 0.2])[:, None, None]).sum(0)
        ratios = off[[0, 2]] - off[1:2]
        return (bright / 0.5).square() + (ratios / 0.3).square().sum(0)

    return torch.sigmoid(distance2(skin) - distance2(hair))


@lru_cache(maxsize=8)
def scalp_map(head: Head, size: int) -> Float[Tensor, "size size"]:
    """The head's scalp region on its chart, soft at the hairline; empty for a head without one."""
    chart, anatomy = chart_of(head, size), anatomy_of(head)
    soft = dilate(region_map(head, "scalp", size)[None], chart.inside, steps=round(_HAIRLINE * size))
    width = 2 * round(_HAIRLINE * size / 2) + 1
    for _ in range(2):
        soft = avg_pool2d(soft[None], width, 1, width // 2, count_include_pad=False)[0]
    return soft[0] * chart.image(_behind_or_above(chart.rest, anatomy)[:, None])[0]


def _behind_or_above(rest: Float[Tensor, "T 3"], anatomy: Anatomy) -> Float[Tensor, " T"]:
    """0 under the ears, where a nape's hair would look like a shadow of the jaw."""
    nose, jaw = anatomy.marks[33], anatomy.marks[[0, 16]].mean(0)
    above = ((rest[:, 1] - nose[1]) / anatomy.unit / 20.0).clamp(0, 1)
    behind = ((jaw[2] - 25 * anatomy.unit - rest[:, 2]) / anatomy.unit / 20.0).clamp(0, 1)
    return torch.maximum(above, behind)


@lru_cache(maxsize=8)
def hair_ground(head: Head, size: int) -> Float[Tensor, "size size"]:
    """Where hair may lie: the scalp, and around it down to the upper forehead and in front of the ears."""
    chart, anatomy = chart_of(head, size), anatomy_of(head)
    scalp = scalp_map(head, size)
    if not bool(scalp.any()):
        return scalp
    above = (chart.rest[:, 1] - anatomy.marks[[19, 24], 1].mean()) / anatomy.unit
    aside = (chart.rest[:, 0].abs() - anatomy.marks[[36, 45], 0].abs().mean()) / anatomy.unit
    lowest = 14.0 - 12.0 * ((aside - 12.0) / 10.0).clamp(0, 1)
    upper = ((above - lowest) / 8.0).clamp(0, 1) * (chart.part == 0)
    ground = torch.maximum(chart.image(upper[:, None])[0], ((scalp - 0.3) / 0.35).clamp(0, 1))
    return ground * (1 - region_map(head, "ears", size))


@lru_cache(maxsize=8)
def strands(size: int) -> Float[Tensor, "size size"]:
    """Log brightness of short hair where none was seen: streaks along the chart's v."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(1, 1, size, size)
    for across, along in ((2, 14), (4, 30)):
        noise = torch.randn(1, 1, max(size // along, 1), max(size // across, 1), generator=generator)
        total = total + resize(noise, (size, size), mode="bilinear", align_corners=False)
    return _STRANDS * total[0, 0]
