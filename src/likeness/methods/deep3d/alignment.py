"""The crop R-Net sees: the photo scaled and shifted, never turned, so that five points fit a standard face.

Deep3D counts pixels by their centres ((0, 0) is the middle of the corner pixel) and lets y run up; this module speaks
its language inside, and `Alignment` has maps from and to ours (pixel centres at +0.5, y down).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from likeness.errors import InputError

CROP = 224
# Pixels of the crop for one decimetre of the standard face.
_PIXELS_PER_DECIMETRE = 102.0
# A larger picture than this in the middle of the way costs gigabytes; it takes points a pixel apart to ask for one.
_MAX_PIXELS = 1 << 28


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a photo of ``size`` (width, height) became a crop: resized to ``resized``, cut at ``corner``.

    ``scale`` and ``origin`` are the fitted ones (pixels of the crop per pixel of the photo; where the standard face's
    origin lies in the photo, y up). The official code resizes and cuts in whole pixels, so that its crop and its map
    of landmarks disagree by less than a pixel; both are kept.
    """

    size: tuple[int, int]
    scale: float
    origin: tuple[float, float]
    resized: tuple[int, int]
    corner: tuple[int, int]

    @property
    def parameters(self) -> Float[np.ndarray, "5"]:
        """The official ``trans_params``: width, height, scale, origin."""
        return np.array([*self.size, self.scale, *self.origin])

    def landmarks_to_crop(self, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
        """Official landmarks of the photo, y up → of the crop, y up."""
        middle = np.array(self.size) / 2
        return (points - self.origin + middle) * self.scale - self._shift

    def landmarks_to_photo(self, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
        """Official landmarks of the crop, y up → of the photo, y down."""
        up = (points + self._shift) / self.scale + self.origin - np.array(self.size) / 2
        return np.stack([up[:, 0], self.size[1] - 1 - up[:, 1]], 1)

    def crop(self, pixels: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "224 224 C"]:
        """The crop of a photo or a mask of this alignment's size; black where it leaves the photo."""
        left, top = self.corner
        resized = Image.fromarray(pixels).resize(self.resized, resample=Image.Resampling.BICUBIC)
        return np.asarray(resized.crop((left, top, left + CROP, top + CROP)))

    @property
    def photo_to_crop(self) -> Float[np.ndarray, "3 3"]:
        """Our pixels of the photo → our pixels of the crop, exactly as the picture was resampled."""
        (width, height), (resized_width, resized_height) = self.size, self.resized
        left, top = self.corner
        return np.array([[resized_width / width, 0, -left], [0, resized_height / height, -top], [0, 0, 1.0]])

    @property
    def _shift(self) -> Float[np.ndarray, "2"]:
        return np.array(self.resized) / 2 - CROP / 2


def five_points(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "5 2"]:
    """Left eye, right eye, nose tip, left and right mouth corner (in the image) of 68 iBUG points; five stay as given.

    Eyes are the means of their corners alone. Raises InputError on another number of points.
    """
    if points.shape == (5, 2):
        return points
    if points.shape != (68, 2):
        raise InputError(f"The landmarks have shape {points.shape}; Deep3D aligns by (5, 2) or (68, 2).")
    eyes = [points[[36, 39]].mean(0), points[[42, 45]].mean(0)]
    return np.stack([*eyes, points[30], points[48], points[54]])


def standard_points(landmarks: Float[np.ndarray, "68 3"]) -> Float[np.ndarray, "5 3"]:
    """The same five on the standard face of ``similarity_Lm3D_all.mat``, decimetres."""
    return np.stack([landmarks[[36, 39]].mean(0), landmarks[[42, 45]].mean(0), *landmarks[[30, 48, 54]]])


def align(points: Float[np.ndarray, "5 2"], size: tuple[int, int], standard: Float[np.ndarray, "5 3"]) -> Alignment:
    """Scale and shift from five points of a photo of ``size`` (width, height), official pixels, y down.

    In the precision of ``points``: the TensorFlow code aligns in float64, the PyTorch code from float32.
    Raises InputError when the points do not say how large the face is.
    """
    width, height = size
    if not np.isfinite(points).all() or np.linalg.matrix_rank(points - points.mean(0)) < 2:
        raise InputError("The five points to align by coincide or lie on a line; give those of a face.")
    upward = np.stack([points[:, 0], height - 1 - points[:, 1]], 1)
    system = np.concatenate([standard.astype(points.dtype), np.ones((5, 1), points.dtype)], 1)
    # One row of an affine camera per image axis: `camera` (4, 2).
    camera = np.linalg.lstsq(system, upward, rcond=None)[0]
    pixels_per_decimetre = (np.linalg.norm(camera[:3, 0]) + np.linalg.norm(camera[:3, 1])) / 2
    scale = float(_PIXELS_PER_DECIMETRE / pixels_per_decimetre)
    x, y = float(camera[3, 0]), float(camera[3, 1])
    # `int` cuts towards zero, for the corner left of the photo too.
    resized = int(width * scale), int(height * scale)
    if min(resized) < 1 or resized[0] * resized[1] > _MAX_PIXELS:
        raise InputError(
            f"The five points ask to scale a photo of {width}×{height} pixels by {scale:.3g}; they cannot be a face's."
        )
    left = int(resized[0] / 2 - CROP / 2 + (x - width / 2) * scale)
    top = int(resized[1] / 2 - CROP / 2 + (height / 2 - y) * scale)
    return Alignment(size, scale, (x, y), resized, (left, top))
