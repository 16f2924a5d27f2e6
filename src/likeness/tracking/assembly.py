"""From solved frames to motion: held where no face was seen, calibrated to the person's rest, smoothed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from likeness.animate.closing import closing_weights, to_closing
from likeness.animate.filters import smooth
from likeness.animate.lids import even_lids
from likeness.animate.posing import eye_turns, whole_turns
from likeness.motion import Motion
from likeness.rig import Rig

# Camera frame (OpenCV) to the camera's upright frame of `Motion`.
_UPRIGHT = np.diag([1.0, -1.0, -1.0])
# A residual at the face (mm, root mean square) at which confidence has fallen to about a third, as for photos.
_DOUBTFUL_RESIDUAL_MM = 5.0
# What a weight is at least for five sixths of the time is the person's rest, not an expression …
_REST_QUANTILE = 1 / 6
# … unless it is much; and unless the clip is so short that one expression may fill it.
_MOST_REST, _SHORT_CLIP = 0.35, 60


@dataclass(frozen=True, eq=False)
class Solved:
    """S frames as solved, in the camera frame (OpenCV axes, mm); weights as the rig's, gaze beyond 1 included."""

    frame: Int[np.ndarray, " S"]
    rotation: Float[np.ndarray, "S 3 3"]
    translation: Float[np.ndarray, "S 3"]
    weights: Float[np.ndarray, "S E"]
    residual: Float[np.ndarray, " S"]
    score: Float[np.ndarray, " S"]

    @staticmethod
    def joined(chunks: Iterable[dict[str, np.ndarray]]) -> Solved:
        """Consecutive chunks as one."""
        parts = list(chunks)
        fields = Solved.__dataclass_fields__
        return Solved(**{name: np.concatenate([part[name] for part in parts]) for name in fields})


def rest_weights(weights: Float[np.ndarray, "S E"], names: tuple[str, ...]) -> Float[np.ndarray, " E"]:
    """The weights of the person's resting face: what every frame but a few has. No rest has a gaze or an open jaw."""
    rest = np.quantile(weights, _REST_QUANTILE, axis=0).clip(0, _MOST_REST)
    rest *= len(weights) / (len(weights) + _SHORT_CLIP)
    moving = [name.startswith(("eyeLook", "jaw", "tongue")) for name in names]
    return np.where(moving, 0.0, rest).astype(np.float32)


def assemble(solved: Solved, rig: Rig, *, fps: float, n_frames: int, smoothing: float) -> Motion:
    """The motion of every frame of the video, for the ``rig`` of the head's own shapes once its blinks close
    (`with_closing_blinks`).

    Where no face was seen, the frame before is held (the first one before anything is seen) with confidence 0.
    Smoothing stays within the stretches in which the face is seen.
    """
    gaze = np.array([name.startswith("eyeLook") for name in rig.blendshape_names])
    weights = even_lids(solved.weights.clip(0, np.where(gaze, np.inf, 1.0)), rig.blendshape_names, fps=fps)
    # The whole turn of the eyes, of which the shapes show what lies within their range.
    eyes = whole_turns(np.zeros((len(weights), 2, 3)), weights, eye_turns(rig))
    upright = _UPRIGHT @ solved.rotation.astype(np.float64)
    confidence = solved.score * np.exp(-((solved.residual / _DOUBTFUL_RESIDUAL_MM) ** 2))
    motion = Motion(
        fps,
        rig.blendshape_names,
        to_closing(weights, rig.blendshape_names, closing_weights(rig)).clip(0, 1).astype(np.float32),
        Rotation.from_matrix(upright).as_rotvec().astype(np.float32),
        eyes.astype(np.float32),
        (solved.translation @ _UPRIGHT).astype(np.float32),
        confidence.astype(np.float32).clip(0, 1),
    )
    return _on_every_frame(_smoothed(motion, solved.frame, smoothing), solved.frame, n_frames)


def _smoothed(motion: Motion, frames: Int[np.ndarray, " S"], strength: float) -> Motion:
    breaks = np.flatnonzero(np.diff(frames) != 1) + 1
    edges = [0, *breaks.tolist(), len(frames)]
    pieces = [smooth(motion[a:b], strength=strength) for a, b in itertools.pairwise(edges)]
    joined = {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("weights", "head", "eyes", "position")
    }
    return replace(motion, **joined)


def _on_every_frame(motion: Motion, frames: Int[np.ndarray, " S"], n_frames: int) -> Motion:
    at = (np.searchsorted(frames, np.arange(n_frames), side="right") - 1).clip(0)
    seen: Bool[np.ndarray, " F"] = frames[at] == np.arange(n_frames)
    per_frame = {name: getattr(motion, name)[at] for name in ("weights", "head", "eyes", "position", "confidence")}
    per_frame["confidence"] = np.where(seen, per_frame["confidence"], 0).astype(np.float32)
    return replace(motion, **per_frame)
