"""Least squares for many frames in a row that are held together in time, with bounds or without."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.fft import dct, idct

# Cosines solved for together, which bounds the memory.
_BATCH = 256
_MOST_SWEEPS = 3000
_TOLERANCE = 1e-6


def smooth_least_squares(
    gram: Float[np.ndarray, "N N"], right: Float[np.ndarray, "F N"], *, smoothness: float = 0.0
) -> Float[np.ndarray, "F N"]:
    """x with the least Σ_f ½ x_fᵀ A x_f − b_fᵀ x_f + ½ s Σ_f Σ_i A_ii (x_f+1,i − x_f,i)².

    ``gram`` A is positive definite, ``right`` b. The ``smoothness`` s counts in each unknown's own curvature, so it has
    no unit. Exact: over time the differences' square is diagonal in cosines (Strang 1999), one system a cosine.
    """
    n_frames = len(right)
    if smoothness == 0 or n_frames < 2:
        return np.linalg.solve(gram, right.T).T
    roughness = smoothness * (2 - 2 * np.cos(np.pi * np.arange(n_frames) / n_frames))
    spectrum = np.asarray(dct(right, axis=0, norm="ortho"))
    found = np.empty_like(spectrum)
    for start in range(0, n_frames, _BATCH):
        part = slice(start, start + _BATCH)
        systems = gram + roughness[part, None, None] * np.diag(np.diag(gram))
        found[part] = np.linalg.solve(systems, spectrum[part, :, None])[..., 0]
    return np.asarray(idct(found, axis=0, norm="ortho"))


def box_least_squares(
    gram: Float[np.ndarray, "N N"],
    right: Float[np.ndarray, "F N"],
    lower: Float[np.ndarray, " N"],
    upper: Float[np.ndarray, " N"],
    *,
    smoothness: float = 0.0,
) -> Float[np.ndarray, "F N"]:
    """`smooth_least_squares` with lower ≤ x ≤ upper.

    Coordinate descent from the clipped free solution, even frames and odd frames in turn: it converges for a convex
    problem in a box (Tseng 2001), and each step is exact.
    """
    x = smooth_least_squares(gram, right, smoothness=smoothness)
    if ((x >= lower) & (x <= upper)).all():
        return x
    x = np.clip(x, lower, upper)
    coupling = smoothness * np.diag(gram)
    halves = [half for parity in (0, 1) if len(half := np.arange(parity, len(x), 2))]
    for _ in range(_MOST_SWEEPS):
        largest = max(_sweep(x, half, gram, right, coupling, lower, upper) for half in halves)
        if largest < _TOLERANCE * max(float(np.abs(x).max()), 1.0):
            break
    return x


def _sweep(
    x: Float[np.ndarray, "F N"],
    half: np.ndarray,
    gram: Float[np.ndarray, "N N"],
    right: Float[np.ndarray, "F N"],
    coupling: Float[np.ndarray, " N"],
    lower: Float[np.ndarray, " N"],
    upper: Float[np.ndarray, " N"],
) -> float:
    """One pass over all unknowns of some frames, in place; how far the largest moved."""
    own = x[half]
    first, last = half > 0, half < len(x) - 1
    n_neighbours = first.astype(float) + last
    around = np.where(first[:, None], x[half - 1], 0) + np.where(last[:, None], x[(half + 1) % len(x)], 0)
    gradient = own @ gram - right[half]
    largest = 0.0
    for i, own_coupling in enumerate(coupling):
        slope = gradient[:, i] + own_coupling * (n_neighbours * own[:, i] - around[:, i])
        new = np.clip(own[:, i] - slope / (gram[i, i] + n_neighbours * own_coupling), lower[i], upper[i])
        step = new - own[:, i]
        if step.any():
            own[:, i] = new
            gradient += step[:, None] * gram[i]
            largest = max(largest, float(np.abs(step).max()))
    x[half] = own
    return largest
