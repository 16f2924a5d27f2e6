"""FAN landmarks through the `face-alignment` package, an optional extra.

Bulat and Tzimiropoulos, *How far are we from solving the 2D & 3D Face Alignment problem?*, 2017.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
from jaxtyping import UInt8

from likeness.errors import InputError
from likeness.landmarks.base import Landmarks, by_size, check_image
from likeness.landmarks.conventions import Convention
from likeness.landmarks.sessions import Device

# face-alignment counts pixel centres as whole numbers.
PIXEL_CENTRE = 0.5


class Fan:
    """The 68 iBUG points by FAN. The weights are downloaded by `face-alignment` at the first use.

    `min_score` is the score, in [0, 1], of FAN's own face detector below which a face is dropped. Raises `InputError`
    if the extra is not installed.
    """

    def __init__(self, *, device: Device = "auto", min_score: float = 0.5) -> None:
        try:
            face_alignment = import_module("face_alignment")
        except ImportError as error:
            raise InputError("FAN landmarks need an extra package: run `pip install 'likeness[fan]'`.") from error
        if device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.min_score = min_score
        self._network = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D, device=device, flip_input=False
        )

    @property
    def convention(self) -> Convention:
        return "ibug68"

    def detect(self, image: UInt8[np.ndarray, "H W 3"], *, max_faces: int | None = None) -> list[Landmarks]:
        """The faces of an RGB picture, largest first; an empty list if there is none."""
        check_image(image, max_faces)
        points, _, boxes = self._network.get_landmarks_from_image(image, return_bboxes=True) or (None, None, None)
        faces = [
            Landmarks("ibug68", np.asarray(face, np.float32)[:, :2] + PIXEL_CENTRE, float(np.clip(box[4], 0, 1)))
            for face, box in zip(points or [], boxes if boxes is not None else [], strict=True)
        ]
        return by_size([face for face in faces if face.score >= self.min_score], max_faces)
