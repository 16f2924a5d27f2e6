"""Which points of a head does the camera see?"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.render.interpolation import corner_values
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
    nothing = torch.ones_like(inside)
    for right in (0, 1):
        for down in (0, 1):
            column = (torch.nan_to_num(x) - 0.5 + right).floor().clamp(0, width - 1).long()
            row = (torch.nan_to_num(y) - 0.5 + down).floor().clamp(0, height - 1).long()
            surface = _surface_depth(points_px, vertices_px, triangles, fragments, row, column)
            shown |= torch.isfinite(surface) & (points_px[..., 2] <= surface + tolerance)
            nothing &= torch.isinf(surface)
    return inside & (shown | nothing)


def _surface_depth(
    points_px: Tensor, vertices_px: Tensor, triangles: Tensor, fragments: Fragments, row: Tensor, column: Tensor
) -> Float[Tensor, "B N"]:
    """Depth, at the points, of the triangles seen in the given pixels, never beyond the triangles' own depths."""
    image = torch.arange(len(points_px), device=row.device)[:, None].expand_as(row)
    seen = fragments.triangle[image, row, column].flatten()
    corners = corner_values(vertices_px, triangles[seen.clamp_min(0)], image.flatten())
    nearness = 1 / corners[..., 2] if fragments.perspective else corners[..., 2]
    ab, ac = (corners[:, 1:, :2] - corners[:, :1, :2]).unbind(1)
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    offset = points_px.flatten(0, 1)[:, :2] - corners[:, 0, :2]
    weight_b = (offset[:, 0] * ac[:, 1] - offset[:, 1] * ac[:, 0]) / area
    weight_c = (ab[:, 0] * offset[:, 1] - ab[:, 1] * offset[:, 0]) / area
    rise = nearness[:, 1:] - nearness[:, :1]
    at_point = nearness[:, 0] + weight_b * rise[:, 0] + weight_c * rise[:, 1]
    at_point = torch.minimum(torch.maximum(at_point, nearness.amin(-1)), nearness.amax(-1))
    depth = 1 / at_point if fragments.perspective else at_point
    return torch.where(seen >= 0, depth, torch.inf).view_as(row)
