"""The release's fit, step by step: four rounds of pose, identity, expression and contour (``compat="official"``).

Kept for whoever must reproduce its numbers: the same optimisers with the same limits, and gradients by the same
forward differences. `likeness.methods.facescape.fit` minimises the same energy, faster and further. The identity step
is a quadratic, so that its minimum in closed form stands for the release's hundred iterations towards it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares, minimize

from likeness.methods.facescape.energies import expression_energy, landmark_points, rigid_residual, total_energy
from likeness.methods.facescape.fit import Fit
from likeness.methods.facescape.landmark_model import LandmarkBasis, LandmarkModel, slots_of
from likeness.methods.facescape.pose import Pose

N_LOOPS = 4
_MAX_ITERATIONS = 100
_DIFFERENCE_STEP = 1e-8


def fit_as_released(model: LandmarkModel, landmarks: Float[np.ndarray, "68 2"]) -> Fit:
    """Fit to 68 landmarks in fit image space (pixel indices, y up)."""
    pose, factors = Pose(1.0, np.zeros(2), np.array([0.0, 0.1, 0.0])), model.start_factors.astype(np.float64)
    expression = np.zeros(model.prior.means.shape[1])
    vertices = model.start_landmarks.copy()
    for loop in range(N_LOOPS):
        basis = model.landmark_basis(vertices)
        points = landmark_points(basis, factors, expression)
        pose = fit_rigid(restart(pose, points, landmarks), points, landmarks)
        factors = fit_identity(basis, pose, expression, landmarks, model)
        expression = fit_expression(basis, pose, factors, expression, landmarks, model)
        if loop < N_LOOPS - 1:  # the release also slides after the last round, to no effect
            positions = model.positions(factors, expression)
            vertices = model.slide_contour(vertices, pose.project, positions)
    energy = total_energy(pose, factors, expression, landmarks, vertices, model)
    return Fit(pose, factors, expression, vertices, landmarks, energy)


def restart(pose: Pose, points: Float[np.ndarray, "68 3"], landmarks: Float[np.ndarray, "68 2"]) -> Pose:
    """Scale and translation guessed from the spread about the means; the rotation is kept.

    The guess divides by the spread of the points *as already scaled*, so that it comes out near 1 from the second
    round on. That is the release's slip, and harmless, as the rigid step recovers; it is repeated because it is the
    start of that step.
    """
    projected = pose.project(points)
    mean, target = projected.mean(0), landmarks.mean(0)
    scale = np.linalg.norm(landmarks - target, axis=1).sum() / np.linalg.norm(projected - mean, axis=1).sum()
    return Pose(float(scale), target - scale * mean, pose.rotation)


def fit_rigid(pose: Pose, points: Float[np.ndarray, "68 3"], landmarks: Float[np.ndarray, "68 2"]) -> Pose:
    """Pose of fixed points: MINPACK's Levenberg–Marquardt from ``pose``."""

    def residual(vector: np.ndarray) -> np.ndarray:
        return rigid_residual(Pose.from_vector(vector), points, landmarks)

    found = least_squares(residual, pose.vector, method="lm", x_scale="jac", ftol=1e-5, xtol=1e-8, gtol=1e-8)
    return Pose.from_vector(found.x)


def fit_identity(
    basis: LandmarkBasis, pose: Pose, expression: np.ndarray, landmarks: Float[np.ndarray, "68 2"], model: LandmarkModel
) -> Float[np.ndarray, " K"]:
    """The minimum of the identity energy: (JᵀJ + diag 1/σ²) w = Jᵀb + m/σ²."""
    shapes = np.einsum("kjnc,j->knc", basis, slots_of(expression))
    jacobian = (shapes @ pose.matrix[:2].T).reshape(len(shapes), -1).T
    target = ((landmarks - pose.translation) / pose.scale).reshape(-1)
    precision = 1 / model.identity_variance
    return np.linalg.solve(
        jacobian.T @ jacobian + np.diag(precision), jacobian.T @ target + precision * model.identity_mean
    )


def fit_expression(
    basis: LandmarkBasis,
    pose: Pose,
    factors: np.ndarray,
    expression: np.ndarray,
    landmarks: Float[np.ndarray, "68 2"],
    model: LandmarkModel,
) -> Float[np.ndarray, " 51"]:
    """A hundred iterations of L-BFGS-B down the expression energy, from ``expression``, within [0, 1]."""
    shapes = np.einsum("kjnc,k->jnc", basis, factors) @ pose.matrix[:2].T
    target = (landmarks - pose.translation) / pose.scale
    neutral, deltas = shapes[0] - target, (shapes[1:] - shapes[0]).reshape(len(shapes) - 1, -1)

    def energy(x: np.ndarray) -> float:
        return expression_energy(x, float(np.square(neutral.reshape(-1) + x @ deltas).sum()), model)

    options = {"maxiter": _MAX_ITERATIONS, "eps": _DIFFERENCE_STEP}
    bounds = [(0.0, 1.0)] * len(expression)
    return minimize(energy, expression, method="L-BFGS-B", bounds=bounds, options=options).x
