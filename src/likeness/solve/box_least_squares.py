"""Least squares with bounds for many small problems in a row, held together in time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_MOST_SWEEPS = 2000
_TOLERANCE = 1e-6


def box_least_squares(
    gram: Float[np.ndarray, "#F N N"],
    right: Float[np.ndarray, "F N"],
    lower: Float[np.ndarray, " N"],
    upper: Float[np.ndarray, " N"],
    *,
    smoothness: float = 0.0,
    start: Float[np.ndarray, "F N"] | None = None,
) -> Float[np.ndarray, "F N"]:
    """x with the least Σ_f ½ x_fᵀ A_f x_f − b_fᵀ x_f + ½ s Σ_f Σ_i A_ii (x_f+1,i − x_f,i)², lower ≤ x ≤ upper.

    ``gram`` A, one a frame or one for all, positive semi-definite with a positive diagonal; ``right`` b. The
    ``smoothness`` s counts in units of each unknown's own curvature (the mean over frames), so it has none.

    Coordinate descent, even frames and odd frames in turn: converges for a convex box problem (Tseng 2001), and each
    step is exact.
    """
    n_frames, n = right.shape
    matrices = np.broadcast_to(gram, (n_frames, n, n))
    diagonal = np.einsum("fii->fi", matrices)
    coupling = smoothness * diagonal.mean(0)
    x = np.zeros((n_frames, n)) if start is None else start.astype(np.float64).copy()
    x = np.clip(x, lower, upper)
    halves = [np.arange(parity, n_frames, 2) for parity in (0, 1)]
    halves = [half for half in halves if len(half)]
    scale = max(float(np.abs(x).max()), 1.0)
    for _ in range(_MOST_SWEEPS):
        largest = 0.0
        for half in halves:
            largest = max(largest, _sweep(x, half, gram, right, diagonal, coupling, lower, upper))
        if largest < _TOLERANCE * scale:
            break
        scale = max(scale, float(np.abs(x).max()))
    return x


def _sweep(x, half, gram, right, diagonal, coupling, lower, upper) -> float:
    """One pass over all unknowns of some frames, in place; how far the largest moved."""
    n_frames, n = x.shape
    own, b = x[half], right[half]
    before, after = np.maximum(half - 1, 0), np.minimum(half + 1, n_frames - 1)
    # At either end the frame beyond is the frame itself, and pulls at nothing.
    n_neighbours = (half > 0).astype(float) + (half < n_frames - 1)
    around = np.where((half > 0)[:, None], x[before], 0) + np.where((half < n_frames - 1)[:, None], x[after], 0)
    shared = len(gram) == 1
    matrix = gram[0] if shared else gram[half]
    gradient = own @ matrix if shared else np.einsum("fi,fij->fj", own, matrix)
    gradient = gradient - b
    largest = 0.0
    for i in range(n):
        curvature = diagonal[half, i] + n_neighbours * coupling[i]
        slope = gradient[:, i] + coupling[i] * (n_neighbours * own[:, i] - around[:, i])
        new = np.clip(own[:, i] - slope / curvature, lower[i], upper[i])
        step = new - own[:, i]
        own[:, i] = new
        if step.any():
            gradient += step[:, None] * (matrix[i] if shared else matrix[:, i])
            largest = max(largest, float(np.abs(step).max()))
    x[half] = own
    return largest
