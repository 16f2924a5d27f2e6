"""One person in n photos: landmarks first, then what else the landmark network and the light on the skin tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.heads import load_head
from likeness.landmarks.base import Landmarks
from likeness.landmarks.face_mesh import inner_features
from likeness.landmarks.sessions import Device
from likeness.methods.open.calibration import Calibration
from likeness.methods.open.fit import LandmarkFit, fit_landmarks, landmark_objective
from likeness.methods.open.identity_regression import (
    identity_mirror,
    mirrored_rotation,
    read_identity_regression,
    regression_inputs,
)
from likeness.methods.open.shading import shaded_identity
from likeness.methods.protocol import Photo

# The regression has seen portraits of the open head only: on heads of another model this share of its word is best.
_TRUST = 0.4
# How far its answers lie from those of landmarks (root mean square, 99 of 100 portraits it has not seen): what lies
# farther is no face that it knows, and counts as lying there.
_FARTHEST = 1.0


@dataclass(frozen=True, eq=False)
class PersonFit:
    """``by_landmarks`` are fits to the landmarks alone, each photo for itself; ``fit`` is the person of all photos: the
    final identity, and pose and expression in each."""

    by_landmarks: list[LandmarkFit]
    fit: LandmarkFit


def fit_person(
    calibration: Calibration,
    photos: Sequence[Photo],
    landmarks: Sequence[Landmarks],
    *,
    device: Device,
    shading: bool = False,
) -> PersonFit:
    """Solve for the person in the photos, each with its landmarks, all of one convention.

    Landmarks of the package's own network also give the network's inner layers a say: the person is then the mean of
    what each photo says by itself, which comes nearer than one fit to all landmarks (measured, 3 photos). Others stand
    for themselves, and are fitted together. With ``shading`` the light on the skin is fitted too.
    """
    # Stacking copies into torch's own, aligned memory: sums over unaligned memory round differently.
    points = torch.stack([torch.from_numpy(found.points) for found in landmarks]).clone()
    sizes = [photo.pixels.shape[:2] for photo in photos]
    focals = [photo.focal for photo in photos]
    alone = [fit_landmarks(calibration, points[i, None], [sizes[i]], [focals[i]]) for i in range(len(photos))]
    if landmarks[0].convention == "mediapipe478":
        if shading:
            identity = shaded_identity(landmark_objective(calibration, points, sizes, focals), photos)
        else:
            identity = torch.stack([fit.identity for fit in alone]).mean(0)
        identity = identity + _mean_step(alone, _regressed(alone, photos, landmarks, device))
        return PersonFit(alone, fit_landmarks(calibration, points, sizes, focals, identity=identity))
    together = alone[0] if len(photos) == 1 else fit_landmarks(calibration, points, sizes, focals)
    return PersonFit(alone, together)


def _mean_step(alone: Sequence[LandmarkFit], regressed: Float[Tensor, "n I"]) -> Float[Tensor, " I"]:
    """From each photo's landmark fit towards the regression's answer; the mean of that over the photos."""
    step = regressed - torch.stack([fit.identity for fit in alone])
    size = step.square().mean(1, keepdim=True).sqrt()
    return (_TRUST * step * (_FARTHEST / size.clamp_min(1e-9)).clamp_max(1.0)).mean(0)


def _regressed(
    alone: Sequence[LandmarkFit], photos: Sequence[Photo], landmarks: Sequence[Landmarks], device: Device
) -> Float[Tensor, "n I"]:
    """The regression's answers, means of those to a photo and to its mirror image: the network is not symmetric."""
    regression, mirror = read_identity_regression(), _mirror()
    identity = torch.stack([fit.identity for fit in alone])
    rotation = torch.cat([fit.camera.rotation for fit in alone])
    here = regression(regression_inputs(identity, rotation, _features(photos, landmarks, False, device)))
    there = regression(
        regression_inputs(identity * mirror, mirrored_rotation(rotation), _features(photos, landmarks, True, device))
    )
    return (here + there * mirror) / 2


def _features(
    photos: Sequence[Photo], landmarks: Sequence[Landmarks], mirrored: bool, device: Device
) -> Float[Tensor, "n D"]:
    rows = [
        inner_features(photo.pixels, [found.points], mirrored=mirrored, device=device)
        for photo, found in zip(photos, landmarks, strict=True)
    ]
    return torch.from_numpy(np.concatenate(rows))


@cache
def _mirror() -> Float[Tensor, " I"]:
    return identity_mirror(load_head("open"))
