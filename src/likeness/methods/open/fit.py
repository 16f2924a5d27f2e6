"""From detected landmarks to camera, identity and expression: one person, any number of photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.cameras import Pinhole
from likeness.devices import one_thread
from likeness.methods.open.calibration import Calibration
from likeness.methods.open.objective import POSE, LandmarkObjective, Observations
from likeness.methods.open.priors import DISTANCE_MM, fit_prior
from likeness.methods.open.start import starting_pose
from likeness.solve import GemanMcClure, levenberg_marquardt

# In units of a landmark's calibrated noise: beyond this it is taken for a mistake of the detector.
_OUTLIER = 4.0
_ITERATIONS = 25
_TOLERANCE = 1e-3
# Precision of an identity that is known: far above what 478 landmarks can say, and well within float32.
_HELD = 1e7


@dataclass(frozen=True, eq=False)
class LandmarkFit:
    """``identity`` (I) of the person; for each of n photos a camera, ``expression`` (n, E) and the root-mean-square
    distance of projected from detected landmarks in pixels and in mm at the face (n)."""

    identity: Float[Tensor, " I"]
    expression: Float[Tensor, "n E"]
    camera: Pinhole
    residual_px: Float[Tensor, " n"]
    residual_mm: Float[Tensor, " n"]
    converged: bool


def fit_landmarks(
    calibration: Calibration,
    points: Float[Tensor, "n L D"],
    sizes: Sequence[tuple[int, int]],
    focals: Sequence[float | None],
    *,
    identity: Float[Tensor, " I"] | None = None,
) -> LandmarkFit:
    """Solve for one person in n photos of (height, width) ``sizes``; ``focals`` in pixels where known.

    ``points`` are pixels (D = 2), or pixels and the detector's relative depth (D = 3). A known ``identity`` is kept.
    """
    objective = landmark_objective(calibration, points, sizes, focals, identity=identity)
    x, converged = solve_landmarks(objective)
    return _read_out(objective, x, converged)


def landmark_objective(
    calibration: Calibration,
    points: Float[Tensor, "n L D"],
    sizes: Sequence[tuple[int, int]],
    focals: Sequence[float | None],
    *,
    identity: Float[Tensor, " I"] | None = None,
) -> LandmarkObjective:
    """The energy that `fit_landmarks` minimises."""
    model = calibration.model
    n, centre = len(points), torch.tensor([[width / 2, height / 2] for height, width in sizes])
    start = starting_pose(model.mean, points[..., :2], calibration.pose_weights, torch.full((n,), DISTANCE_MM))
    certainty, modes = calibration.noise(start)
    if points.shape[-1] == 2:
        points = torch.cat([points, torch.zeros_like(points[..., :1])], -1)
        certainty = certainty * torch.tensor([1.0, 1.0, 0.0])
    seen = Observations(points, certainty, modes, centre)
    prior = fit_prior(
        sizes,
        focals,
        identity_precision=calibration.identity_precision if identity is None else torch.full_like(identity, _HELD),
        identity_mean=calibration.identity_mean if identity is None else identity,
        n_expression=model.n_expression,
        n_modes=seen.modes.shape[-1],
    )
    return LandmarkObjective(model, seen, start, prior, GemanMcClure(_OUTLIER))


def solve_landmarks(objective: LandmarkObjective) -> tuple[Float[Tensor, "1 P"], bool]:
    """All unknowns at the least energy, and whether it was reached."""
    with one_thread():
        solution = levenberg_marquardt(objective, objective.initial(), max_iterations=_ITERATIONS, tolerance=_TOLERANCE)
    return solution.x, bool(solution.converged.all())


def _read_out(objective: LandmarkObjective, x: Float[Tensor, "1 P"], converged: bool) -> LandmarkFit:
    identity, private = objective.split(x)
    rotation, position, scale, distance = objective.camera(private)
    pixels = objective.project(identity, private)
    error = (pixels - objective.seen.points)[..., :2].square().sum(-1).mean(-1).sqrt()
    centre = objective.seen.centre
    shift = (position - centre) / scale[:, None]
    camera = Pinhole.from_focal(
        rotation=rotation,
        translation=torch.cat([shift, distance[:, None]], -1),
        focal=scale * distance,
        centre=centre,
    )
    expression = private[:, POSE : POSE + objective.model.n_expression]
    return LandmarkFit(identity, expression, camera, error, error / scale, converged)
