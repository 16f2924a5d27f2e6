"""Random shifts, turns, scales and mirrors of training crops, with their landmarks (PyTorch code)."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from likeness.landmarks.conventions import MIRROR
from likeness.methods.deep3d.alignment import CROP

_SHIFT, _SCALE, _DEGREES = 10, 0.1, 10.0


@dataclass(frozen=True, eq=False)
class Augmentation:
    """A map of the crop's plane, ``matrix`` (3, 3) with y down, and whether it mirrors."""

    matrix: Float[np.ndarray, "3 3"]
    mirrored: bool

    @classmethod
    def draw(cls, generator: random.Random) -> Augmentation:
        """Draw in the official order: shift in x and y, scale, angle, mirror."""
        shift = generator.randint(-_SHIFT, _SHIFT), generator.randint(-_SHIFT, _SHIFT)
        scale = 1 + _SCALE * (2 * generator.random() - 1)
        angle = _DEGREES * (2 * generator.random() - 1)
        mirrored = generator.random() > 0.5
        theta = np.deg2rad(-angle)
        cos, sin = np.cos(theta), np.sin(theta)
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        to_centre, from_centre = _shift(-CROP / 2, -CROP / 2), _shift(CROP / 2, CROP / 2)
        mirror = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
        matrix = from_centre @ np.diag([scale, scale, 1]) @ turn @ _shift(*shift) @ mirror @ to_centre
        return cls(matrix, mirrored)

    def image(self, pixels: UInt8[np.ndarray, "224 224 C"]) -> UInt8[np.ndarray, "224 224 C"]:
        """A crop or a mask, bicubic, black from outside. Pillow counts pixels by their corners, so that pictures and
        landmarks end half a pixel apart; so it was trained."""
        coefficients = np.linalg.inv(self.matrix)[:2].reshape(-1).tolist()
        moved = Image.fromarray(pixels).transform(
            (CROP, CROP), Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BICUBIC
        )
        return np.asarray(moved)

    def landmarks(self, points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "68 2"]:
        """iBUG landmarks of the crop, y up; a mirror also swaps left with right."""
        downward = np.stack([points[:, 0], CROP - 1 - points[:, 1], np.ones(len(points))], 1)
        moved = downward @ self.matrix.T
        upward = np.stack([moved[:, 0], CROP - 1 - moved[:, 1]], 1)
        return upward[MIRROR["ibug68"]] if self.mirrored else upward


def _shift(x: float, y: float) -> Float[np.ndarray, "3 3"]:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])
