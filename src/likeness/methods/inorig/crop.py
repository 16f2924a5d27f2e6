"""From a photo to the 256² crop the networks read, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.cameras import Similarity
from likeness.errors import InputError
from likeness.methods.inorig.pose import CROP_SIZE, crop_to_pixels, pose_vertices
from likeness.methods.inorig.template import Template

# Photos of a rig are continued beyond their border by reflection, so that a face at the edge is not met by black.
PADDING = 50


@dataclass(frozen=True)
class Square:
    """The part of a photo that is cropped, in whole pixels; it may reach beyond the photo, where all is black.

    Nearly a square: the reference rounds both corners, so the sides may differ by one pixel.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def zoom(self) -> float:
        """Crop pixels per photo pixel."""
        return CROP_SIZE / (self.right - self.left)

    def similarity(self) -> Similarity:
        """Photo pixels → crop pixels (both with corners at whole numbers)."""
        corner = torch.tensor([[float(self.left), float(self.top)]])
        return Similarity(torch.tensor([self.zoom]), torch.zeros(1), -corner * self.zoom)

    def moved(self, x: int, y: int) -> Square:
        return Square(self.left + x, self.top + y, self.right + x, self.bottom + y)


def square_from_box(box: Float[np.ndarray, " 4"] | tuple[float, float, float, float]) -> Square:
    """The official rule for a face detector's box (left, top, right, bottom): a fifth larger, a little lower."""
    left, top, right, bottom = (float(side) for side in box)
    if not (right > left and bottom > top):
        raise InputError(f"The face's box ({left:g}, {top:g}, {right:g}, {bottom:g}) has no area.")
    x, y = box_centre((left, top, right, bottom))
    side = 1.2 * max(right - left, bottom - top)
    # int() as in the reference: towards zero, not down.
    edges = (int(value + 0.5) for value in (x - side / 2, y - side / 2, x + side / 2, y + side / 2))
    return Square(*edges)


def square_from_landmarks(landmarks: Float[np.ndarray, "68 2"], template: Template) -> Square:
    """Our rule, for landmarks (photo pixels): where the mean face under pose zero would have them in the crop.

    The pose the networks regress is normalised so that zero is the middle of what they were trained on. Size by the
    landmarks' spread, place by their centre; a rolled head stays rolled.
    """
    mean = template.mean[template.landmarks]
    model = crop_to_pixels(pose_vertices(mean.new_zeros(1, 6), mean[None]))[0].cpu().numpy() + 0.5
    centre, model_centre = landmarks.mean(0), model.mean(0)
    spread = np.sqrt(np.square(landmarks - centre).sum(-1).mean())
    if not (np.isfinite(spread) and spread > 1):
        raise InputError("The landmarks lie within a pixel or two of each other; give those of a larger face.")
    photo_pixels = spread / np.sqrt(np.square(model - model_centre).sum(-1).mean())
    left, top = np.floor(centre - model_centre * photo_pixels + 0.5).astype(int)
    side = max(round(CROP_SIZE * photo_pixels), 2)
    return Square(int(left), int(top), int(left) + side, int(top) + side)


def box_from_landmarks(landmarks: Float[np.ndarray, "68 2"]) -> tuple[float, float, float, float]:
    """About what a face detector would box (left, top, right, bottom): the landmarks, and half a forehead above."""
    left, top = landmarks.min(0)
    right, bottom = landmarks.max(0)
    return float(left), float(top - 0.25 * (bottom - top)), float(right), float(bottom)


def box_centre(box: tuple[float, float, float, float]) -> tuple[float, float]:
    """The centre of the official crop, before it is rounded to whole pixels."""
    left, top, right, bottom = box
    return right - (right - left) / 2, bottom - (bottom - top) / 2 + 0.06 * (bottom - top)


