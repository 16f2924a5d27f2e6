"""How likely a set of 51 blendshape weights is: FaceScape's Gaussian mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from likeness.heads.facescape_files import FaceScapeTables


@dataclass(frozen=True, eq=False)
class ExpressionPrior:
    """A Gaussian mixture over weights x. ``cholesky`` L is upper triangular in the release and multiplies from the
    right, so that a component's precision is L Lᵀ; ``log_scale`` (M,) holds log π − (51/2) log 2π + Σ log diag L.
    """

    means: Float[np.ndarray, "M 51"]
    cholesky: Float[np.ndarray, "M 51 51"]
    log_scale: Float[np.ndarray, " M"]

    @classmethod
    def from_tables(cls, tables: FaceScapeTables) -> ExpressionPrior:
        cholesky = tables.mixture_cholesky
        log_det = np.log(np.diagonal(cholesky, axis1=1, axis2=2)).sum(-1)
        dimension = tables.mixture_means.shape[1]
        log_scale = np.log(tables.mixture_weights) - dimension / 2 * np.log(2 * np.pi) + log_det
        return cls(tables.mixture_means, cholesky, log_scale)

    def log_components(self, x: Float[np.ndarray, "B 51"]) -> Float[np.ndarray, "B M"]:
        """log of weight times density of each component."""
        whitened = np.einsum("bmi,mij->bmj", x[:, None] - self.means, self.cholesky, optimize=True)
        return self.log_scale - 0.5 * np.square(whitened).sum(-1)

    def log_density(self, x: Float[np.ndarray, "B 51"]) -> Float[np.ndarray, " B"]:
        """log p(x)"""
        return np.asarray(logsumexp(self.log_components(x), axis=-1))
