"""What every reconstruction method takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from likeness.face import Face
from likeness.landmarks.base import Landmarks


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo at the door of a method: upright (H, W, 3) RGB pixels, a name for messages, and its focal length in
    pixels when the file tells."""

    pixels: UInt8[np.ndarray, "H W 3"]
    name: str
    focal: float | None = None


class Method(Protocol):
    """A way to make a Face. Constructed once (``device`` and options), used for many photos."""

    name: str

    def reconstruct(self, photo: Photo, landmarks: Landmarks) -> Face:
        """One face of one photo, found by its landmarks. The result does not depend on earlier calls."""
        ...

    def reconstruct_together(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> list[Face]:
        """One person in several photos: a Face each, all with one identity."""
        ...
