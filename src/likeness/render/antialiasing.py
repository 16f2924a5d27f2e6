"""Silhouettes that move smoothly, and gradients that know it.

A rasterised silhouette jumps from pixel to pixel, so its derivative is zero. Here the two pixels astride a silhouette
are blended by where the edge passes between their centres (the idea of Laine et al. 2020, "Modular Primitives for
High-Performance Differentiable Rendering", §3.5), which makes the picture a continuous function of the vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.render.rasterization import Fragments

# How many triangles further than the one a pixel sees the silhouette next to it is looked for.
_N_HOPS = 4

# Of a pixel: float32 and float64 may disagree by so much about where an edge passes a pixel's centre.
_ROUNDING = 1e-3


def antialias(
    picture: Float[Tensor, "B H W C"],
    fragments: Fragments,
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "T 3"],
    neighbours: Int[Tensor, "T 3"],
) -> Float[Tensor, "B H W C"]:
    """`picture` (background included) with its silhouettes blended; differentiable in `vertices_px` and `picture`.

    `neighbours` is `likeness.meshes.triangle_neighbours(triangles)`. A silhouette is an edge without neighbour, or
    whose neighbour faces the other way. Unlike in the paper, it need not belong to the triangle that the pixel sees:
    from there it is looked for across a few neighbours, so that small triangles keep their silhouettes too.
    """
    height, width = picture.shape[1:3]
    silhouette = _silhouette_edges(vertices_px.detach(), triangles, neighbours)
    close_by = _triangles_touching(silhouette, triangles, vertices_px.shape[1])
    flat = picture.flatten(0, 2)
    blended = flat
    for axis in (0, 1):
        pairs = _pairs(fragments, close_by, axis=axis)
        walk = _Walk(vertices_px, triangles, neighbours, silhouette, axis)
        offset = walk.to_silhouette(fragments.triangle.flatten()[pairs.near], pairs, (height, width))
        found = offset >= 0
        near, far, offset = pairs.near[found], pairs.far[found], offset[found, None].to(flat.dtype)
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


def _triangles_touching(
    silhouette: Bool[Tensor, "B T 3"], triangles: Int[Tensor, "T 3"], n_vertices: int
) -> Bool[Tensor, "B T"]:
    """Triangles with a vertex on a silhouette: all others are spared the search."""
    image, triangle, edge = torch.nonzero(silhouette, as_tuple=True)
    on_silhouette = silhouette.new_zeros(len(silhouette), n_vertices)
    on_silhouette[image, triangles[triangle, edge]] = True
    on_silhouette[image, triangles[triangle, (edge + 1) % 3]] = True
    return on_silhouette[:, triangles].any(-1)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pixels side by side, as flat indices: `near` sees the nearer surface."""

    near: Int[Tensor, "P"]
    far: Int[Tensor, "P"]
    image: Int[Tensor, "P"]


def _pairs(fragments: Fragments, close_by: Bool[Tensor, "B T"], *, axis: int) -> _Pairs:
    """Pairs along an axis (0: x, 1: y) that see different triangles, with a silhouette close by."""
    dim = 2 - axis
    n = fragments.triangle.shape[dim] - 1
    first, second = fragments.triangle.narrow(dim, 0, n), fragments.triangle.narrow(dim, 1, n)
    first_is_near = fragments.depth.narrow(dim, 0, n) <= fragments.depth.narrow(dim, 1, n)
    seen = torch.where(first_is_near, first, second).clamp_min(0).long()
    candidates = close_by.gather(1, seen.flatten(1)).view_as(seen)
    image, row, column = torch.nonzero((first != second) & candidates, as_tuple=True)
    height, width = fragments.triangle.shape[1:]
    index = (image * height + row) * width + column
    step = width if axis else 1
    swap = ~first_is_near[image, row, column]
    return _Pairs(near=index + swap * step, far=index + ~swap * step, image=image)


@dataclass(frozen=True, eq=False)
class _Walk:
    """From the centre of a near pixel straight towards the far one's, over the surface, to its silhouette."""

    vertices_px: Float[Tensor, "B V 3"]
    triangles: Int[Tensor, "T 3"]
    neighbours: Int[Tensor, "T 3"]
    silhouette: Bool[Tensor, "B T 3"]
    axis: int

    def to_silhouette(self, triangle: Int[Tensor, "P"], pairs: _Pairs, size: tuple[int, int]) -> Float[Tensor, "P"]:
        """How far it is, in pixels within [0, 1]; -1 where no silhouette lies between, or not for this axis."""
        pixel = torch.stack([pairs.near % size[1], pairs.near // size[1] % size[0]], -1)
        centre = pixel.to(self.vertices_px.dtype) + 0.5
        direction = (pairs.far - pairs.near).sign()
        result = torch.full_like(centre[:, 0], -1.0)
        walking = torch.ones_like(direction, dtype=torch.bool)
        for _ in range(_N_HOPS):
            offset, edge, is_steep = self._exit(triangle, pairs.image, centre, direction)
            walking = walking & (offset <= 1 + _ROUNDING) & (offset >= -_ROUNDING)
            at_silhouette = self.silhouette[pairs.image, triangle, edge]
            result = torch.where(walking & at_silhouette & is_steep, offset.clamp(0, 1), result)
            triangle = self.neighbours[triangle, edge].clamp_min(0)
            walking = walking & ~at_silhouette
        return result

    def _exit(
        self, triangle: Tensor, image: Tensor, centre: Tensor, direction: Tensor
    ) -> tuple[Float[Tensor, "P"], Int[Tensor, "P"], Bool[Tensor, "P"]]:
        """Where the walk leaves the triangle: the farther of the two edges it crosses."""
        corners = self.vertices_px[image[:, None], self.triangles[triangle], :2]
        start, end = corners, corners.roll(-1, dims=1)
        across_start, across_end = start[..., 1 - self.axis], end[..., 1 - self.axis]
        level = centre[:, None, 1 - self.axis]
        straddles = (across_start <= level) != (across_end <= level)
        rise = across_end - across_start
        run = end[..., self.axis] - start[..., self.axis]
        fraction = (level - across_start) / torch.where(straddles, rise, 1.0)
        offset = (start[..., self.axis] + fraction * run - centre[:, None, self.axis]) * direction[:, None]
        offset, edge = torch.where(straddles, offset, -torch.inf).max(-1)
        # Each edge moves light along the axis it is steep to, and only along that, or it would count twice.
        steep = run.abs() < rise.abs() if self.axis == 0 else run.abs() <= rise.abs()
        return offset, edge, steep.gather(1, edge[:, None])[:, 0]
