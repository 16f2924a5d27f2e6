"""Silhouettes that move smoothly, and gradients that know it.

A rasterised silhouette jumps from pixel to pixel, so its derivative is zero. Here the two pixels astride a silhouette
are blended by where the edge passes between their centres (the idea of Laine et al. 2020, "Modular Primitives for
High-Performance Differentiable Rendering", §3.5), which makes the picture a continuous function of the vertices.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.render.rasterization import Fragments


def antialias(
    picture: Float[Tensor, "B H W C"],
    fragments: Fragments,
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "T 3"],
    neighbours: Int[Tensor, "T 3"],
) -> Float[Tensor, "B H W C"]:
    """`picture` (background included) with its silhouettes blended; differentiable in `vertices_px` and `picture`.

    `neighbours` is `likeness.meshes.triangle_neighbours(triangles)`. A silhouette is an edge without neighbour, or
    whose neighbour faces the other way. Only edges of triangles that are seen in one of the two pixels count:
    silhouettes of triangles much smaller than a pixel are missed here and there.
    """
    height, width = picture.shape[1:3]
    silhouette = _silhouette_edges(vertices_px.detach(), triangles, neighbours)
    flat = picture.flatten(0, 2)
    blended = flat
    for axis, step in ((0, 1), (1, width)):
        near, far = _pairs(fragments, silhouette, axis=axis, step=step)
        image = near // (height * width)
        seen = fragments.triangle.flatten()[near]
        offset = _crossing(vertices_px, triangles, silhouette, image, seen, near, far, axis, (height, width))
        crossed = offset >= 0
        near, far, offset = near[crossed], far[crossed], offset[crossed, None]
        change = flat[near] - flat[far]
        # The nearer surface reaches into the far pixel, or fails to fill its own.
        blended = blended.index_add(0, far, (offset - 0.5).clamp_min(0) * change)
        blended = blended.index_add(0, near, (offset - 0.5).clamp_max(0) * change)
    return blended.unflatten(0, picture.shape[:3])


def _silhouette_edges(
    vertices_px: Float[Tensor, "B V 3"], triangles: Int[Tensor, "T 3"], neighbours: Int[Tensor, "T 3"]
) -> Bool[Tensor, "B T 3"]:
    a, b, c = (vertices_px[:, triangles[:, corner], :2] for corner in range(3))
    u, v = b - a, c - a
    faces_us = u[..., 0] * v[..., 1] < u[..., 1] * v[..., 0]
    turns_away = faces_us[:, :, None] != faces_us[:, neighbours.clamp_min(0)]
    return turns_away | (neighbours < 0)


def _pairs(
    fragments: Fragments, silhouette: Bool[Tensor, "B T 3"], *, axis: int, step: int
) -> tuple[Int[Tensor, "P"], Int[Tensor, "P"]]:
    """Neighbouring pixels that see different triangles, the nearer of which has a silhouette: flat pixel indices."""
    dim = 2 - axis
    n = fragments.triangle.shape[dim] - 1
    first, second = fragments.triangle.narrow(dim, 0, n), fragments.triangle.narrow(dim, 1, n)
    first_is_near = fragments.depth.narrow(dim, 0, n) <= fragments.depth.narrow(dim, 1, n)
    seen = torch.where(first_is_near, first, second)
    on_silhouette = silhouette.any(-1).gather(1, seen.clamp_min(0).long().flatten(1)).view_as(seen)
    image, row, column = torch.nonzero((first != second) & on_silhouette, as_tuple=True)
    height, width = fragments.triangle.shape[1:]
    index = (image * height + row) * width + column
    swap = ~first_is_near[image, row, column]
    return index + swap * step, index + ~swap * step


def _crossing(
    vertices_px: Tensor,
    triangles: Tensor,
    silhouette: Tensor,
    image: Tensor,
    seen: Tensor,
    near: Tensor,
    far: Tensor,
    axis: int,
    size: tuple[int, int],
) -> Float[Tensor, "P"]:
    """How far from the near pixel's centre towards the far one's its triangle ends, in pixels; -1 if not between."""
    corners = vertices_px[image[:, None], triangles[seen], :2]
    start, end = corners, corners.roll(-1, dims=1)
    centre = torch.stack([near % size[1], near // size[1] % size[0]], -1).to(corners.dtype) + 0.5
    along, level = centre[:, None, axis], centre[:, None, 1 - axis]
    direction = (far - near).sign()[:, None]
    p, q = start[..., 1 - axis], end[..., 1 - axis]
    straddles = (p <= level) != (q <= level)
    fraction = (level - p) / torch.where(straddles, q - p, 1.0)
    offset = (start[..., axis] + fraction * (end[..., axis] - start[..., axis]) - along) * direction
    counts = straddles & silhouette[image, seen] & (offset >= 0) & (offset <= 1)
    # A straight walk out of a triangle leaves it once; at a corner either edge will do.
    chosen = counts.to(torch.uint8).argmax(-1, keepdim=True)
    return torch.where(counts, offset, -1.0).gather(-1, chosen)[..., 0]
