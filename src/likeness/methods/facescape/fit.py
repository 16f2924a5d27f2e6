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
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor

from likeness.devices import one_thread
from likeness.methods.facescape.energies import total_energy
from likeness.methods.facescape.landmark_model import LandmarkModel, slots_of
from likeness.methods.facescape.pose import Pose
from likeness.rotations import cross_matrix
from likeness.solve import levenberg_marquardt

MAX_ROUNDS = 6
# All starts take a few iterations; the best few of them the first round, and the best of those all others.
_SCREENING, _N_SCREENED, _MAX_ITERATIONS, _N_KEPT = 2, 4, 5, 3
_TOLERANCE = 1e-4
# Factor 0 carries the mean head, and so its size, whose deviation is four in a hundred. Left free, a badly matched
# photo makes it shrink the head twentyfold and enlarge the picture: all other factors then bend the face more at the
# same cost.
_MEAN_FACTOR_REACH = 3.0
_SHARED_ROUNDS = 3
_N_POSE = 6  # scale and translation over the last round's scale; rotation vector


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
        core = LandmarkCore.of(model, model.start_landmarks)
        x, scale = _starts(model, core, landmarks)
        x = _descend(LandmarkEnergy(model, core, landmarks, scale), x, _SCREENING, _N_SCREENED)
        for _ in range(MAX_ROUNDS):
            x = _descend(LandmarkEnergy(model, core, landmarks, scale), x, _MAX_ITERATIONS, _N_KEPT)
            unknowns = unpack(x[0], scale, model)
            pose, factors, expression = unknowns
            x[:, :3] *= scale / pose.scale
            scale, fitted = pose.scale, core.vertices
            vertices = model.slide_contour(fitted, pose.project, model.positions(factors, expression))
            if (vertices == fitted).all():
                break
            core = core.moved_to(model, vertices)
    return _evaluated(model, unknowns, fitted, landmarks)  # pyright: ignore[reportPossiblyUnboundVariable]


def _descend(energy: LandmarkEnergy, x: Float[Tensor, "B P"], n_iterations: int, n_kept: int) -> Float[Tensor, "K P"]:
    """The best few of the batch after some iterations, best first."""
    solution = levenberg_marquardt(energy, x, max_iterations=n_iterations, tolerance=_TOLERANCE)
    return solution.x[solution.objective.argsort()[:n_kept]]


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
        energy = LandmarkEnergy(model, LandmarkCore.of(model, fit.vertices), fit.landmarks, fit.pose.scale)
        held = slice(_N_POSE, _N_POSE + len(standard))
        energy.lower[held] = energy.upper[held] = torch.from_numpy(standard)
        x = levenberg_marquardt(energy, torch.from_numpy(known)[None], max_iterations=_MAX_ITERATIONS).x[0]
        pose, _, expression = unpack(x, fit.pose.scale, model)
        vertices = model.slide_contour(fit.vertices, pose.project, model.positions(factors, expression))
    return _evaluated(model, (pose, factors, expression), vertices, fit.landmarks)


def unpack(x: Float[Tensor, " P"], scale: float, model: LandmarkModel) -> tuple[Pose, np.ndarray, np.ndarray]:
    """Pose, identity factors and expression of one unknown vector."""
    values, n_identity = x.numpy(), len(model.identity_mean)
    pose = Pose(scale * float(values[0]), scale * values[1:3], values[3:6].copy())
    standard = values[_N_POSE : _N_POSE + n_identity]
    factors = model.identity_mean + standard * np.sqrt(model.identity_variance)
    return pose, factors, values[_N_POSE + n_identity :].copy()


@dataclass(frozen=True, eq=False)
class LandmarkCore:
    """The bilinear core at 68 ``vertices``, so that points = Σ (1, z)_k (1, x)_j core_kj: identity in standard
    deviations with the mean as one more factor, expressions as offsets from neutral.
    """

    vertices: Int[np.ndarray, " 68"]
    values: Float[Tensor, "K1 52 68 3"]

    @classmethod
    def of(cls, model: LandmarkModel, vertices: Int[np.ndarray, " 68"]) -> LandmarkCore:
        basis = torch.from_numpy(model.landmark_basis(vertices))
        deviation = torch.from_numpy(np.sqrt(model.identity_variance))
        mean = torch.einsum("k,kjnc->jnc", torch.from_numpy(model.identity_mean), basis)[None]
        shapes = torch.cat([mean, basis * deviation[:, None, None, None]])
        shapes[:, 1:] -= shapes[:, :1].clone()
        return cls(vertices, shapes)

    def moved_to(self, model: LandmarkModel, vertices: Int[np.ndarray, " 68"]) -> LandmarkCore:
        """The core at other vertices, of which most are the same."""
        changed = np.flatnonzero(vertices != self.vertices)
        values = self.values.clone()
        values[:, :, changed] = LandmarkCore.of(model, vertices[changed]).values
        return LandmarkCore(vertices, values)


