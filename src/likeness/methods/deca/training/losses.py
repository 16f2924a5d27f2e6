"""The terms DECA is trained with, each as a scalar before its weight. Landmarks are in [-1, 1] over the crop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion
from torch import Tensor

# iBUG: the jaw's corners, the nose with its wings' ends and tip, the mouth with its corners.
_LANDMARK_WEIGHTS = {
    2.0: (5, 6, 10, 11),
    1.5: (27, 28, 29, 32, 33, 34, *range(49, 54), *range(55, 68)),
    3.0: (30, 31, 35, 48, 54),
}
_LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
_LIPS = ((61, 67), (62, 66), (63, 65))
_ERODED = np.ones((5, 5), bool)


def landmark_weights(like: Tensor) -> Float[Tensor, "68"]:
    """How much each landmark counts."""
    weights = like.new_ones(68)
    for weight, points in _LANDMARK_WEIGHTS.items():
        weights[list(points)] = weight
    return weights


def landmark_loss(
    predicted: Float[Tensor, "B 68 2"], detected: Float[Tensor, "B 68 2"], weights: Float[Tensor, "68"] | None = None
) -> Float[Tensor, ""]:
    """Mean absolute distance along an axis. As the authors have it, heavier landmarks count in the divisor too."""
    weights = predicted.new_ones(68) if weights is None else weights
    total = (weights * (predicted - detected).abs().sum(-1)).sum()
    return total / (2 * weights.sum() * len(predicted) + 1e-8)


def eye_closure_loss(predicted: Float[Tensor, "B 68 2"], detected: Float[Tensor, "B 68 2"]) -> Float[Tensor, ""]:
    """How far the lids are apart, against the detected ones: blind to where the eye is."""
    return _distance_loss(predicted, detected, _LIDS)


def lip_distance_loss(predicted: Float[Tensor, "B 68 2"], detected: Float[Tensor, "B 68 2"]) -> Float[Tensor, ""]:
    """How far the inner lips are apart."""
    return _distance_loss(predicted, detected, _LIPS)


def photometric_loss(
    rendered: Float[Tensor, "B 3 H W"], photo: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, ""]:
    """Mean over all pixels, those outside of the mask as zeros."""
    return (mask * (rendered - photo).abs()).mean()


def sum_of_squares(code: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """Half the squared length of codes, summed over the batch: a Gaussian prior."""
    return code.square().sum() / 2


def light_loss(light: Float[Tensor, "B 9 3"]) -> Float[Tensor, ""]:
    """Light is nearly white."""
    return (light - light.mean(2, keepdim=True)).square().mean()


def cosine_loss(features: Float[Tensor, "B F"], others: Float[Tensor, "B F"]) -> Float[Tensor, ""]:
    """Mean of 1 - cosine."""
    return (1 - torch.nn.functional.cosine_similarity(features, others, dim=1)).mean()


def displacement_loss(displacement: Float[Tensor, "B 1 H W"]) -> Float[Tensor, ""]:
    """Wrinkles are shallow."""
    return displacement.abs().mean()


def smoothness_loss(shading: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
    """Shading changes little from texel to texel; the first row and column are left out, as the authors do."""
    across = shading[:, :, 1:, :-1] - shading[:, :, 1:, 1:]
    down = shading[:, :, :-1, 1:] - shading[:, :, 1:, 1:]
    return across.square().mean() + down.square().mean()


def symmetry_loss(displacement: Float[Tensor, "B 1 H W"], visible: Float[Tensor, "B 1 H W"]) -> Float[Tensor, ""]:
    """What is not seen looks like the other side. A sum over all texels: it grows with the batch."""
    hidden = (~eroded(visible > 0)).to(displacement)
    return (hidden * (displacement - displacement.flip(-1).detach()).abs()).sum()


def eroded(mask: Bool[Tensor, "B 1 H W"]) -> Bool[Tensor, "B 1 H W"]:
    """Where all of 5 × 5 texels are set; what lies beyond the border is not."""
    found = np.stack([binary_erosion(one, _ERODED) for one in mask[:, 0].cpu().numpy()])
    return torch.from_numpy(found)[:, None].to(mask.device)


def _distance_loss(predicted: Tensor, detected: Tensor, pairs: Sequence[tuple[int, int]]) -> Float[Tensor, ""]:
    first, second = (list(side) for side in zip(*pairs, strict=True))
    found, expected = ((points[:, first] - points[:, second]).norm(dim=-1) for points in (predicted, detected))
    return (found - expected).abs().mean()
