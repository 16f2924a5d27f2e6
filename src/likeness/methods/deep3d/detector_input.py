"""The crop the authors' 68-landmark detector was fed, and its answer carried back to the photo (PyTorch code).

The detector itself (``68lm_detector.pb``) belongs to the authors and is not run here; training data prepared with it
can be checked and extended with these maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from likeness.errors import InputError
from likeness.methods.deep3d.alignment import CROP


@dataclass(frozen=True, eq=False)
class BoxRegressor:
    """``BBRegressorParam_r.mat``: five points → the square that holds the whole face."""

    w1: Float[np.ndarray, "H 10"]
    b1: Float[np.ndarray, "H 1"]
    w2: Float[np.ndarray, "3 H"]
    b2: Float[np.ndarray, "3 1"]

    def __call__(self, points: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "4"]:
        """(left, top, width, height) from five points of the photo, y down."""
        mean = points.mean(0)
        centred = points - mean
        size = np.sqrt((centred**2).sum() / len(points))
        hidden = np.tanh(self.w1 @ (centred / size).reshape(-1, 1) + self.b1)
        a, b, c = (self.w2 @ hidden + self.b2)[:, 0]
        side = CROP * size / c
        return np.array([a * size + mean[0], b * size + mean[1], side, side])


@dataclass(frozen=True, eq=False)
class DetectorCrop:
    """A square of a photo, 224 pixels wide. ``corner`` is the square's in the photo, ``scale`` 224 over its side."""

    image: UInt8[np.ndarray, "224 224 3"]
    corner: tuple[int, int]
    scale: float
    photo_height: int

    def landmarks(
        self, output: Float[np.ndarray, "136"], mean_face: Float[np.ndarray, "68 2"]
    ) -> Float[np.ndarray, "68 2"]:
        """The detector's 136 numbers → landmarks of the photo, y up."""
        points = output.reshape(68, 2) + mean_face
        downward = np.stack([points[:, 0], CROP - 1 - points[:, 1]], 1) / self.scale + self.corner
        return np.stack([downward[:, 0], self.photo_height - 1 - downward[:, 1]], 1)


def cut_box(pixels: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, "4"]) -> DetectorCrop:
    """The crop of a box, black around the photo.

    Raises InputError for a box that reaches further out than half the photo, as the original gives up on it.
    """
    height, width = pixels.shape[:2]
    left, top, side = (int(value) for value in np.round(box[:3]))
    padded = np.zeros((2 * height, 2 * width, 3), np.uint8)
    y, x = height // 2, width // 2
    padded[y : y + height, x : x + width] = pixels
    if side < 1 or left + x < 0 or top + y < 0:
        raise InputError("The face's box reaches too far out of the photo to find landmarks in it.")
    square = padded[top + y : top + y + side, left + x : left + x + side]
    if square.shape[:2] != (side, side):
        raise InputError("The face's box reaches too far out of the photo to find landmarks in it.")
    return DetectorCrop(resize_cubic(square, CROP), (left, top), CROP / side, height)


def resize_cubic(pixels: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Bicubic without anti-aliasing, kernel parameter -0.75, borders repeated: OpenCV's ``INTER_CUBIC``."""
    across = _cubic_matrix(pixels.shape[1], size)
    down = _cubic_matrix(pixels.shape[0], size)
    resized = np.einsum("yh,hwc,xw->yxc", down, pixels.astype(np.float64), across, optimize=True)
    return np.clip(np.round(resized), 0, 255).astype(np.uint8)


def _cubic_matrix(n_in: int, n_out: int) -> Float[np.ndarray, "O I"]:
    """Rows of weights that make each output pixel of the input's."""
    place = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    first = np.floor(place).astype(int)
    matrix = np.zeros((n_out, n_in))
    for tap in range(-1, 3):
        distance = np.abs(place - (first + tap))
        np.add.at(matrix, (np.arange(n_out), np.clip(first + tap, 0, n_in - 1)), _cubic(distance))
    return matrix


def _cubic(x: np.ndarray, a: float = -0.75) -> np.ndarray:
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
