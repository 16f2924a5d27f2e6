"""Our fit of the bilinear model to landmarks: the release's energy, all unknowns at once.

`likeness.methods.facescape.energies` is minimised jointly over camera, identity and expression by the shared
Levenberg–Marquardt, where the release takes turns. One thing is taken over from its turns: the scale that turns
pixels into millimetres in the data term, 1/s², is that of the round before. Free to move, it pays to enlarge s and
shrink the face, as the residuals then count less: energies fall and faces come out a tenth too small. The mixture is
no sum of squares; the Gauss–Newton matrix takes, in place of the Hessian of −log p(x), that of its upper bound Σ_k
ρ_k ½ ‖(x − μ_k) L_k‖² with the components' responsibilities ρ at x (Jensen), whose gradient is exact. The mixture has
many narrow valleys: all its components' means are tried as one batch, and the best go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor

from likeness.devices import one_thread
from likeness.methods.facescape.energies import total_energy
from likeness.methods.facescape.landmark_energy import N_POSE, LandmarkCore, LandmarkEnergy, Mixture
from likeness.methods.facescape.landmark_model import LandmarkModel, slots_of
from likeness.methods.facescape.pose import Pose
from likeness.solve import levenberg_marquardt

MAX_ROUNDS = 6
# Every start takes a few iterations, the best of them a few more, and the best of those see the contour slide once:
# (iterations, kept). The start that wins in the end has been among the best three after two iterations, wherever all
# were followed to their ends.
_HALVING = ((2, 4), (5, 3))
_N_ITERATIONS = 5
_TOLERANCE = 3e-4
_SHARED_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model in its own terms: ``pose`` in fit image space, identity ``factors`` (K,), 51 blendshape weights,
    the landmark ``vertices`` (68,) they were fitted with, the ``landmarks`` (68, 2) fitted to, and the energy
    reached.
    """

    pose: Pose
    factors: Float[np.ndarray, " K"]
    expression: Float[np.ndarray, " 51"]
    vertices: Int[np.ndarray, " 68"]
    landmarks: Float[np.ndarray, "68 2"]
    energy: float


def fit_landmarks(model: LandmarkModel, landmarks: Float[np.ndarray, "68 2"]) -> Fit:
    """Fit to 68 landmarks in fit image space (y up): descent and sliding contour in turns, until the contour rests."""
    with one_thread():
        core, mixture = LandmarkCore.of(model, model.start_landmarks), Mixture.of(model, torch.float32)
        x, scale = _starts(model, core, landmarks)
        schedule = _HALVING
        for _ in range(MAX_ROUNDS):
            x = _descend(LandmarkEnergy(mixture, core, landmarks, scale), x, schedule)
            unknowns = unpack(x[0], scale, model)
            pose, factors, expression = unknowns
            x[:, :3] *= scale / pose.scale
            scale, fitted = pose.scale, core.vertices
            vertices = model.silhouette.slide(fitted, pose, factors, expression)
            if (vertices == fitted).all():
                break
            core = core.moved_to(model, vertices)
            schedule = ((_N_ITERATIONS, 1),)
    return _evaluated(model, unknowns, fitted, landmarks)  # pyright: ignore[reportPossiblyUnboundVariable]


def _descend(
    energy: LandmarkEnergy, x: Float[Tensor, "B P"], schedule: Sequence[tuple[int, int]]
) -> Float[Tensor, "K P"]:
    """The best few of the batch, best first, after each stage's iterations with those that the last has kept."""
    for n_iterations, n_kept in schedule:
        solution = levenberg_marquardt(energy, x, max_iterations=n_iterations, tolerance=_TOLERANCE)
        x = solution.x[solution.objective.argsort()[:n_kept]]
    return x


def _evaluated(
    model: LandmarkModel, unknowns: tuple[Pose, np.ndarray, np.ndarray], vertices: np.ndarray, landmarks: np.ndarray
) -> Fit:
    return Fit(*unknowns, vertices, landmarks, total_energy(*unknowns, landmarks, vertices, model))


