"""The energy of FaceScape's fit for a batch of unknowns, with its Gauss–Newton model: what our solver descends.

In float32: the landmarks are known to a tenth of a millimetre at best, and half the memory is half the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.methods.facescape.landmark_model import LandmarkModel
from likeness.rotations import cross_matrix

N_POSE = 6
"""Leading unknowns: scale and translation over the last round's scale; rotation vector."""

# Factor 0 carries the mean head, and so its size, whose deviation is four in a hundred. Left free, a badly matched
# photo makes it shrink the head twentyfold and enlarge the picture: all other factors then bend the face more at the
# same cost.
_MEAN_FACTOR_REACH = 3.0


@dataclass(frozen=True, eq=False)
class LandmarkCore:
    """The bilinear core at 68 ``vertices``, so that points = Σ (1, z)_k (1, x)_j core_kj: identity in standard
    deviations with the mean as one more factor, expressions as offsets from neutral.
    """

    vertices: Int[np.ndarray, " 68"]
    values: Float[Tensor, "K1 52 68 3"]

    @classmethod
    def of(
        cls, model: LandmarkModel, vertices: Int[np.ndarray, " N"], *, dtype: torch.dtype = torch.float32
    ) -> LandmarkCore:
        basis = torch.from_numpy(model.basis_rows(vertices)).to(dtype).permute(2, 3, 0, 1)
        mean, deviation = (
            torch.from_numpy(values).to(dtype) for values in (model.identity_mean, np.sqrt(model.identity_variance))
        )
        shapes = basis.new_empty(len(basis) + 1, *basis.shape[1:])
        torch.mul(basis, deviation[:, None, None, None], out=shapes[1:])
        shapes[0] = torch.tensordot(mean / deviation, shapes[1:], 1)
        shapes[:, 1:] -= shapes[:, :1]
        return cls(vertices, shapes)

    def moved_to(self, model: LandmarkModel, vertices: Int[np.ndarray, " 68"]) -> LandmarkCore:
        """The core at other vertices, of which most are the same."""
        changed = np.flatnonzero(vertices != self.vertices)
        values = self.values.clone()
        values[:, :, changed] = LandmarkCore.of(model, vertices[changed], dtype=values.dtype).values
        return LandmarkCore(vertices, values)


@dataclass(frozen=True, eq=False)
class Mixture:
    """The expression prior as the energy uses it: `ExpressionPrior` with its precisions multiplied out."""

    means: Float[Tensor, "M 51"]
    precisions: Float[Tensor, "M 51 51"]
    log_scale: Float[Tensor, " M"]

    @classmethod
    def of(cls, model: LandmarkModel, dtype: torch.dtype) -> Mixture:
        means, cholesky, log_scale = (
            torch.from_numpy(values) for values in (model.prior.means, model.prior.cholesky, model.prior.log_scale)
        )
        return cls(means.to(dtype), (cholesky @ cholesky.mT).to(dtype), log_scale.to(dtype))

    @property
    def peak(self) -> Float[Tensor, ""]:
        """An upper bound of log p."""
        return self.log_scale.logsumexp(-1)

    def log_components(self, weights: Float[Tensor, "B 51"]) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M 51"]]:
        """log π_k p_k(x), and Λ_k (x − μ_k)."""
        difference = weights[:, None] - self.means
        pulls = (difference.transpose(0, 1) @ self.precisions).transpose(0, 1)
        return self.log_scale - 0.5 * (difference * pulls).sum(-1), pulls

    def bound(self, weights: Float[Tensor, "B 51"]) -> tuple[Float[Tensor, "B 51 51"], Float[Tensor, "B 51"]]:
        """Hessian and gradient at x of the upper bound of −log p that touches it there."""
        logs, pulls = self.log_components(weights)
        responsibilities = logs.softmax(-1)
        hessian = (responsibilities @ self.precisions.flatten(1)).unflatten(1, self.precisions.shape[1:])
        return hessian, (responsibilities[:, None] @ pulls)[:, 0]


