"""A person whose head is known, in the next frame of a video: pose, expression and gaze from its landmarks.

The landmark energy of `likeness.methods.open.objective` with identity, focal length and the person's own landmarks held
fast: 6 numbers of pose, the expression weights and the detector's error modes are left. Three things are added for
moving faces. The landmarks count less than the calibrated noise says, since what the modes leave of neighbouring
landmarks' errors is not independent either. Distances between landmarks of one feature (brow above eye, lip above lip)
count by themselves, since their common errors cancel. And how far an eye is open is measured against how far this
person's eyes usually are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.devices import one_thread
from likeness.landmarks.conventions import LEFT_IRIS, MIRROR, RIGHT_IRIS
from likeness.methods.open.calibration import Calibration
from likeness.methods.open.expression_prior import expression_precision
from likeness.methods.open.objective import Start
from likeness.methods.open.priors import DISTANCE_MM
from likeness.methods.open.start import starting_pose
from likeness.rotations import cross_matrix
from likeness.solve import GemanMcClure, Huber, levenberg_marquardt

POSE = 6
"""Rotation 3, position 2, log scale 1; the distance follows from scale and focal length."""

# The landmarks' own noise and their modes, over the calibrated ones: chosen so that weights of still faces stay still.
_TEMPER, _MODE_TEMPER = 1.5, 1.5
_OUTLIER = 2.5
# The weights' mean lies below zero, so that the bound holds what is not needed.
_PULL = 0.1
# Eyeballs turn farther than the head's eyeLook shapes at weight 1 (9 to 14 degrees).
GAZE_LIMIT = 2.2

_MIRROR = MIRROR["mediapipe478"]
_LIDS = ((159, 145), (158, 153), (160, 144))
_LIPS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318))
_BROW_OVER_CORNER = (
    *((55, 133), (107, 133), (65, 133), (66, 133), (52, 33)),
    *((105, 33), (53, 33), (63, 33), (46, 33), (70, 33)),
)
_BROW_NOISE, _PAIR_OUTLIER = 2.0, 4.0
# Of the lips' distance in mm: closed lips are seen best, and a mouth that does not close is noticed at once.
_LIP_NOISE, _LIP_NOISE_BY_GAP = 0.3, 0.05
# A closed eye's lids are detected so far apart, over the open eye's: measured on renders and videos (0.17 to 0.45).
_CLOSED_APERTURE = 0.33
# Of turned faces one eye is often detected as shut when the other is not: how the eyes differ is told the worse, by
# the sine of the yaw, the more the head is turned.
_APERTURE_NOISE, _DIFFERENCE_NOISE_BY_TURN = 0.05, 0.4
_BOTH_AND_DIFFERENCE = torch.tensor([[0.5, 0.5], [0.5, -0.5]])
_ITERATIONS, _TOLERANCE = 12, 1e-3


@dataclass(frozen=True, eq=False)
class FrameFit:
    """One frame: head frame to camera frame (OpenCV axes, mm), weights (eyeLook… up to `GAZE_LIMIT`), and the
    root-mean-square distance of projected from detected landmarks in mm at the face."""

    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, " 3"]
    weights: Float[Tensor, " E"]
    residual_mm: float


class PersonModel:
    """What is known of a person before a frame is seen.

    ``identity`` (I,) and ``offsets`` (L, 3) mm at the landmarks (None for none) give the neutral landmarks; ``focal``
    in pixels and ``image_size`` (height, width) the camera. ``open_eyes`` (2,) is how far left and right eye are
    open at rest, over the model's; `measure_open_eyes` finds it.
    """

    def __init__(
        self,
        calibration: Calibration,
        names: tuple[str, ...],
        identity: Float[Tensor, " I"],
        *,
        focal: float,
        image_size: tuple[int, int],
        offsets: Float[Tensor, "L 3"] | None = None,
        open_eyes: Float[Tensor, " 2"] | None = None,
    ) -> None:
        model = calibration.model
        self.calibration, self.names, self.focal = calibration, names, focal
        self.neutral = model.points(torch.cat([identity, identity.new_zeros(model.n_expression)])[None])[0]
        if offsets is not None:
            self.neutral = self.neutral + offsets
        self.shapes = model.basis[:, model.n_identity :].reshape(len(self.neutral), 3, -1).contiguous()
        self.centre = torch.tensor([image_size[1] / 2, image_size[0] / 2])
        self.precision = expression_precision(names)
        self.open_eyes = torch.ones(2) if open_eyes is None else open_eyes
        # Relative aperture of each eye as 1 + gradient · weights: exact, as both are linear in the weights.
        upper, lower = _lids()
        gap = (self.neutral[upper] - self.neutral[lower])[..., 1].mean(1)
        by_shape = (self.shapes[upper] - self.shapes[lower])[..., 1, :].mean(1)
        self.aperture_gradient = by_shape / gap.clamp_min(1.0)[:, None]
        limit = [GAZE_LIMIT if name.startswith("eyeLook") else 1.0 for name in names]
        self.upper = torch.tensor(limit)

    def start(self, points: Float[Tensor, "L 3"]) -> Start:
        """A first pose of the neutral head."""
        distance = torch.tensor([DISTANCE_MM])
        return starting_pose(self.neutral, points[None, :, :2], self.calibration.pose_weights, distance)

    def apertures(self, points: Float[Tensor, "L 3"], start: Start) -> Float[Tensor, " 2"]:
        """How far the left and the right eye are open in the picture, over the model's eyes in this pose."""
        upper, lower = _lids()
        down = torch.nn.functional.normalize(-start.rotation[0, :2, 1], dim=0)
        seen = ((points[lower, :2] - points[upper, :2]) @ down).mean(1) / start.scale[0]
        turned = (self.neutral[lower] - self.neutral[upper]) @ start.rotation[0, :2].T
        return seen / (turned @ down).mean(1).clamp_min(1.0)


