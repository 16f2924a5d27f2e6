"""Which pixels show the person's bare skin? Judged by colours learnt from the photo itself.

The middle of the cheeks, the nose and the forehead is bare on nearly everybody. How colours stray there from the model
(skin times light, in logs: how much brighter, and the two ratios of channels) says how they may stray elsewhere; what
strays further is hair, glasses, a hand's edge, cloth, background or gloss. Then neighbours of like colour are made to
agree (He, Sun and Tang 2013, "Guided Image Filtering"), and specks are dropped: a mole is skin.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d

from likeness.appearance.photo_view import PhotoView

# Bounds, in logs, of one deviation of brightness and of the channels' ratios, whatever the cheeks say.
_BRIGHTNESS, _RATIO = (0.14, 0.28), (0.06, 0.14)
# Skin up to about so many deviations.
_LIMIT = 3.0
# How much further the zones stray: brightness, ratios. Beards are hair, lips may be painted.
_LIPS, _BEARD = (2.0, 2.5), (1.8, 1.4)
# A shadow in the middle of the face is a shadow; at its edge it may be hair.
_SHADOW = 2.2
# Brows, lashes and nostrils: nearly black is nothing strange, nor that its ratios of channels mean little.
_DARK, _DARK_RATIO = 9.0, 2.5
# How much redder a shadow may be than the light, per log of its darkness and at most.
_REDDER, _REDDEST = 0.45, 0.4
# In mm: the filter's radius, and the side of the smallest patch that is not a speck.
_RADIUS_MM, _SPECK_MM = 2.5, 3.2
_FOR_MEDIANS = 8192


def skin_mask(
    view: PhotoView,
    residual: Float[Tensor, "P 3"],
    may_be: Float[Tensor, " P"],
    previous: Float[Tensor, " P"],
    dark: Float[Tensor, " P"],
    lips: Float[Tensor, " P"],
    *,
    glasses: bool = False,
) -> Float[Tensor, " P"]:
    """The confidence in [0, 1] that each pixel shows skin (lips, brows and stubble included).

    ``residual`` is log(colour / (skin · light)); ``may_be`` in [0, 1] is where the geometry lets skin be seen;
    ``previous`` the confidence so far, by which the safe places are weighted; ``dark`` in [0, 1] is where brows,
    lashes and nostrils may be as dark as they like, ``lips`` where lips are. With ``glasses`` a small hole is a piece
    of their frame, not a mole.
    """
    bright = residual @ residual.new_tensor([0.3, 0.5, 0.2])
    ratios = residual[:, [0, 2]] - residual[:, 1:2]
    weights = may_be * view.zones.safe * (0.1 + previous)
    bright, bright_deviation = _standardised(bright, weights, *_BRIGHTNESS)
    red, red_deviation = _standardised(ratios[:, 0], weights, *_RATIO)
    blue, blue_deviation = _standardised(ratios[:, 1], weights, *_RATIO)
    # Light that comes to a shadow from other skin is redder.
    redder = (-_REDDER * bright).clamp(0, _REDDEST)
    red, blue = red - red.clamp_min(0).minimum(redder), blue - blue.clamp_max(0).maximum(-0.5 * redder)
    brightness_slack, ratio_slack = _slack(view, lips)
    shadow = 1 + torch.maximum(_SHADOW * view.zones.centre, _DARK * dark)
    ratio_slack = torch.maximum(ratio_slack, 1 + _DARK_RATIO * dark * (bright < 0))
    bright_deviation = bright_deviation * brightness_slack * torch.where(bright < 0, shadow, 1.0)
    distance2 = (bright / bright_deviation).square()
    distance2 = distance2 + ((red / red_deviation).square() + (blue / blue_deviation).square()) / ratio_slack.square()
    confidence = torch.sigmoid(2.5 * (_LIMIT - distance2.sqrt())) * may_be
    return _agreed(view, confidence, may_be, holes_are_specks=not glasses)


def _standardised(values: Tensor, weights: Tensor, low: float, high: float) -> tuple[Tensor, float]:
    """Values less their weighted median at the safe places, and their deviation there."""
    middle = weighted_median(values, weights)
    deviation = 1.48 * weighted_median((values - middle).abs(), weights)
    return values - middle, min(max(deviation, low), high)


def weighted_median(values: Float[Tensor, " N"], weights: Float[Tensor, " N"]) -> float:
    """The value with half of the weight on either side, of some thousands taken evenly; 0 without weight."""
    step = max(len(values) // _FOR_MEDIANS, 1)
    values, weights = values[::step], weights[::step]
    used = weights > 1e-3
    if not bool(used.any()):
        return 0.0
    values, order = values[used].sort(stable=True)
    total = weights[used][order].double().cumsum(0)
    return float(values[int(torch.searchsorted(total, total[-1] / 2).clamp_max(len(values) - 1))])


def _slack(view: PhotoView, lips: Tensor) -> tuple[Tensor, Tensor]:
    brightness, ratio = torch.ones_like(view.facing), torch.ones_like(view.facing)
    for zone, (more_brightness, more_ratio) in ((lips, _LIPS), (view.zones.beard, _BEARD)):
        brightness = torch.maximum(brightness, 1 + (more_brightness - 1) * zone)
        ratio = torch.maximum(ratio, 1 + (more_ratio - 1) * zone)
    return brightness, ratio


def _agreed(view: PhotoView, confidence: Tensor, may_be: Tensor, *, holes_are_specks: bool) -> Tensor:
    radius = max(round(_RADIUS_MM * view.px_per_mm), 1)
    guide = view.srgb.mean(-1)
    smooth = guided_filter(guide, view.image(confidence[:, None])[0], view.image(may_be[:, None])[0], radius=radius)
    speck = (_SPECK_MM * view.px_per_mm) ** 2
    # Thin things (frames, strands) survive no smoothing; but the noise of single pixels goes with the specks.
    smooth = torch.minimum(smooth, view.image(confidence[:, None])[0])
    skin = (smooth > 0.5).numpy()
    filled = skin | _small(view.where.numpy() & ~skin, speck) if holes_are_specks else skin
    solid = torch.from_numpy(filled & ~_small(filled, speck))
    specks = torch.where(solid, 0.75, 0.25)
    mask = torch.where(solid == (smooth > 0.5), smooth, specks)
    return (mask[view.where] * may_be).clamp(0, 1)


def guided_filter(
    guide: Float[Tensor, "H W"],
    image: Float[Tensor, "H W"],
    weights: Float[Tensor, "H W"],
    *,
    radius: int,
    softness: float = 0.03,
) -> Float[Tensor, "H W"]:
    """``image`` smoothed except across the edges of ``guide`` (He, Sun and Tang 2013, eq. 5-8), means weighted."""

    def mean(*pictures: Tensor) -> list[Tensor]:
        stack = torch.stack([weights + 1e-6, *(picture * (weights + 1e-6) for picture in pictures)])[None]
        sums = avg_pool2d(stack, (2 * radius + 1, 1), 1, (radius, 0))
        sums = avg_pool2d(sums, (1, 2 * radius + 1), 1, (0, radius))[0]
        return list(sums[1:] / sums[0])

    mean_guide, mean_image, cross, square = mean(guide, image, guide * image, guide * guide)
    slope = (cross - mean_guide * mean_image) / (square - mean_guide.square() + softness**2)
    slope, offset = mean(slope, mean_image - slope * mean_guide)
    return (slope * guide + offset).clamp(0, 1)


def _small(mask: np.ndarray, smallest: float) -> np.ndarray:
    """The patches of a mask with fewer pixels than ``smallest``."""
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    sizes = np.bincount(labels.ravel())
    small = sizes < smallest
    small[0] = False
    return small[labels]
