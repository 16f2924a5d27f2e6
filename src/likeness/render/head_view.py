"""A head as a camera sees it, cut out about its outline: what visibility, depth and texture are read from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.cameras import Pinhole, Similarity, WeakPerspective
from likeness.render.rasterization import Fragments, rasterize
from likeness.render.visibility import visible

SIZE = 512
# A landmark of the lids or lips lies in a fold, a little below its rim; what is truly hidden lies far deeper.
_TOLERANCE_MM = 4.0


@dataclass(frozen=True, eq=False)
class HeadView:
    """``crop`` carries pixels of the photo to pixels of the view; ``camera`` is the crop's own camera."""

    crop: Similarity
    camera: Pinhole | WeakPerspective
    vertices_px: Float[Tensor, "1 V 3"]
    triangles: Int[Tensor, "T 3"]
    fragments: Fragments

    def visible(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Whether the mesh leaves head-frame points (mm) in sight, whatever the borders of the photo."""
        projected = self.camera.project_with_depth(points[None])
        return visible(projected, self.vertices_px, self.triangles, self.fragments, tolerance=_TOLERANCE_MM)[0]


def view_head(
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    camera: Pinhole | WeakPerspective,
    *,
    size: int = SIZE,
) -> HeadView:
    """Rasterise a head in a square crop that just holds it."""
    pixels = camera.project(vertices[None])[0]
    box = torch.cat([pixels.amin(0), pixels.amax(0)])[None]
    crop = Similarity.from_box(box, size=size, margin=1.02)
    cropped = camera.apply(crop)
    vertices_px = cropped.project_with_depth(vertices[None])
    fragments = rasterize(vertices_px, triangles, (size, size), perspective=camera.perspective)
    return HeadView(crop, cropped, vertices_px, triangles, fragments)