class LandmarkEnergy:
    """The energy of a batch of unknowns, and its Gauss–Newton model: a `likeness.solve.Objective`.

    Unknowns are s/s₀, t/s₀, the rotation vector, identity in standard deviations and the 51 weights; ``scale`` is s₀.
    The data term is ‖(s/s₀) R X + t/s₀ − l/s₀‖².
    """

    def __init__(
        self,
        model: LandmarkModel,
        core: LandmarkCore,
        landmarks: Float[np.ndarray, "68 2"],
        scale: float,
    ) -> None:
        self._n_identity = len(model.identity_mean)
        self._landmarks = torch.from_numpy(landmarks) / scale
        # Both layouts of the core, so that a contraction with either side is one matrix product.
        self._sizes = core.values.shape
        self._by_factor = core.values.flatten(1)
        self._by_slot = core.values.transpose(0, 1).flatten(1)
        prior = model.prior
        self._means, self._cholesky = torch.from_numpy(prior.means), torch.from_numpy(prior.cholesky)
        self._precisions = self._cholesky @ self._cholesky.mT
        self._log_scale = torch.from_numpy(prior.log_scale)
        n_free = _N_POSE + self._n_identity
        n_weights = prior.means.shape[1]
        self.lower: Any = torch.cat([torch.full((n_free,), -torch.inf), torch.zeros(n_weights)]).double()
        self.upper: Any = torch.cat([torch.full((n_free,), torch.inf), torch.ones(n_weights)]).double()
        self.lower[_N_POSE], self.upper[_N_POSE] = -_MEAN_FACTOR_REACH, _MEAN_FACTOR_REACH

    def value(self, x: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        standard, weights = self._split(x)
        points = self._points(with_one(weights), self._slots(standard))
        data = self._residuals(x, points @ rotation_rows(x[:, 3:6]).mT).square().sum((-2, -1))
        return data + standard.square().sum(-1) - self._log_components(weights)[0].logsumexp(-1)

    def normal_equations(self, x: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P P"], Float[Tensor, "B P"]]:
        standard, weights = self._split(x)
        residuals, jacobian = self._linearised(x, standard, weights)
        hessian, gradient = jacobian.mT @ jacobian, (jacobian.mT @ residuals[..., None])[..., 0]
        identity = slice(_N_POSE, _N_POSE + self._n_identity)
        hessian[:, identity, identity] += torch.eye(self._n_identity, dtype=x.dtype)
        gradient[:, identity] += standard
        logs, pulls = self._log_components(weights)
        responsibilities = logs.softmax(-1)
        expression = slice(_N_POSE + self._n_identity, None)
        # Half of the bound's Hessian and gradient, as the solver counts squares.
        hessian[:, expression, expression] += torch.einsum("bm,mij->bij", responsibilities, self._precisions) / 2
        gradient[:, expression] += torch.einsum("bm,bmi->bi", responsibilities, pulls) / 2
        return hessian, gradient

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, _N_POSE : _N_POSE + self._n_identity], x[:, _N_POSE + self._n_identity :]

    def _residuals(self, x: Tensor, turned: Float[Tensor, "B 68 2"]) -> Float[Tensor, "B 68 2"]:
        return x[:, :1, None] * turned + x[:, None, 1:3] - self._landmarks

    def _slots(self, standard: Float[Tensor, "B K"]) -> Float[Tensor, "B 52 68 3"]:
        """The landmarks of neutral and of every expression's offset, for an identity."""
        return (with_one(standard) @ self._by_factor).unflatten(1, self._sizes[1:])

    @staticmethod
    def _points(weights: Float[Tensor, "B 52"], slots: Float[Tensor, "B 52 68 3"]) -> Float[Tensor, "B 68 3"]:
        return (weights[:, None] @ slots.flatten(2))[:, 0].unflatten(1, slots.shape[2:])

    def _linearised(self, x: Tensor, standard: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        n_factors, _, n_points, _ = self._sizes
        by_identity = (with_one(weights) @ self._by_slot).unflatten(1, (n_factors, n_points, 3))
        by_weight = self._slots(standard)
        points = self._points(with_one(weights), by_weight)
        rotation = rotation_rows(x[:, 3:6])
        turned, turning = points @ rotation.mT, rotation_derivative(x[:, 3:6], rotation)
        size = x[:, 0, None, None, None]
        shift = torch.eye(2, dtype=x.dtype).expand(len(x), points.shape[1], 2, 2)
        columns = [
            turned[..., None],
            shift,
            torch.einsum("brdc,bnc->bnrd", size * turning, points),
            torch.einsum("brc,bknc->bnrk", size[..., 0] * rotation, by_identity[:, 1:]),
            torch.einsum("brc,bjnc->bnrj", size[..., 0] * rotation, by_weight[:, 1:]),
        ]
        return self._residuals(x, turned).flatten(1), torch.cat(columns, -1).flatten(1, 2)

    def _log_components(self, weights: Tensor) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M 51"]]:
        """log π_k p_k(x), and Λ_k (x − μ_k)."""
        difference = weights[:, None] - self._means
        pulls = (difference.transpose(0, 1) @ self._precisions).transpose(0, 1)
        return self._log_scale - 0.5 * (difference * pulls).sum(-1), pulls


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


def _starts(
    model: LandmarkModel, core: LandmarkCore, landmarks: Float[np.ndarray, "68 2"]
) -> tuple[Float[Tensor, "B P"], float]:
    """The mean face in the landmarks' best affine view, with no expression and with each component's mean; the view's
    scale.
    """
    neutral = np.zeros((1, model.prior.means.shape[1]))
    pose = affine_view(core.values[0, 0].numpy(), landmarks)
    known = np.concatenate([[1.0], pose.translation / pose.scale, pose.rotation, np.zeros(len(model.identity_mean))])
    weights = np.concatenate([neutral, model.prior.means.clip(0, 1)])
    starts = np.concatenate([np.broadcast_to(known, (len(weights), len(known))), weights], 1)
    return torch.from_numpy(starts), pose.scale


def affine_view(points: Float[np.ndarray, "N 3"], landmarks: Float[np.ndarray, "N 2"]) -> Pose:
    """The scaled orthographic view nearest to the least-squares affine one."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1)
    affine = np.linalg.lstsq(homogeneous, landmarks, rcond=None)[0].T
    left, stretch, right = np.linalg.svd(affine[:, :3], full_matrices=False)
    rows = left @ right
    rotation = np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])
    return Pose(float(stretch.mean()), affine[:, 3], Rotation.from_matrix(rotation).as_rotvec())