class LandmarkEnergy:
    """The energy of a batch of unknowns, and its Gauss–Newton model: a `likeness.solve.Objective`.

    Unknowns are s/s₀, t/s₀, the rotation vector, identity in standard deviations and the 51 weights; ``scale`` is s₀.
    The data term is ‖(s/s₀) R X + t/s₀ − l/s₀‖². A constant keeps the value positive, since the solver stops at a
    *relative* fall. Everything is in the core's float type.
    """

    def __init__(
        self, mixture: Mixture, core: LandmarkCore, landmarks: Float[np.ndarray, "68 2"], scale: float
    ) -> None:
        self._n_identity = len(core.values) - 1
        self._landmarks = (torch.from_numpy(landmarks) / scale).to(core.values)
        # Both layouts of the core, so that a contraction with either side is one matrix product.
        self._sizes = core.values.shape
        self._by_factor = core.values.flatten(1)
        self._by_slot = core.values.transpose(0, 1).flatten(1)
        self._mixture = mixture
        n_free, n_weights = N_POSE + self._n_identity, mixture.means.shape[1]
        like = self._landmarks
        self.lower: Any = torch.cat([like.new_full((n_free,), -torch.inf), like.new_zeros(n_weights)])
        self.upper: Any = torch.cat([like.new_full((n_free,), torch.inf), like.new_ones(n_weights)])
        self.lower[N_POSE], self.upper[N_POSE] = -_MEAN_FACTOR_REACH, _MEAN_FACTOR_REACH

    def value(self, x: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        standard, weights = self._split(x)
        points = self._points(with_one(weights), self._slots(standard))
        data = self._residuals(x, points @ rotation_rows(x[:, 3:6]).mT).square().sum((-2, -1))
        unlikely = self._mixture.peak - self._mixture.log_components(weights)[0].logsumexp(-1)
        return data + standard.square().sum(-1) + unlikely

    def normal_equations(self, x: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P P"], Float[Tensor, "B P"]]:
        standard, weights = self._split(x)
        residuals, jacobian = self._linearised(x, standard, weights)
        hessian, gradient = jacobian.mT @ jacobian, (jacobian.mT @ residuals[..., None])[..., 0]
        identity, expression = slice(N_POSE, N_POSE + self._n_identity), slice(N_POSE + self._n_identity, None)
        hessian[:, identity, identity] += torch.eye(self._n_identity, dtype=x.dtype)
        gradient[:, identity] += standard
        # Half of the bound's, as the solver counts squares.
        curvature, slope = self._mixture.bound(weights)
        hessian[:, expression, expression] += curvature / 2
        gradient[:, expression] += slope / 2
        return hessian, gradient

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, N_POSE : N_POSE + self._n_identity], x[:, N_POSE + self._n_identity :]

    def _residuals(self, x: Tensor, turned: Float[Tensor, "B 68 2"]) -> Float[Tensor, "B 68 2"]:
        return x[:, :1, None] * turned + x[:, None, 1:3] - self._landmarks

    def _slots(self, standard: Float[Tensor, "B K"]) -> Float[Tensor, "B 52 68 3"]:
        """The landmarks of neutral and of every expression's offset, for an identity."""
        return (with_one(standard) @ self._by_factor).unflatten(1, self._sizes[1:])

    @staticmethod
    def _points(weights: Float[Tensor, "B 52"], slots: Float[Tensor, "B 52 68 3"]) -> Float[Tensor, "B 68 3"]:
        return (weights[:, None] @ slots.flatten(2))[:, 0].unflatten(1, slots.shape[2:])

    def _linearised(
        self, x: Tensor, standard: Tensor, weights: Tensor
    ) -> tuple[Float[Tensor, "B 136"], Float[Tensor, "B 136 P"]]:
        n_factors, _, n_points, _ = self._sizes
        by_identity = (with_one(weights) @ self._by_slot).unflatten(1, (n_factors, n_points, 3))
        by_weight = self._slots(standard)
        points = self._points(with_one(weights), by_weight)
        rotation = rotation_rows(x[:, 3:6])
        turned, turning = points @ rotation.mT, rotation_derivative(x[:, 3:6], rotation)
        size, identity = x[:, 0, None, None, None], slice(N_POSE, N_POSE + self._n_identity)
        rows = x.new_empty(len(x), x.shape[1], n_points, 2)
        rows[:, 0] = turned
        rows[:, 1:3] = torch.eye(2, dtype=x.dtype)[:, None]
        rows[:, 3:N_POSE] = points[:, None] @ (size * turning).permute(0, 2, 3, 1)
        onto = size * rotation.mT[:, None]
        rows[:, identity] = by_identity[:, 1:] @ onto
        rows[:, identity.stop :] = by_weight[:, 1:] @ onto
        return self._residuals(x, turned).flatten(1), rows.flatten(2).mT


def with_one(values: Float[Tensor, "B N"]) -> Float[Tensor, "B N1"]:
    """A leading 1: the weight of the mean, or of neutral."""
    return torch.cat([torch.ones_like(values[:, :1]), values], -1)


def rotation_rows(vectors: Float[Tensor, "B 3"]) -> Float[Tensor, "B 2 3"]:
    """The first two rows of R(r), by Rodrigues' formula."""
    angle = vectors.norm(dim=-1)[:, None, None].clamp_min(1e-8)
    cross = cross_matrix(vectors)
    rows = torch.eye(3, dtype=vectors.dtype)[:2]
    return rows + (angle.sin() / angle) * cross[:, :2] + ((1 - angle.cos()) / angle**2) * (cross[:, :2] @ cross)


def rotation_derivative(vectors: Float[Tensor, "B 3"], rows: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B 2 3 3"]:
    """D of those rows, where d(R X)_row / d r_d = Σ_c D[row, d, c] X_c.

    d(R X)/dr = −R [X]ₓ J(r) with the right Jacobian J of the rotation group, and −[X]ₓ J e_d = [J e_d]ₓ X.
    """
    angle = vectors.norm(dim=-1)[:, None, None].clamp_min(1e-8)
    cross = cross_matrix(vectors)
    right = torch.eye(3, dtype=vectors.dtype) - ((1 - angle.cos()) / angle**2) * cross
    right = right + ((angle - angle.sin()) / angle**3) * (cross @ cross)
    return torch.einsum("brc,bdcx->brdx", rows, cross_matrix(right.mT))
