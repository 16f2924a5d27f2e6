"""Following one person live: frames in, one frame of motion out, nothing known of the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import UInt8

from likeness.animate.filters import LiveFilter
from likeness.face import Face
from likeness.landmarks import Tracker
from likeness.landmarks.base import Landmarks
from likeness.landmarks.sessions import Device
from likeness.methods import Photo
from likeness.methods.open.calibration import Calibration
from likeness.methods.open.method import OpenMethod
from likeness.methods.open.tracking import FrameSolver
from likeness.motion import Motion
from likeness.rig import Rig
from likeness.tracking.assembly import Solved, assemble
from likeness.tracking.solving import head_of_photos, person_model

# The head is made of so many frames, taken at least so far apart; until then the first estimate serves.
_N_HEAD_FRAMES, _FRAMES_APART = 6, 4


class LiveTracker:
    """Feed it the frames of a camera; it returns a motion of one frame, or None while nobody is seen.

    The person's head is worked out from the first frames; ``rig`` is what the motion drives. One-Euro filters the
    motion unless ``filtered`` is False.
    """

    def __init__(self, calibration: Calibration, *, fps: float, device: Device = "auto", filtered: bool = True) -> None:
        self._calibration, self._fps = calibration, fps
        self._tracker = Tracker(device=device, max_faces=1)
        self._method = OpenMethod(quality="fast")
        self._filter = LiveFilter(fps) if filtered else None
        self._photos: list[Photo] = []
        self._landmarks: list[Landmarks] = []
        self._n_seen = 0
        self._solver: FrameSolver | None = None
        self.rig: Rig | None = None
        self.face: Face | None = None

    def update(self, pixels: UInt8[np.ndarray, "H W 3"]) -> Motion | None:
        """The person in the next frame."""
        landmarks = self.detect(pixels)
        return None if landmarks is None else self.solve(pixels, landmarks)

    def detect(self, pixels: UInt8[np.ndarray, "H W 3"]) -> Landmarks | None:
        """The landmarks of the next frame; None, and the past forgotten, when nobody is there."""
        found = self._tracker.update(np.ascontiguousarray(pixels))
        if not found and self._solver is not None:
            self._solver.reset()
        return found[0].landmarks if found else None

    def solve(self, pixels: UInt8[np.ndarray, "H W 3"], landmarks: Landmarks) -> Motion:
        """Motion from the landmarks of a frame."""
        if len(self._photos) < _N_HEAD_FRAMES and self._n_seen % _FRAMES_APART == 0:
            self._learn(pixels, landmarks)
        self._n_seen += 1
        assert self._solver is not None and self.rig is not None
        fit = self._solver.solve(landmarks.points)
        solved = Solved(
            np.zeros(1, np.int64),
            fit.rotation.numpy()[None],
            fit.translation.numpy()[None],
            fit.weights.numpy()[None],
            np.array([fit.residual_mm], np.float32),
            np.array([landmarks.score], np.float32),
        )
        motion = assemble(solved, self.rig, fps=self._fps, n_frames=1, smoothing=0)
        return motion if self._filter is None else self._filter(motion)

    def _learn(self, pixels: np.ndarray, landmarks: Landmarks) -> None:
        self._photos.append(Photo(pixels, f"frame {self._n_seen}"))
        self._landmarks.append(landmarks)
        self.face, focal = head_of_photos(self._method, self._photos, self._landmarks)
        sample = [torch.from_numpy(found.points).clone() for found in self._landmarks]
        self._solver = FrameSolver(person_model(self.face, focal, self._calibration, sample))
        self.rig = replace(self.face.rig(), weights=np.zeros(self.face.head.n_expression, np.float32))