def padded(photo: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H2 W2 3"]:
    """The photo with a border of `PADDING` reflected pixels (the outermost row itself is not repeated)."""
    return np.pad(photo, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="reflect")


def cut(photo: UInt8[np.ndarray, "H W 3"], square: Square) -> UInt8[np.ndarray, "256 256 3"]:
    """The crop: black outside the photo, shrunk by averaging areas."""
    height, width = photo.shape[:2]
    top, bottom = np.clip([square.top, square.bottom], 0, height)
    left, right = np.clip([square.left, square.right], 0, width)
    piece = np.zeros((square.bottom - square.top, square.right - square.left, 3), np.uint8)
    seen = photo[top:bottom, left:right]
    row, column = top - square.top, left - square.left
    piece[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return _shrunk(piece) if min(piece.shape[:2]) >= CROP_SIZE else _enlarged(piece)


def landmarks_to_crop(landmarks: Float[np.ndarray, "68 2"], square: Square) -> Float[Tensor, "68 2"]:
    """Photo pixels → (column, row) of the crop with whole numbers at pixel centres, as the descent counts."""
    points = torch.from_numpy(np.asarray(landmarks, np.float32))[None]
    return square.similarity().transform(points)[0] - 0.5


def frame_landmarks_to_crop(
    landmarks: Float[np.ndarray, "68 2"], box: tuple[float, float, float, float], square: Square
) -> Float[Tensor, "68 2"]:
    """As the reference maps the landmarks of video frames: about the unrounded centre, counting pixel centres (in photo
    and crop) as whole numbers. Differs from `landmarks_to_crop` by up to about a pixel."""
    centre = torch.tensor(box_centre(box))
    return (torch.from_numpy(np.asarray(landmarks, np.float32)) - centre) * square.zoom + CROP_SIZE / 2


def crop_tensor(crop: UInt8[np.ndarray, "256 256 3"]) -> Float[Tensor, "3 256 256"]:
    """A crop as the networks' input, in [0, 1]."""
    return torch.from_numpy(crop).permute(2, 0, 1).float() / 255


def _shrunk(piece: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "256 256 3"]:
    """Each pixel the mean over the area it covers."""
    rows, columns = (_overlaps(n) for n in piece.shape[:2])
    mixed = np.einsum("ri,ijc->rjc", rows, piece.astype(np.float32), optimize=True)
    mixed = np.einsum("cj,rjk->rck", columns, mixed, optimize=True)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _overlaps(n_source: int) -> Float[np.ndarray, "256 N"]:
    """The share of each source pixel in each of 256 along one axis."""
    scale = n_source / CROP_SIZE
    target, source = np.arange(CROP_SIZE)[:, None], np.arange(n_source)
    overlap = np.minimum((target + 1) * scale, source + 1) - np.maximum(target * scale, source)
    return (np.maximum(overlap, 0) / scale).astype(np.float32)


def _enlarged(piece: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "256 256 3"]:
    """OpenCV's INTER_AREA where it cannot average: a linear mix kept to whole source pixels, in fixed point."""
    (top, bottom, upper, lower), (left, right, near, far) = (_linear_mix(n) for n in piece.shape[:2])
    wide = piece.astype(np.int64)
    wide = wide[:, left] * near[:, None] + wide[:, right] * far[:, None]
    mixed = ((upper[:, None, None] * (wide[top] >> 4)) >> 16) + ((lower[:, None, None] * (wide[bottom] >> 4)) >> 16)
    return np.clip((mixed + 2) >> 2, 0, 255).astype(np.uint8)


def _linear_mix(n_source: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis: the two source pixels of each of 256 and their weights in 1/2048."""
    scale = n_source / CROP_SIZE
    target = np.arange(CROP_SIZE)
    first = np.floor(target * scale).astype(int)
    fraction = (target + 1) - (first + 1) / scale
    fraction = np.where(fraction <= 0, 0, fraction - np.floor(fraction))
    weights = (np.rint((1 - fraction) * 2048).astype(np.int64), np.rint(fraction * 2048).astype(np.int64))
    return np.minimum(first, n_source - 1), np.minimum(first + 1, n_source - 1), *weights
