"""The losses Deep3D was trained with, term by term (Deng et al. 2019), in the form of the PyTorch code.

The TensorFlow code differs in the photometric term (`photometric_loss` with ``epsilon=0``), in its perceptual network
and in counting colours from 0 to 255, which changes none of the numbers below.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.methods.deep3d.coefficients import Coefficients

# What each term counts in the sum.
WEIGHTS = {
    "photometric": 1.92,
    "landmarks": 1.6e-3,
    "perceptual": 0.2,
    "coefficients": 3e-4,
    "reflectance": 5.0,
    "light": 10.0,
}
_IDENTITY, _EXPRESSION, _ALBEDO = 1.0, 0.8, 1.7e-2
# The ridge and tip of the nose, and the inner mouth.
_HEAVY_LANDMARKS = (28, 29, 30, *range(60, 68))
_HEAVY = 20.0


def photometric_loss(
    rendering: Float[Tensor, "B 3 H W"],
    photo: Float[Tensor, "B 3 H W"],
    attention: Float[Tensor, "B 1 H W"],
    *,
    epsilon: float = 1e-6,
) -> Float[Tensor, ""]:
    """Mean RGB distance over the whole batch, weighted by skin attention times the rendered mask (no gradient).

    ``epsilon`` under the root keeps the gradient finite; the TensorFlow code has none.
    """
    squared = (rendering - photo).square().sum(1, keepdim=True)
    return ((squared + epsilon).sqrt() * attention).sum() / attention.sum().clamp_min(1.0)


def landmark_loss(predicted: Float[Tensor, "B 68 2"], detected: Float[Tensor, "B 68 2"]) -> Float[Tensor, ""]:
    """Mean squared distance in pixels of the crop; nose and inner mouth count twenty times, but not in the divisor."""
    weights = torch.ones(predicted.shape[1], dtype=predicted.dtype, device=predicted.device)
    weights[list(_HEAVY_LANDMARKS)] = _HEAVY
    squared = (predicted - detected).square().sum(-1) * weights
    return squared.sum() / (squared.shape[0] * squared.shape[1])


def perceptual_loss(features: Float[Tensor, "B F"], others: Float[Tensor, "B F"]) -> Float[Tensor, ""]:
    """Mean of 1 - cosine between identity features."""
    return (1 - F.cosine_similarity(features, others, dim=-1)).clamp_min(0).mean()


def coefficient_loss(coefficients: Coefficients) -> Float[Tensor, ""]:
    """Pull towards the average face. The paper prints 1.7e-3 for the albedo; both codes use 1.7e-2."""
    total = (
        _IDENTITY * coefficients.identity.square().sum()
        + _EXPRESSION * coefficients.expression.square().sum()
        + _ALBEDO * coefficients.albedo.square().sum()
    )
    return total / len(coefficients)


def reflectance_loss(albedo: Float[Tensor, "B V 3"], skin: Float[Tensor, " V"]) -> Float[Tensor, ""]:
    """Keeps skin even: squared distance of its albedo (in [0, 1]) to its mean, over vertices of weight 1."""
    weights = skin[None, :, None]
    mean = (weights * albedo).sum(1, keepdim=True) / skin.sum()
    return ((albedo - mean).square() * weights).sum() / (len(albedo) * skin.sum())


def light_loss(coefficients: Coefficients) -> Float[Tensor, ""]:
    """Keeps light near white: squared distance of each channel to the channels' mean. Light as predicted."""
    light = coefficients.light.unflatten(1, (3, 9))
    return (light - light.mean(1, keepdim=True)).square().mean()
