"""Which frames of a video a head is made from: sharp, sure, and spread over poses and open and closed mouths."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int

from likeness.methods.open.calibration import Calibration
from likeness.methods.open.priors import DISTANCE_MM
from likeness.methods.open.start import starting_pose
from likeness.tracking.sightings import Sightings

# Blurred frames of a talking head are not rare; the sharper part is enough to choose from.
_SHARP_SHARE = 0.5
_SURE = 0.8
_MOST_YAW = 50.0
# A millimetre of open mouth counts as so many degrees of turned head.
_MOUTH_DEGREES = 1.0
_INNER_LIPS = (13, 14)


def choose_key_frames(stretches: Iterable[Sightings], calibration: Calibration, *, count: int) -> Int[np.ndarray, " K"]:
    """The frame numbers, ascending: the sharpest frontal one, then always the one farthest from all before."""
    frames, features, quality = _describe(stretches, calibration)
    usable = np.flatnonzero(quality >= np.quantile(quality, 1 - _SHARP_SHARE))
    frontal = usable[np.argmin(np.abs(features[usable, :2]).sum(1) - 5 * np.log1p(quality[usable]))]
    chosen = [int(frontal)]
    distance = np.linalg.norm(features - features[frontal], axis=1)
    while len(chosen) < min(count, len(usable)):
        farthest = int(usable[np.argmax(distance[usable])])
        # Frames alike add nothing but the same noise again.
        if distance[farthest] < 1.0 and len(chosen) >= 3:
            break
        chosen.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(features - features[farthest], axis=1))
        distance[farthest] = -1.0
    return np.sort(frames[np.unique(chosen)])


def _describe(
    stretches: Iterable[Sightings], calibration: Calibration
) -> tuple[Int[np.ndarray, " S"], Float[np.ndarray, "S 3"], Float[np.ndarray, " S"]]:
    """Frame numbers; yaw and pitch in degrees and the mouth's opening; sharpness, zero where not to be trusted."""
    frames, features, quality = [], [], []
    for seen in stretches:
        if not len(seen.frame):
            continue
        points = torch.from_numpy(seen.points).clone()
        start = starting_pose(
            calibration.model.mean, points[..., :2], calibration.pose_weights, torch.full((len(points),), DISTANCE_MM)
        )
        ahead = start.rotation[:, :, 2]
        yaw = torch.rad2deg(torch.atan2(ahead[:, 0], -ahead[:, 2]))
        pitch = torch.rad2deg(torch.asin(ahead[:, 1].clamp(-1, 1)))
        lips = points[:, _INNER_LIPS[0], :2] - points[:, _INNER_LIPS[1], :2]
        mouth = _MOUTH_DEGREES * lips.norm(dim=-1) / start.scale
        frames.append(seen.frame)
        features.append(torch.stack([yaw, pitch, mouth], 1).numpy())
        trusted = (seen.score >= _SURE) & (yaw.abs().numpy() <= _MOST_YAW)
        quality.append(np.where(trusted, seen.sharpness, 0.0) * start.scale.numpy())
    return np.concatenate(frames), np.concatenate(features), np.concatenate(quality)
