"""Which vertices a photo sees, by a depth buffer of the crop."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.methods.inorig.pose import CROP_SIZE, crop_to_pixels
from likeness.methods.inorig.sampling import Maps
from likeness.render import rasterize

# How far, in pixels of depth, a vertex may lie behind the surface and still count as seen.
_SLACK = 1.0
_BACKGROUND = -200.0


def visible_vertices(vertices: Float[Tensor, "V N 3"], triangles: Int[Tensor, "T 3"]) -> Bool[Tensor, "V N"]:
    """Vertices in the crop frame that are not hidden behind the surface; triangles are wound outwards."""
    points = crop_to_pixels(vertices)
    surface = Maps(nearest_depth(vertices, triangles)[..., None])
    return vertices[..., 2] > surface.at(points)[..., 0]


def nearest_depth(vertices: Float[Tensor, "V N 3"], triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "V 256 256"]:
    """The surface's z at every pixel of the crop, less `_SLACK`; far behind where there is none."""
    # The rasteriser's pixel centres lie at +0.5 and its depth grows away from the viewer.
    points = torch.cat([crop_to_pixels(vertices) + 0.5, -vertices[..., 2:]], -1)
    size = (CROP_SIZE, CROP_SIZE)
    seen = rasterize(points.detach(), triangles, size, cull_backfaces=True, perspective=False)
    return torch.where(seen.mask, -seen.depth - _SLACK, _BACKGROUND)
