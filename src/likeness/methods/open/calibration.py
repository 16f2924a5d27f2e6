"""What is known about the landmark detector on the open head: how far landmarks stray, each alone and all together.

Made by ``tools/calibrate_landmarks.py`` from renders of known heads. Errors of neighbouring landmarks are far from
independent, and they change as the head turns away; a fit that takes them for 478 independent measurements believes in
its own mistakes. So the noise is kept at several yaws, each as a mean error, the directions of the largest common
errors (*modes*) and what remains of each landmark by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

from likeness.heads.protocol import Head
from likeness.landmarks.conventions import MIRROR, Convention
from likeness.methods.open.landmark_model import LandmarkModel, landmark_model
from likeness.methods.open.objective import Start

FILE = "landmark_noise.safetensors"

# No landmark is taken for surer than this, mm: renders are not photographs.
_SMALLEST_DEVIATION = 0.7
# Neighbours' errors are not independent beside the modes either: each counts as this much less sure.
_DEPENDENCE = 1.7
# The detector's depth has a zero of its own: one more mode, wide enough to mean "anything", mm.
_DEPTH_ZERO = 30.0


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """Detection errors at N yaws >= 0 (degrees, ascending, the head turned to its left), mm at the face.

    Axes are (right, down, away) of the upright head. ``mean`` (N, L, 3); ``modes`` (N, M, L, 3) at one standard
    deviation; ``deviation`` (N, L, 3) of what is left. ``mirror`` (L) is the landmark across the face.
    """

    yaws: Float[Tensor, " N"]
    mean: Float[Tensor, "N L 3"]
    modes: Float[Tensor, "N M L 3"]
    deviation: Float[Tensor, "N L 3"]
    mirror: Int[Tensor, " L"]

    def at(self, yaw: float) -> tuple[Float[Tensor, "L 3"], Float[Tensor, "M2 L 3"]]:
        """Deviations and modes for a yaw in degrees: the covariances of the two nearest yaws of the table, mixed.

        The mean error is one more mode, as renders only hint at it.
        """
        last = len(self.yaws) - 1
        size = min(abs(yaw), float(self.yaws[-1]))
        upper = int(torch.searchsorted(self.yaws, size, right=True).clamp(1, last))
        share = (size - float(self.yaws[upper - 1])) / float(self.yaws[upper] - self.yaws[upper - 1])
        weights = torch.tensor([1 - share, share])
        pair = slice(upper - 1, upper + 1)
        deviation = (weights[:, None, None] * self.deviation[pair].square()).sum(0).sqrt()
        modes = (weights.sqrt()[:, None, None, None] * self.modes[pair]).flatten(0, 1)
        mean = (weights[:, None, None] * self.mean[pair]).sum(0, keepdim=True)
        zero = torch.zeros_like(mean)
        zero[..., 2] = _DEPTH_ZERO
        modes = torch.cat([modes, mean, zero])
        if yaw < 0:
            deviation = deviation[self.mirror]
            modes = modes[:, self.mirror] * torch.tensor([-1.0, 1.0, 1.0])
        return deviation.clamp_min(_SMALLEST_DEVIATION), modes


@dataclass(frozen=True, eq=False)
class Calibration:
    """The landmark model of a head, the noise of a detector, and the prior of people (unit Gaussian in identity)."""

    model: LandmarkModel
    table: NoiseTable

    @cached_property
    def identity_mean(self) -> Float[Tensor, " I"]:
        return torch.zeros(self.model.n_identity)

    @cached_property
    def identity_precision(self) -> Float[Tensor, " I"]:
        return torch.ones(self.model.n_identity)

    @cached_property
    def pose_weights(self) -> Float[Tensor, " L"]:
        """Trust in each landmark for the first pose: the sure ones count."""
        return 1 / self.table.deviation[0].square().mean(-1).sqrt()

    def noise(self, start: Start) -> tuple[Float[Tensor, "n L 3"], Float[Tensor, "n L 3 M"]]:
        """Certainty (1 / mm) and modes (mm) of each photo's landmarks, in the photo's axes."""
        rotation = start.rotation
        # The head's +z seen from above: to the camera's right when it turns to its left.
        yaws = torch.rad2deg(torch.atan2(rotation[:, 0, 2], -rotation[:, 2, 2]))
        deviations, modes = zip(*(self.table.at(yaw) for yaw in yaws.tolist()), strict=True)
        turned = torch.einsum("nij,nmlj->nlim", _roll(rotation), torch.stack(modes))
        return 1 / (_DEPENDENCE * torch.stack(deviations)), turned


def _roll(rotation: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
    """The in-plane turn from an upright picture's axes to those of this one, by where the head's down points."""
    down = torch.nn.functional.normalize(-rotation[:, :2, 1], dim=-1)
    roll = torch.zeros_like(rotation)
    roll[:, 0, 0], roll[:, 0, 1] = down[:, 1], down[:, 0]
    roll[:, 1, 0], roll[:, 1, 1] = -down[:, 0], down[:, 1]
    roll[:, 2, 2] = 1
    return roll


def calibrate(head: Head, convention: Convention) -> Calibration:
    """The calibration of the open head for ``mediapipe478``; for other conventions, independent noise of plain size."""
    model = landmark_model(head, head.embeddings[convention])
    mirror = torch.from_numpy(MIRROR[convention].astype("int64"))
    calibrated = convention == "mediapipe478"
    return Calibration(model, _read_table(mirror) if calibrated else _plain_table(len(model.mean), mirror))


# Landmarks given by hand or by an uncalibrated detector: this many mm, and no depth.
_PLAIN_DEVIATION = 4.0


def _plain_table(n_landmarks: int, mirror: Tensor) -> NoiseTable:
    shape = (2, n_landmarks, 3)
    deviation = torch.full(shape, _PLAIN_DEVIATION)
    return NoiseTable(torch.tensor([0.0, 90.0]), torch.zeros(shape), torch.zeros(2, 0, *shape[1:]), deviation, mirror)


def _read_table(mirror: Tensor) -> NoiseTable:
    with as_file(files("likeness.methods.open") / FILE) as path, safe_open(path, framework="pt") as file:
        yaws, mean, modes, deviation = (
            file.get_tensor(name).float().clone() for name in ("yaws", "mean", "modes", "deviation")
        )
    return NoiseTable(yaws, mean, modes, deviation, mirror)
