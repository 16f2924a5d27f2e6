"""Reading images and feature maps at points, with the descent's own idea of their slope.

The slope of a map between pixels is not that of bilinear interpolation but central differences, interpolated: it sees
a pixel further and does not jump at pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.methods.inorig.pose import CROP_SIZE

# torch's own sampler is the faster one for pictures, ours for features.
_FEW_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class Maps:
    """A batch of maps over the 256² crop, stored pixel by pixel: ``values`` (V, h, w, C), at any resolution."""

    values: Float[Tensor, "V h w C"]

    @classmethod
    def from_channels(cls, maps: Float[Tensor, "V C h w"]) -> Maps:
        """From the usual channels-first layout."""
        return cls(maps.permute(0, 2, 3, 1).contiguous())

    @cached_property
    def slopes(self) -> Float[Tensor, "V h w C2"]:
        """Central differences per pixel along x, then along y; at the border those of the neighbour."""
        return central_differences(self.values)

    def at(self, points: Float[Tensor, "V N 2"]) -> Float[Tensor, "V N C"]:
        """Values at (column, row) points of the crop, bilinear, zero outside. Without gradient."""
        if self.values.shape[-1] > _FEW_CHANNELS:
            return _interpolate(self.values, self._to_map(points))
        grid = (2 * points / (CROP_SIZE - 1) - 1)[:, None]
        return F.grid_sample(self.values.permute(0, 3, 1, 2), grid, align_corners=True)[:, :, 0].mT

    def slopes_at(self, points: Float[Tensor, "V N 2"]) -> tuple[Float[Tensor, "V N C"], Float[Tensor, "V N C"]]:
        """Change of the values per crop pixel along x and along y."""
        along_x, along_y = _interpolate(self.slopes, self._to_map(points)).chunk(2, -1)
        return along_x * self._zoom[0], along_y * self._zoom[1]

    @property
    def _zoom(self) -> tuple[float, float]:
        height, width = self.values.shape[1:3]
        return (width - 1) / (CROP_SIZE - 1), (height - 1) / (CROP_SIZE - 1)

    def _to_map(self, points: Tensor) -> Tensor:
        # Corner pixels fall on corner pixels at every resolution. By way of [-1, 1] as the reference does: photos have
        # edges so sharp that the rounding of the shorter way shows in the fifth digit.
        height, width = self.values.shape[1:3]
        return (2 * points / (CROP_SIZE - 1) - 1 + 1) / 2 * points.new_tensor([width - 1, height - 1])


def central_differences(values: Float[Tensor, "V h w C"]) -> Float[Tensor, "V h w C2"]:
    """Half the difference of the next and the previous pixel along x, then along y."""
    inner_x = (values[:, :, 2:] - values[:, :, :-2]) / 2
    inner_y = (values[:, 2:] - values[:, :-2]) / 2
    along_x = torch.cat([inner_x[:, :, :1], inner_x, inner_x[:, :, -1:]], 2)
    along_y = torch.cat([inner_y[:, :1], inner_y, inner_y[:, -1:]], 1)
    return torch.cat([along_x, along_y], -1)


def _interpolate(values: Float[Tensor, "V h w C"], points: Float[Tensor, "V N 2"]) -> Float[Tensor, "V N C"]:
    height, width = values.shape[1:3]
    low = points.floor()
    x, y = low.unbind(-1)
    right, down = (points - low).unbind(-1)
    columns = torch.stack([x, x + 1, x, x + 1], -1)
    rows = torch.stack([y, y, y + 1, y + 1], -1)
    shares = torch.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], -1)
    inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    shares = shares * inside
    index = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
    return torch.stack(
        [
            F.embedding_bag(where, pixels.flatten(0, 1), per_sample_weights=weights, mode="sum")
            for where, pixels, weights in zip(index, values, shares, strict=True)
        ]
    )
