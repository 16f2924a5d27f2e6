"""Which points of a head does the camera see?"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.render.rasterization import Fragments


def visible(
    points_px: Float[Tensor, "B N 3"],
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "T 3"],
    fragments: Fragments,
    *,
    tolerance: float = 2.0,
) -> Bool[Tensor, "B N"]:
    """Whether points (x px, y px, depth mm) are not hidden by the mesh that `fragments` shows; False off the picture.

    A point is compared with the surfaces seen by the four pixels about it, each taken at the point itself and not at
    the pixel's centre, so that steep surfaces do not hide their own points. It is visible when one of them is not
    nearer than it by more than `tolerance` mm, or when all four see nothing.
    """
    height, width = fragments.triangle.shape[1:]
    x, y = points_px[..., 0], points_px[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    shown = torch.zeros_like(inside)
    covered = torch.zeros_like(inside)
    for right in (0, 1):
        for down in (0, 1):
            column = (torch.nan_to_num(x) - 0.5 + right).floor().clamp(0, width - 1).long()
            row = (torch.nan_to_num(y) - 0.5 + down).floor().clamp(0, height - 1).long()
            image = torch.arange(len(points_px), device=row.device)[:, None].expand_as(row)
            seen = fragments.triangle[image, row, column]
            surface = _depth_of_planes(points_px, vertices_px, triangles[seen.clamp_min(0)], fragments.perspective)
            shown |= (seen >= 0) & (points_px[..., 2] <= surface + tolerance)
            covered |= seen >= 0
    return inside & (shown | ~covered)


def _depth_of_planes(
    points_px: Float[Tensor, "B N 3"],
    vertices_px: Float[Tensor, "B V 3"],
    corners: Int[Tensor, "B N 3"],
    perspective: bool,
) -> Float[Tensor, "B N"]:
    """Depth, at each point's place in the picture, of the plane through three vertices."""
    image = torch.arange(len(points_px), device=corners.device)[:, None, None]
    triangle = vertices_px[image, corners]
    # Under perspective, 1/depth is what is linear in the picture.
    value = 1 / triangle[..., 2] if perspective else triangle[..., 2]
    (abx, aby), (acx, acy) = ((triangle[..., i, :2] - triangle[..., 0, :2]).unbind(-1) for i in (1, 2))
    x, y = (points_px[..., :2] - triangle[..., 0, :2]).unbind(-1)
    area = abx * acy - aby * acx
    weight_b, weight_c = (x * acy - y * acx) / area, (abx * y - aby * x) / area
    rise = value[..., 1:] - value[..., :1]
    at_point = value[..., 0] + weight_b * rise[..., 0] + weight_c * rise[..., 1]
    # A surface seen edge-on may reach infinity within a pixel.
    return 1 / at_point.clamp_min(torch.finfo(at_point.dtype).tiny) if perspective else at_point
