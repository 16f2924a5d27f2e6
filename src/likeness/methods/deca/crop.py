"""DECA's crop: a square about the landmarks, shown in 224 × 224 pixels.

Here, as in DECA, pixel centres of photo and crop are whole numbers; `likeness.cameras` counts from corners. The crop's
transform is used with both habits by the released networks: integer centres where the picture is sampled, corners
where the mesh is projected. That half pixel is in the weights, and is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from likeness.cameras import Similarity
from likeness.errors import InputError
from likeness.methods.deca.networks import IMAGE_SIZE

Compat = Literal["default", "official"]

_MARGIN = 1.25
_LAST = IMAGE_SIZE - 1


@dataclass(frozen=True)
class Box:
    """Extremes of a face in a photo, in pixels: of 68 ``landmarks``, or a face detector's ``bounds``."""

    left: float
    right: float
    top: float
    bottom: float
    kind: Literal["landmarks", "bounds"] = "landmarks"

    @classmethod
    def of_points(cls, points: Float[np.ndarray, "N D"]) -> Box:
        """The extremes of landmarks given with integer pixel centres."""
        (left, top), (right, bottom) = points[:, :2].min(0), points[:, :2].max(0)
        return cls(float(left), float(right), float(top), float(bottom))

    @property
    def extent(self) -> float:
        """The face's size, before any margin. Landmarks do not reach the forehead: they get a tenth more."""
        return 1.1 * self.mean_side if self.kind == "landmarks" else self.mean_side

    @property
    def centre(self) -> tuple[float, float]:
        """A detector's bounds reach higher than landmarks do, so their centre is lowered."""
        lowered = 0.0 if self.kind == "landmarks" else 0.12 * self.extent
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2 + lowered

    @property
    def mean_side(self) -> float:
        """The mean of width and height, without any margin."""
        return (self.right - self.left + self.bottom - self.top) / 2

    def similarity(self, size: int = IMAGE_SIZE) -> Similarity:
        """Photo to a crop of ``size`` pixels. Raises InputError when the box is smaller than a pixel."""
        side = int(self.extent * _MARGIN)
        if side < 1:
            raise InputError(f"the face is {self.extent:.1f} pixels large; DECA needs at least a few dozen.")
        return square_to_crop(self.centre, side, size)


def square_to_crop(centre: tuple[float, float], side: int, size: int = IMAGE_SIZE) -> Similarity:
    """The square of ``side`` pixels about a centre, to a crop of ``size``."""
    (x, y), scale = centre, (size - 1) / side
    return _similarity(scale, 0.0, [scale * (side / 2 - x), scale * (side / 2 - y)])


def whole_photo(size: tuple[int, int], compat: Compat = "default") -> Similarity:
    """The similarity for a photo (height, width) that is a crop already.

    Fits the longer side. ``official`` fits three corners to three corners, which turns a photo that is not square.
    """
    height, width = size[0] - 1, size[1] - 1
    if compat == "default":
        scale = _LAST / max(height, width, 1)
        return _similarity(scale, 0.0, [(_LAST - scale * width) / 2, (_LAST - scale * height) / 2])
    corners = torch.tensor([[[0, 0], [0, height], [width, 0]]], dtype=torch.float64)
    return Similarity.from_points(corners, torch.tensor([[[0, 0], [0, _LAST], [_LAST, 0]]], dtype=torch.float64))


def official_box_without_face(size: tuple[int, int]) -> Box:
    """What DECA crops when it finds no face in a photo (height, width): height and width are swapped."""
    return Box(0, size[0] - 1, 0, size[1] - 1)


def crop_photo(
    photo: UInt8[np.ndarray, "H W 3"],
    similarity: Similarity,
    compat: Compat = "default",
    *,
    size: int = IMAGE_SIZE,
) -> Float[Tensor, "3 S S"]:
    """The crop of ``size`` pixels, RGB in [0, 1], black beyond the photo's edge.

    Bilinear. A photo that is shrunk more than twice is averaged first; ``official`` takes single pixels of it, which
    sparkles in large photos.
    """
    column, row = np.meshgrid(np.arange(size), np.arange(size))
    targets = torch.from_numpy(np.stack([column, row], -1).reshape(1, -1, 2).astype(np.float64))
    sources = similarity.to(torch.float64).inverse().transform(targets)[0]
    step = 1 if compat == "official" else max(1, int(1 / float(similarity.scale)))
    region, corner = _region(photo, sources, step)
    if step > 1:
        region = avg_pool2d(region, step, ceil_mode=False)
    extent = torch.tensor([region.shape[-1], region.shape[-2]], dtype=torch.float64)
    grid = 2 * ((sources + 0.5 - corner) / step) / extent - 1
    grid = grid.view(1, size, size, 2)
    sampled = grid_sample(region, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled[0].float().clamp(0, 1)


def _region(photo: np.ndarray, sources: Tensor, step: int) -> tuple[Float[Tensor, "1 3 h w"], Tensor]:
    """The part of the photo that is sampled, black where it reaches beyond, and its first corner (x, y)."""
    # A whole block of neighbours on each side, for the bilinear sample after the averaging.
    low = torch.floor(sources.amin(0)).long() - step
    high = torch.ceil(sources.amax(0)).long() + 1 + step
    high = low + (high - low + step - 1) // step * step
    height, width = photo.shape[:2]
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    # The canvas never exceeds the photo by more than the pooling needs: beyond it there is only black.
    left, top = max(left, -step), max(top, -step)
    n_columns = max(step, min(right, width + step) - left) // step * step
    n_rows = max(step, min(bottom, height + step) - top) // step * step
    region = np.zeros((n_rows, n_columns, 3))
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + n_columns, width), min(top + n_rows, height)
    if x1 > x0 and y1 > y0:
        region[y0 - top : y1 - top, x0 - left : x1 - left] = photo[y0:y1, x0:x1] / 255.0
    return torch.from_numpy(region).permute(2, 0, 1)[None], torch.tensor([left, top], dtype=torch.float64)


def _similarity(scale: float, angle: float, shift: list[float]) -> Similarity:
    numbers = torch.tensor([scale, angle], dtype=torch.float64)
    return Similarity(numbers[:1], numbers[1:], torch.tensor([shift], dtype=torch.float64))