def measure_open_eyes(person: PersonModel, frames: list[Float[Tensor, "L 3"]]) -> Float[Tensor, " 2"]:
    """How far this person's eyes are open at rest: what they reach in a quarter of the frames."""
    found = torch.stack([person.apertures(points, person.start(points)) for points in frames])
    # One frame may show a blink, and a half-closed eye is not at rest; eyes of all people are open somehow.
    return found.quantile(0.75, dim=0).clamp(0.4, 2.5)


class FrameSolver:
    """Follows a person through the frames of a video, each starting from the one before."""

    def __init__(self, person: PersonModel) -> None:
        self.person = person
        self._last: Tensor | None = None

    def reset(self) -> None:
        """Forget the frame before: the face was lost."""
        self._last = None

    def solve(self, points: Float[np.ndarray, "478 3"]) -> FrameFit:
        """The person in this frame, from MediaPipe's landmarks (pixels, and relative depth in pixels)."""
        # Copies lie in torch's aligned memory: sums over unaligned memory round differently.
        seen = torch.from_numpy(np.ascontiguousarray(points, np.float32)).clone()
        with one_thread():
            objective = FrameObjective(self.person, seen)
            initial = torch.zeros(1, objective.n)
            if self._last is not None:
                initial[0, POSE:] = self._last[POSE:]
            solution = levenberg_marquardt(objective, initial, max_iterations=_ITERATIONS, tolerance=_TOLERANCE)
        self._last = solution.x[0]
        return objective.read_out(solution.x[0])


