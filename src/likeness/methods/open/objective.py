"""The landmark energy of one person in n photos, with its derivatives written out.

Unknowns, in this order: the identity z (I), shared; then for each photo a pose (rotation vector on top of a starting
rotation, image position of the head's origin in units of the face, log scale), the log distance of the camera, the
expression weights w (E), and b (M), how much each of the detector's known error modes shows in this photo.

A landmark at head-frame position p = mean + basis (z, w) is seen at

    X = R p,    pixel = c + (s X_xy + o - c) / (1 + X_z / d),

with c the principal point, o the image of the head's origin, s the scale there (pixels a millimetre) and d the
distance; the focal length is s d. As d grows this becomes the weak-perspective camera without trouble. The detector
reports the pixel and a relative depth s X_z, plus s times its error modes, turned with the head's roll.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.methods.open.landmark_model import LandmarkModel
from likeness.rotations import cross_matrix
from likeness.solve import Robust

POSE = 7
"""Rotation 3, position 2, log scale 1, log distance 1."""


@dataclass(frozen=True, eq=False)
class Observations:
    """What was seen in n photos, and how sure each number is. Pixels are of the original photos.

    ``points`` are x, y and the detector's relative depth, growing away from the camera, all in pixels.
    ``certainty`` (n, L, 3) is one over each standard deviation, 1 / mm at the face; zero where nothing was seen.
    ``modes`` (n, L, 3, M) are the detector's error modes, mm at the face in the photo's axes.
    """

    points: Float[Tensor, "n L 3"]
    certainty: Float[Tensor, "n L 3"]
    modes: Float[Tensor, "n L 3 M"]
    centre: Float[Tensor, "n 2"]


@dataclass(frozen=True, eq=False)
class Start:
    """Where the search begins: rotation, position of the origin (px), scale (px/mm), distance (mm)."""

    rotation: Float[Tensor, "n 3 3"]
    position: Float[Tensor, "n 2"]
    scale: Float[Tensor, " n"]
    distance: Float[Tensor, " n"]


@dataclass(frozen=True, eq=False)
class Prior:
    """Independent Gaussians: precision and mean of identity (I), of the log distance and log focal length of each photo
    (n), of the expression weights (E), and the precision of the error modes (M)."""

    identity_precision: Float[Tensor, " I"]
    identity_mean: Float[Tensor, " I"]
    log_distance: Float[Tensor, " n"]
    log_distance_precision: Float[Tensor, " n"]
    log_focal: Float[Tensor, " n"]
    log_focal_precision: Float[Tensor, " n"]
    expression_precision: Float[Tensor, " E"]
    expression_mean: Float[Tensor, " E"]
    mode_precision: Float[Tensor, " M"]


@dataclass(frozen=True, eq=False)
class LandmarkObjective:
    """An `Objective` for the solver; its batch is always one person."""

    model: LandmarkModel
    seen: Observations
    start: Start
    prior: Prior
    robust: Robust
    lower: Float[Tensor, " P"] = field(init=False)
    upper: Float[Tensor, " P"] = field(init=False)

    def __post_init__(self) -> None:
        free_identity = torch.full((self.model.n_identity,), 6.0)
        wide_pose = torch.full((POSE,), 1e3)
        n_modes = self.seen.modes.shape[-1]
        n_expression = len(self.prior.expression_mean)
        upper = torch.cat([wide_pose, torch.ones(n_expression), torch.full((n_modes,), 6.0)])
        lower = torch.cat([-wide_pose, torch.zeros(n_expression), torch.full((n_modes,), -6.0)])
        object.__setattr__(self, "upper", torch.cat([free_identity, upper.repeat(self.n_photos)]))
        object.__setattr__(self, "lower", torch.cat([-free_identity, lower.repeat(self.n_photos)]))

    @property
    def n_photos(self) -> int:
        return len(self.seen.points)

    @property
    def n_private(self) -> int:
        """Unknowns of one photo alone."""
        return POSE + len(self.prior.expression_mean) + self.seen.modes.shape[-1]

    def initial(self) -> Float[Tensor, "1 P"]:
        """The vector that stands for `start`: average person, no expression, no detector error."""
        private = torch.zeros(self.n_photos, self.n_private)
        private[:, 6] = self.start.distance.log()
        return torch.cat([self.prior.identity_mean, private.flatten()])[None]

    def split(self, x: Float[Tensor, "1 P"]) -> tuple[Float[Tensor, " I"], Float[Tensor, "n S"]]:
        """Identity, and one row of private unknowns a photo."""
        return x[0, : self.model.n_identity], x[0, self.model.n_identity :].reshape(self.n_photos, self.n_private)

    def camera(self, private: Float[Tensor, "n S"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rotation (n, 3, 3), position of the origin (n, 2) px, scale (n) px/mm and distance (n) mm."""
        turn, _ = _exponential(private[:, :3])
        position = self.start.position + private[:, 3:5] * 100.0 * self.start.scale[:, None]
        return turn @ self.start.rotation, position, self.start.scale * private[:, 5].exp(), private[:, 6].exp()

    def project(self, identity: Float[Tensor, " I"], private: Float[Tensor, "n S"]) -> Float[Tensor, "n L 3"]:
        """Where the model's landmarks are seen: x, y and relative depth, pixels."""
        return self._project(identity, private)[-1]

    # ------------------------------------------------------------------ for the solver

    def value(self, x: Float[Tensor, "1 P"]) -> Float[Tensor, " 1"]:
        identity, private = self.split(x)
        residuals = self._residuals(identity, private)[0]
        data = self.robust.loss(residuals.square().sum(-1)).sum()
        deviation, precision = self._prior_terms(identity, private)
        return (data + (precision * deviation.square()).sum() + self._focal_value(private))[None]

    def normal_equations(self, x: Float[Tensor, "1 P"]) -> tuple[Float[Tensor, "1 P P"], Float[Tensor, "1 P"]]:
        identity, private = self.split(x)
        residuals, jacobian = self._linearise(identity, private)
        weight = self.robust.weight(residuals.square().sum(-1)).sqrt()[..., None]
        residuals = (residuals * weight).flatten(1)
        jacobian = (jacobian * weight[..., None]).flatten(1, 2)
        blocks = jacobian.mT @ jacobian
        gradients = (jacobian.mT @ residuals[..., None])[..., 0]
        hessian, gradient = self._assemble(blocks, gradients)
        deviation, precision = self._prior_terms(identity, private)
        hessian.diagonal().add_(precision)
        gradient += precision * deviation
        self._add_focal(hessian, gradient, private)
        return hessian[None], gradient[None]

    def _assemble(self, blocks: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Per-photo systems over (identity, private) into one: identity is shared, the rest is block-diagonal."""
        shared, private, n = self.model.n_identity, self.n_private, self.n_photos
        hessian = blocks.new_zeros(shared + n * private, shared + n * private)
        hessian[:shared, :shared] = blocks[:, :shared, :shared].sum(0)
        for i in range(n):
            own = slice(shared + i * private, shared + (i + 1) * private)
            hessian[own, own] = blocks[i, shared:, shared:]
            hessian[:shared, own] = blocks[i, :shared, shared:]
            hessian[own, :shared] = blocks[i, shared:, :shared]
        gradient = torch.cat([gradients[:, :shared].sum(0), gradients[:, shared:].flatten()])
        return hessian, gradient

    # ------------------------------------------------------------------ the terms

    def _project(self, identity: Tensor, private: Tensor) -> tuple[Tensor, ...]:
        rotation, position, scale, distance = self.camera(private)
        n_expression = len(self.prior.expression_mean)
        expression = private[:, POSE : POSE + n_expression]
        points = self.model.points(torch.cat([identity.expand(self.n_photos, -1), expression], -1))
        turned = points @ rotation.mT
        offset = (position - self.seen.centre)[:, None]
        numerator = scale[:, None, None] * turned[..., :2] + offset
        ratio = 1 + turned[..., 2:] / distance[:, None, None]
        pixels = self.seen.centre[:, None] + numerator / ratio
        seen = torch.cat([pixels, scale[:, None, None] * turned[..., 2:]], -1)
        return rotation, scale, distance, turned, numerator, ratio, seen

    def _error(self, private: Tensor) -> Tensor:
        """The detector's known kind of error in this photo, pixels."""
        modes = private[:, POSE + len(self.prior.expression_mean) :]
        return torch.einsum("nlcm,nm->nlc", self.seen.modes, modes) * self.start.scale[:, None, None]

    def _residuals(self, identity: Tensor, private: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        parts = self._project(identity, private)
        difference = (parts[-1] + self._error(private) - self.seen.points) / self.start.scale[:, None, None]
        return self.seen.certainty * difference, parts

    def _linearise(self, identity: Tensor, private: Tensor) -> tuple[Tensor, Tensor]:
        residuals, (rotation, scale, distance, turned, numerator, ratio, _) = self._residuals(identity, private)
        n, n_landmarks = turned.shape[:2]
        start_scale = self.start.scale[:, None, None]
        zero = torch.zeros_like(ratio)
        # Derivatives of what is seen, in units of the starting scale. By X = R p: (n, L, 3, 3)
        by_turned = turned.new_zeros(n, n_landmarks, 3, 3)
        growth = scale[:, None] / self.start.scale[:, None]
        by_turned[..., 0, 0] = growth / ratio[..., 0]
        by_turned[..., 1, 1] = growth / ratio[..., 0]
        by_turned[..., 2, 2] = growth
        # d ratio / d X_z = 1 / distance
        by_ratio = -numerator / ratio.square() / start_scale
        by_turned[..., :2, 2] = by_ratio / distance[:, None, None]
        by_position = torch.cat([100.0 / ratio[..., None] * torch.eye(2), zero[..., None].expand(-1, -1, 1, 2)], -2)
        by_log_scale = torch.cat([turned[..., :2] / ratio, turned[..., 2:]], -1) * growth[..., None]
        by_log_distance = torch.cat([-by_ratio * turned[..., 2:] / distance[:, None, None], zero], -1)
        by_rotation = by_turned @ -cross_matrix(turned) @ _exponential(private[:, :3])[1][:, None]
        by_pose = torch.cat([by_rotation, by_position, by_log_scale[..., None], by_log_distance[..., None]], -1)
        by_coefficients = (by_turned @ rotation[:, None]) @ self.model.basis.reshape(n_landmarks, 3, -1)
        by_identity, by_expression = by_coefficients.split([self.model.n_identity, self.model.n_expression], -1)
        jacobian = torch.cat([by_identity, by_pose, by_expression, self.seen.modes], -1)
        return residuals, self.seen.certainty[..., None] * jacobian

    def _prior_terms(self, identity: Tensor, private: Tensor) -> tuple[Tensor, Tensor]:
        prior, n = self.prior, self.n_photos
        mean = torch.zeros_like(private)
        mean[:, 6] = prior.log_distance
        mean[:, POSE : POSE + len(prior.expression_mean)] = prior.expression_mean
        precision = torch.zeros_like(private)
        precision[:, 6] = prior.log_distance_precision
        precision[:, POSE:] = torch.cat([prior.expression_precision, prior.mode_precision]).expand(n, -1)
        deviation = torch.cat([identity - prior.identity_mean, (private - mean).flatten()])
        return deviation, torch.cat([prior.identity_precision, precision.flatten()])

    def _log_focal_error(self, private: Tensor) -> Tensor:
        return self.start.scale.log() + private[:, 5] + private[:, 6] - self.prior.log_focal

    def _focal_value(self, private: Tensor) -> Tensor:
        return (self.prior.log_focal_precision * self._log_focal_error(private).square()).sum()

    def _add_focal(self, hessian: Tensor, gradient: Tensor, private: Tensor) -> None:
        """log focal = log scale + log distance: one rank-one term a photo."""
        pull = self.prior.log_focal_precision * self._log_focal_error(private)
        for i in range(self.n_photos):
            at = self.model.n_identity + i * self.n_private + 5
            hessian[at : at + 2, at : at + 2] += self.prior.log_focal_precision[i]
            gradient[at : at + 2] += pull[i]


def _exponential(rotvec: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3 3"]]:
    """The rotation exp([v]x), and the matrix J with exp([v + e]x) ~ exp([J e]x) exp([v]x) for small e.

    Both are blocks of one matrix exponential (Van Loan 1978): exp [[A, 1], [0, 0]] = [[exp A, J], [0, 1]].
    """
    block = rotvec.new_zeros(len(rotvec), 6, 6)
    block[:, :3, :3] = cross_matrix(rotvec)
    block[:, :3, 3:] = torch.eye(3)
    exponential = torch.linalg.matrix_exp(block)
    return exponential[:, :3, :3], exponential[:, :3, 3:]
