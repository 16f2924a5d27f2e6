"""Filling the holes of an image from what surrounds them."""

from __future__ import annotations

import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor


def fill_holes(image: Float[Tensor, "C H W"], weight: Float[Tensor, "H W"]) -> Float[Tensor, "C H W"]:
    """Complete an image where its weight in [0, 1] is low, from ever coarser averages of what is known (push-pull,
    Gortler et al. 1996, "The Lumigraph", §4.3)."""
    if min(image.shape[1:]) <= 1:
        return image
    total = functional.avg_pool2d((image * weight)[None], 2, ceil_mode=True)
    known = functional.avg_pool2d(weight[None, None], 2, ceil_mode=True)
    coarse = fill_holes((total / known.clamp_min(1e-8))[0], (known[0, 0] * 4).clamp_max(1.0))
    smooth = functional.interpolate(coarse[None], image.shape[1:], mode="bilinear", align_corners=False)[0]
    return image * weight + smooth * (1 - weight)