@dataclass(eq=False)
class FrameObjective:
    """The energy of one frame as an `Objective` for the solver: unknowns are pose, weights and error modes."""

    person: PersonModel
    points: Float[Tensor, "L 3"]
    lower: Tensor = field(init=False)
    upper: Tensor = field(init=False)

    def __post_init__(self) -> None:
        person = self.person
        self._start = person.start(self.points)
        self._rotation, self._scale = self._start.rotation[0], self._start.scale[0]
        certainty, modes = person.calibration.noise(self._start)
        self._modes = modes[0] * _MODE_TEMPER
        self._aperture = self._seen_apertures()
        turn = self._rotation[0, 2].abs()
        noise = _APERTURE_NOISE + torch.stack([torch.zeros_like(turn), _DIFFERENCE_NOISE_BY_TURN * turn])
        self._aperture_weights = _BOTH_AND_DIFFERENCE / noise[:, None]
        self._certainty = certainty[0] / _TEMPER * self._trust()[:, None]
        self._n_shapes, n_modes = len(person.names), self._modes.shape[-1]
        self.n = POSE + self._n_shapes + n_modes
        wide = torch.full((POSE,), 1e3)
        self.upper = torch.cat([wide, person.upper, torch.full((n_modes,), 6.0)])
        self.lower = torch.cat([-wide, torch.zeros(self._n_shapes), torch.full((n_modes,), -6.0)])
        self._down = torch.nn.functional.normalize(-self._rotation[:2, 1], dim=0)
        self._pair_rest, self._pair_noise = self._seen_pairs()
        self._robust, self._pair_robust = GemanMcClure(_OUTLIER), Huber(_PAIR_OUTLIER)
        self._cached: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def value(self, x: Float[Tensor, "1 P"]) -> Float[Tensor, " 1"]:
        residuals, pairs, apertures, *_ = self._parts(x[0])
        weights, modes = self._pulled(x[0])
        total = self._robust.loss(residuals.square().sum(-1)).sum() + self._pair_robust.loss(pairs.square()).sum()
        total = total + apertures.square().sum() + modes.square().sum() + weights @ self.person.precision @ weights
        return total[None]

    def normal_equations(self, x: Float[Tensor, "1 P"]) -> tuple[Float[Tensor, "1 P P"], Float[Tensor, "1 P"]]:
        residuals, pairs, apertures, *geometry = self._parts(x[0])
        by_pose_and_shape = self._by_pose_and_shape(*geometry)
        jacobian = torch.cat([by_pose_and_shape, self._modes], -1) * self._certainty[..., None]
        root = self._robust.weight(residuals.square().sum(-1)).sqrt()[:, None]
        jacobian = (jacobian * root[..., None]).flatten(0, 1)
        hessian, gradient = jacobian.T @ jacobian, jacobian.T @ (residuals * root).flatten()
        self._add_pairs(hessian, gradient, by_pose_and_shape, pairs)
        self._add_apertures(hessian, gradient, apertures)
        weights, modes = self._pulled(x[0])
        shapes, rest = slice(POSE, POSE + self._n_shapes), slice(POSE + self._n_shapes, None)
        hessian[shapes, shapes] += self.person.precision
        gradient[shapes] += self.person.precision @ weights
        hessian.diagonal()[rest] += 1
        gradient[rest] += modes
        return hessian[None], gradient[None]

    def read_out(self, x: Float[Tensor, " P"]) -> FrameFit:
        """The solution as a camera and weights."""
        turn, position, scale, distance = self._camera(x)
        error = (self._parts(x)[-1] - self.points)[:, :2]
        shift = (position - self.person.centre) / scale
        return FrameFit(
            turn @ self._rotation,
            torch.cat([shift, distance[None]]),
            x[POSE : POSE + self._n_shapes].clone(),
            float(error.square().sum(-1).mean().sqrt() / scale),
        )

    # ------------------------------------------------------------------ what is seen

    def _seen_apertures(self) -> Float[Tensor, " 2"]:
        """Relative apertures as the model has them: 1 open at rest, 0 closed."""
        seen = self.person.apertures(self.points, self._start) / self.person.open_eyes
        return ((seen - _CLOSED_APERTURE) / (1 - _CLOSED_APERTURE)).clamp(0.0, 1.5)

    def _seen_pairs(self) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """What the model's pairs are apart where the detector's are not at all, and the noise of each, mm.

        Landmarks of closed lips lie on the lips' edges, a millimetre apart on the model; the detector sees one line.
        """
        first, second = _pairs()
        is_lip = torch.arange(len(first)) < len(_LIPS)
        rest = (self.person.neutral[first] - self.person.neutral[second]) @ self._rotation[:2].T @ self._down
        seen = ((self.points[first] - self.points[second])[:, :2] @ self._down / self._scale).abs()
        noise = torch.where(is_lip, _LIP_NOISE + _LIP_NOISE_BY_GAP * seen, torch.full_like(seen, _BROW_NOISE))
        return torch.where(is_lip, rest, torch.zeros_like(rest)), noise

    def _trust(self) -> Float[Tensor, " L"]:
        """1, but less for irises behind closing lids, whose place the detector makes up."""
        trust = torch.ones(len(self.points))
        for iris, aperture in zip((LEFT_IRIS, RIGHT_IRIS), self._aperture, strict=True):
            trust[list(iris)] = aperture.clamp(0.05, 1.0)
        return trust

    def _camera(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        turn = roma.rotvec_to_rotmat(x[:3])
        position = self._start.position[0] + 100.0 * self._scale * x[3:5]
        scale = self._scale * x[5].exp()
        return turn, position, scale, self.person.focal / scale

    def _pulled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and modes as deviations from their means."""
        return x[POSE : POSE + self._n_shapes] + _PULL, x[POSE + self._n_shapes :]

    # ------------------------------------------------------------------ residuals and derivatives

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Residuals of landmarks (L, 3), pairs (N) and apertures (2), then the geometry behind them."""
        if self._cached is not None and torch.equal(self._cached[0], x):
            return self._cached[1]
        turn, position, scale, distance = self._camera(x)
        weights, modes = x[POSE : POSE + self._n_shapes], x[POSE + self._n_shapes :]
        rotation = turn @ self._rotation
        turned = (self.person.neutral + self.person.shapes @ weights) @ rotation.T
        ratio = 1 + turned[:, 2:] / distance
        offset = position - self.person.centre
        numerator = scale * turned[:, :2] + offset
        seen = torch.cat([self.person.centre + numerator / ratio, scale * turned[:, 2:]], 1)
        difference = (seen - self.points) / self._scale
        residuals = self._certainty * (difference + self._modes @ modes)
        first, second = _pairs()
        pairs = (difference[first] - difference[second])[:, :2] @ self._down
        pairs = (pairs - self._pair_rest) / self._pair_noise
        apertures = self._aperture_weights @ (1 + self.person.aperture_gradient @ weights - self._aperture)
        parts = residuals, pairs, apertures, x, rotation, scale, distance, turned, ratio, numerator, seen
        self._cached = x.clone(), parts
        return parts

    def _by_pose_and_shape(self, x, rotation, scale, distance, turned, ratio, numerator, _seen) -> Tensor:
        """Derivatives (L, 3, 6 + E) of what is seen, in units of the starting scale."""
        growth = scale / self._scale
        by_ratio = -numerator / ratio.square() / self._scale
        by_turned = turned.new_zeros(len(turned), 3, 3)
        by_turned[:, 0, 0] = by_turned[:, 1, 1] = growth / ratio[:, 0]
        by_turned[:, 2, 2] = growth
        by_turned[:, :2, 2] = by_ratio / distance
        # exp(v + e) ~ exp((1 + [v]x / 2) e) exp(v): the turn on top of the starting rotation is small.
        left = torch.eye(3) + 0.5 * cross_matrix(x[:3])
        derivatives = turned.new_zeros(len(turned), 3, POSE + self._n_shapes)
        derivatives[..., :3] = -by_turned @ cross_matrix(turned) @ left
        derivatives[:, 0, 3] = derivatives[:, 1, 4] = 100.0 / ratio[:, 0]
        # As the scale grows, the camera comes nearer: the focal length stays.
        derivatives[:, :2, 5] = turned[:, :2] * growth / ratio + by_ratio * turned[:, 2:] / distance
        derivatives[:, 2, 5] = turned[:, 2] * growth
        derivatives[..., POSE:] = (by_turned @ rotation) @ self.person.shapes
        return derivatives

    def _add_pairs(self, hessian: Tensor, gradient: Tensor, derivatives: Tensor, pairs: Tensor) -> None:
        first, second = _pairs()
        jacobian = torch.einsum("ncp,c->np", (derivatives[first] - derivatives[second])[:, :2], self._down)
        root = self._pair_robust.weight(pairs.square()).sqrt()
        jacobian = jacobian * (root / self._pair_noise)[:, None]
        known = POSE + self._n_shapes
        hessian[:known, :known] += jacobian.T @ jacobian
        gradient[:known] += jacobian.T @ (pairs * root)

    def _add_apertures(self, hessian: Tensor, gradient: Tensor, apertures: Tensor) -> None:
        shapes = slice(POSE, POSE + self._n_shapes)
        jacobian = self._aperture_weights @ self.person.aperture_gradient
        hessian[shapes, shapes] += jacobian.T @ jacobian
        gradient[shapes] += jacobian.T @ apertures


def _both_sides(pairs) -> list[tuple[int, int]]:
    return [*pairs, *((int(_MIRROR[a]), int(_MIRROR[b])) for a, b in pairs)]


_UPPER_AND_LOWER = torch.tensor(_both_sides(_LIDS)).T.reshape(2, 2, -1).flip(1)
_PAIRS = torch.tensor([*_LIPS, *_both_sides(_BROW_OVER_CORNER)]).T


def _lids() -> tuple[Int[Tensor, "2 n"], Int[Tensor, "2 n"]]:
    """Upper and lower lid's landmarks of the left and the right eye."""
    return _UPPER_AND_LOWER[0], _UPPER_AND_LOWER[1]


def _pairs() -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """Landmarks whose distance along the face's vertical counts by itself: the lips', then the brows' over the eyes."""
    return _PAIRS[0], _PAIRS[1]
