"""What every landmark detector gives, and the protocol that they all follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, UInt8

from likeness.errors import InputError
from likeness.landmarks.conventions import Convention


@dataclass(frozen=True)
class Landmarks:
    """The landmarks of one face, in pixels of the original photo (pixel centres at +0.5).

    A third column, where there is one, is the detector's relative depth, also in pixels: smaller is nearer to the
    camera and the zero is the head's own. `score` is the detector's belief, in [0, 1], that this is a face.
    """

    convention: Convention
    points: Float32[np.ndarray, "N D"]
    score: float


class LandmarkDetector(Protocol):
    """Finds the landmarks of the faces in a photo."""

    @property
    def convention(self) -> Convention: ...

    def detect(self, image: UInt8[np.ndarray, "H W 3"], *, max_faces: int | None = None) -> list[Landmarks]:
        """The faces of an RGB picture, largest first; an empty list if there is none.

        Raises `InputError` for an array that is no such picture.
        """
        ...


def check_image(image: np.ndarray, max_faces: int | None = None) -> None:
    """Raise `InputError` unless `image` is a picture, and `max_faces` a count or None."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"The picture is {found}; expected an RGB array of uint8 with shape (height, width, 3).")
    if 0 in image.shape:
        raise InputError(f"The picture has no pixels (shape {image.shape}); give one of at least 1 × 1.")
    if max_faces is not None and max_faces < 1:
        raise InputError(f"max_faces is {max_faces}; give at least 1, or None for all faces.")


def by_size(faces: list[Landmarks], max_faces: int | None = None) -> list[Landmarks]:
    """Largest bounding box first, cut to `max_faces`."""
    return sorted(faces, key=lambda face: -box_area(face.points))[:max_faces]


def box_area(points: Float[np.ndarray, "N D"]) -> float:
    """Area, in square pixels, of the upright box around the points."""
    return float(np.prod(np.ptp(points[:, :2], axis=0)))