def fit_together(model: LandmarkModel, landmarks: Sequence[Float[np.ndarray, "68 2"]]) -> list[Fit]:
    """Fits to several photos of one person, all with one identity.

    Each photo is fitted by itself first. Then identity is solved from all photos in closed form, and pose, expression
    and contour again from each with that identity held, in turns.
    """
    fits = [fit_landmarks(model, points) for points in landmarks]
    for _ in range(_SHARED_ROUNDS if len(fits) > 1 else 0):
        factors = shared_identity(model, fits)
        fits = [_refit(model, fit, factors) for fit in fits]
    return fits


def shared_identity(model: LandmarkModel, fits: Sequence[Fit]) -> Float[np.ndarray, " K"]:
    """The minimum over one identity of the sum of the fits' data terms and a single prior."""
    precision = 1 / model.identity_variance
    matrix, target = np.diag(precision), precision * model.identity_mean
    for fit in fits:
        basis = model.landmark_basis(fit.vertices)
        shapes = np.einsum("kjnc,j->knc", basis, slots_of(fit.expression)) @ fit.pose.matrix[:2].T
        jacobian = shapes.reshape(len(shapes), -1)
        matrix = matrix + jacobian @ jacobian.T
        target = target + jacobian @ ((fit.landmarks - fit.pose.translation) / fit.pose.scale).reshape(-1)
    return np.linalg.solve(matrix, target)


def _refit(model: LandmarkModel, fit: Fit, factors: Float[np.ndarray, " K"]) -> Fit:
    """Pose and expression again, one descent, with an identity held."""
    standard = (factors - model.identity_mean) / np.sqrt(model.identity_variance)
    known = np.concatenate([[1.0], fit.pose.translation / fit.pose.scale, fit.pose.rotation, standard, fit.expression])
    with one_thread():
        core = LandmarkCore.of(model, fit.vertices)
        energy = LandmarkEnergy(Mixture.of(model, torch.float32), core, fit.landmarks, fit.pose.scale)
        held, start = slice(N_POSE, N_POSE + len(standard)), torch.from_numpy(known).float()
        energy.lower[held] = energy.upper[held] = start[held]
        x = levenberg_marquardt(energy, start[None], max_iterations=_N_ITERATIONS).x[0]
        pose, _, expression = unpack(x, fit.pose.scale, model)
        vertices = model.silhouette.slide(fit.vertices, pose, factors, expression)
    return _evaluated(model, (pose, factors, expression), vertices, fit.landmarks)


def unpack(x: Float[Tensor, " P"], scale: float, model: LandmarkModel) -> tuple[Pose, np.ndarray, np.ndarray]:
    """Pose, identity factors and expression of one unknown vector."""
    values, n_identity = x.double().numpy(), len(model.identity_mean)
    pose = Pose(scale * float(values[0]), scale * values[1:3], values[3:6].copy())
    standard = values[N_POSE : N_POSE + n_identity]
    factors = model.identity_mean + standard * np.sqrt(model.identity_variance)
    return pose, factors, values[N_POSE + n_identity :].copy()


def _starts(
    model: LandmarkModel, core: LandmarkCore, landmarks: Float[np.ndarray, "68 2"]
) -> tuple[Float[Tensor, "B P"], float]:
    """The mean face in the landmarks' best affine view, with no expression and with each component's mean; the view's
    scale.
    """
    neutral = np.zeros((1, model.prior.means.shape[1]))
    pose = affine_view(core.values[0, 0].double().numpy(), landmarks)
    known = np.concatenate([[1.0], pose.translation / pose.scale, pose.rotation, np.zeros(len(model.identity_mean))])
    weights = np.concatenate([neutral, model.prior.means.clip(0, 1)])
    starts = np.concatenate([np.broadcast_to(known, (len(weights), len(known))), weights], 1)
    return torch.from_numpy(starts).to(core.values), pose.scale


def affine_view(points: Float[np.ndarray, "N 3"], landmarks: Float[np.ndarray, "N 2"]) -> Pose:
    """The scaled orthographic view nearest to the least-squares affine one."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1)
    affine = np.linalg.lstsq(homogeneous, landmarks, rcond=None)[0].T
    left, stretch, right = np.linalg.svd(affine[:, :3], full_matrices=False)
    rows = left @ right
    rotation = np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])
    return Pose(float(stretch.mean()), affine[:, 3], Rotation.from_matrix(rotation).as_rotvec())
