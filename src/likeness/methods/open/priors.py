"""What the landmark fit believes before it has seen anything. Units: mm, and weights in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from likeness.methods.open.objective import Prior

# People are photographed from arm's length (a selfie) to a few metres (a portrait with a long lens).
DISTANCE_MM = 900.0
_LOG_DISTANCE_SPREAD = 0.5
# Uncropped: 1.3 times the longer side is a 50 mm lens on full frame; crops make it anything, so it says little.
_FOCAL_OVER_LONGER_SIDE = 1.3
_LOG_FOCAL_SPREAD = 1.0
# EXIF rounds to millimetres and ignores focus breathing.
_LOG_FOCAL_SPREAD_EXIF = 0.05

# Expressions are sparse: a Gaussian of this width pulled below zero, so that the bound holds what is not needed.
_EXPRESSION_SPREAD = 0.35
_EXPRESSION_PULL = 0.15


def fit_prior(
    sizes: Sequence[tuple[int, int]],
    focals: Sequence[float | None],
    *,
    identity_precision: torch.Tensor,
    identity_mean: torch.Tensor,
    n_expression: int,
    n_modes: int,
) -> Prior:
    """The prior for photos of these (height, width) sizes and focal lengths in pixels, where known."""
    n = len(sizes)
    guesses = [focal or _FOCAL_OVER_LONGER_SIDE * max(size) for size, focal in zip(sizes, focals, strict=True)]
    spreads = [_LOG_FOCAL_SPREAD if focal is None else _LOG_FOCAL_SPREAD_EXIF for focal in focals]
    return Prior(
        identity_precision=identity_precision,
        identity_mean=identity_mean,
        log_distance=torch.full((n,), math.log(DISTANCE_MM)),
        log_distance_precision=torch.full((n,), _LOG_DISTANCE_SPREAD**-2),
        log_focal=torch.tensor([math.log(guess) for guess in guesses]),
        log_focal_precision=torch.tensor([spread**-2 for spread in spreads]),
        expression_precision=torch.full((n_expression,), _EXPRESSION_SPREAD**-2),
        expression_mean=torch.full((n_expression,), -_EXPRESSION_PULL),
        mode_precision=torch.ones(n_modes),
    )
