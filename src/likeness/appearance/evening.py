"""What light is left after the light was divided out: shadows and gloss that nine numbers cannot say.

Skin varies slowly and alike on both sides of the face; light does not. So of the smooth part of an albedo's excess over
the expected one, what differs between the sides is taken for light, and of what is common to both a share.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv1d
from torch.nn.functional import interpolate as resize

from likeness.appearance.chart_mirror import mirrored
from likeness.heads.protocol import Head

_SIZE = 128
# Of the chart's width: the smallest shadows that are evened out (about 8 and 20 mm on the open head).
_FINE, _BROAD = 0.018, 0.05
# Shares taken for light of the brightness that differs between the sides (fine, broad) and of what is common to both;
# of colour a part of that.
_SIDES, _SIDES_BROAD, _COMMON = 0.75, 0.95, 0.55
_COLOUR = 0.7


def left_over_light(head: Head, excess: Float[Tensor, "3 S S"], weight: Float[Tensor, "S S"]) -> Float[Tensor, "3 n n"]:
    """The part of ``excess`` (log albedo over the expected one, with its ``weight``) that is taken for light."""
    few, known = _reduced(excess, weight)
    broad, broad_known = _smoothed(few, known, _BROAD)
    fine, fine_known = _smoothed(few, known, _FINE)
    fine = torch.where(fine_known > 0, fine - broad, 0.0)
    gray = few.new_tensor([0.3, 0.5, 0.2])[:, None, None]
    light = torch.zeros_like(few)
    for part, part_known, sides, common in (
        (broad, broad_known, _SIDES_BROAD, _COMMON),
        (fine, fine_known, _SIDES, 0.0),
    ):
        other = mirrored(head, torch.cat([part, part_known[None]]))
        if other is None:
            other = torch.cat([part, torch.zeros_like(part_known[None])])
        both = torch.minimum(part_known, other[3]).clamp(0, 1)
        differs = 0.5 * (part - other[:3]) * both
        shared = part - differs
        taken = sides * differs + common * shared
        bright = (gray * taken).sum(0, keepdim=True)
        light = light + bright + _COLOUR * (taken - bright)
    return light


def _reduced(excess: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means in a coarse grid."""
    total = resize(torch.cat([excess * weight, weight[None]])[None], (_SIZE, _SIZE), mode="area")[0]
    return total[:3] / total[3].clamp_min(1e-6), total[3]


def _smoothed(image: Tensor, weight: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Gaussian mean of what is known, and how much that is."""
    sigma = radius * _SIZE
    reach = math.ceil(2.5 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    stack = torch.cat([image * weight, weight[None]])
    for _ in range(2):
        flat = stack.reshape(-1, 1, _SIZE)
        stack = conv1d(flat, kernel, padding=reach).view(stack.shape).mT
    return stack[:3] / stack[3].clamp_min(1e-3), (stack[3] / 0.3).clamp(0, 1)
