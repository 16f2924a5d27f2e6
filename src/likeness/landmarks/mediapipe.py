"""MediaPipe's face landmarks, run by ONNX Runtime: the default detector, without the `mediapipe` package."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from likeness.errors import InputError
from likeness.landmarks.base import Landmarks, by_size, check_image
from likeness.landmarks.conventions import Convention
from likeness.landmarks.search import find_faces
from likeness.landmarks.sessions import Device
from likeness.landmarks.tracker import Track, Tracker


class MediaPipe:
    """Finds faces with BlazeFace and fits the 478-point attention mesh to each; the networks ship with the package.

    `min_score` is the face presence, in [0, 1], below which a result is dropped. `device` "auto" takes CUDA where this
    ONNX Runtime offers it. The networks are loaded at the first use.
    """

    def __init__(self, *, device: Device = "auto", min_score: float = 0.5) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise InputError(f"device is {device!r}; expected 'auto', 'cpu' or 'cuda'.")
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score is {min_score}; expected a number from 0 to 1.")
        self.device: Device = device
        self.min_score = min_score
        self._tracker: Tracker | None = None

    @property
    def convention(self) -> Convention:
        return "mediapipe478"

    def detect(self, image: UInt8[np.ndarray, "H W 3"], *, max_faces: int | None = None) -> list[Landmarks]:
        """The faces of an RGB picture, largest first, wherever they are; an empty list if there is none.

        Raises `InputError` for an array that is no such picture.
        """
        check_image(image, max_faces)
        only_one = max_faces == 1
        found = find_faces(image, min_score=self.min_score, device=self.device, only_one=only_one)
        faces = [
            Landmarks("mediapipe478", points, float(presence))
            for points, presence in zip(found.points, found.presence, strict=True)
        ]
        return by_size(faces, max_faces)

    def track(self, image: UInt8[np.ndarray, "H W 3"], *, max_faces: int | None = None) -> list[Track]:
        """The faces of the next frame of a video, largest first, each under an id that stays with it.

        One detector follows one video; `Tracker` follows several at a time.
        """
        if self._tracker is None or self._tracker.max_faces != max_faces:
            self._tracker = Tracker(device=self.device, min_score=self.min_score, max_faces=max_faces)
        return self._tracker.update(image)
