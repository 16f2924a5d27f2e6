"""What FaceScape's fit minimises, written plainly. Both fits, ours and the one kept as the release has it, answer to
these.

    E = 1/s² Σ_i ‖p_i − l_i‖² + λ Σ_k (w_k − m_k)²/σ_k² − λ log p(x),    λ = 1

p projected landmark vertices, l landmarks in fit image space, w identity factors, x the 51 expression weights.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from likeness.methods.facescape.landmark_model import LandmarkBasis, LandmarkModel, slots_of
from likeness.methods.facescape.pose import Pose


def landmark_points(basis: LandmarkBasis, factors: np.ndarray, expression: np.ndarray) -> Float[np.ndarray, "68 3"]:
    """Landmark vertices in the model frame, mm."""
    pairs = np.outer(factors, slots_of(expression)).ravel()
    # The model's basis is a view of an array with vertices first, so that this way round nothing is copied.
    return (basis.transpose(2, 3, 0, 1).reshape(-1, len(pairs)) @ pairs).reshape(-1, 3)


def rigid_residual(
    pose: Pose, points: Float[np.ndarray, "68 3"], landmarks: Float[np.ndarray, "68 2"]
) -> Float[np.ndarray, " 136"]:
    """Projected minus observed, in pixels: x0, y0, x1, …"""
    return (pose.project(points) - landmarks).reshape(-1)


def data_energy(pose: Pose, points: Float[np.ndarray, "68 3"], landmarks: Float[np.ndarray, "68 2"]) -> float:
    """Squared landmark distances in the model's unit, mm²."""
    return float(np.square(rigid_residual(pose, points, landmarks)).sum() / pose.scale**2)


def identity_prior(factors: np.ndarray, model: LandmarkModel) -> float:
    return float((np.square(factors - model.identity_mean) / model.identity_variance).sum())


def identity_energy(factors: np.ndarray, data: float, model: LandmarkModel, *, weight: float = 1.0) -> float:
    """Of the identity step: data term plus the factors' prior."""
    return data + weight * identity_prior(factors, model)


def expression_energy(expression: np.ndarray, data: float, model: LandmarkModel, *, weight: float = 1.0) -> float:
    """Of the expression step: data term plus the mixture's."""
    return data - weight * float(model.prior.log_density(expression[None])[0])


def total_energy(
    pose: Pose,
    factors: np.ndarray,
    expression: np.ndarray,
    landmarks: Float[np.ndarray, "68 2"],
    vertices: Int[np.ndarray, " 68"],
    model: LandmarkModel,
) -> float:
    """E with both priors, at given landmark vertices."""
    points = landmark_points(model.landmark_basis(vertices), factors, expression)
    data = data_energy(pose, points, landmarks)
    return data + identity_prior(factors, model) - float(model.prior.log_density(expression[None])[0])
