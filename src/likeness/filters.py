"""Smoothing of maps that are known only in places."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-6


def gaussian_blur(image: Float[Tensor, "C H W"], sigma: float) -> Float[Tensor, "C H W"]:
    """Gaussian of standard deviation ``sigma`` pixels; beyond the border the image counts as zero.

    A wide one is taken on a coarser grid, where it is as smooth and many times faster.
    """
    if sigma <= 0:
        return image
    coarser = min(max(int(sigma / 2.5), 1), *image.shape[-2:])
    rest = [-side % coarser for side in image.shape[-2:]]
    small = functional.pad(image[:, None], (0, rest[1], 0, rest[0]))
    if coarser > 1:
        small = functional.avg_pool2d(small, coarser)
        # Averaging and interpolation blur by themselves: a box and a triangle of this width.
        sigma = math.sqrt(max(sigma**2 - coarser**2 / 4, 0.25)) / coarser
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = (weights / weights.sum())[None, None, None]
    blurred = functional.conv2d(functional.conv2d(small, weights, padding=(0, radius)), weights.mT, padding=(radius, 0))
    if coarser > 1:
        blurred = functional.interpolate(blurred, scale_factor=coarser, mode="bilinear", align_corners=False)
    return blurred[:, 0, : image.shape[-2], : image.shape[-1]]


def weighted_blur(image: Float[Tensor, "C H W"], weight: Float[Tensor, "H W"], sigma: float) -> Float[Tensor, "C H W"]:
    """The Gaussian mean of what has weight (normalised convolution, Knutsson and Westin 1993); 0 far from all of it."""
    blurred = gaussian_blur(torch.cat([image * weight, weight[None]]), sigma)
    return blurred[:-1] / blurred[-1:].clamp_min(_TINY)


def smoothstep(values: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, smooth between; falling where ``low`` is above ``high``."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
