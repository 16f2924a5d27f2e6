"""Values given at vertices, seen in pixels; differentiable in the values and in where the vertices are."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.render.rasterization import Fragments


def interpolate(
    attributes: Float[Tensor, "V C"] | Float[Tensor, "#B V C"],
    triangles: Int[Tensor, "T 3"],
    fragments: Fragments,
    *,
    vertices_px: Float[Tensor, "B V2 3"] | None = None,
    vertex_triangles: Int[Tensor, "T 3"] | None = None,
) -> Float[Tensor, "B H W C"]:
    """Attributes at what each pixel sees; 0 where there is nothing.

    `triangles` index the attributes, row for row the triangles that were rasterised. With the rasterised
    `vertices_px` given, gradients reach them too (but not through which triangle a pixel sees: that is `antialias`'
    part). `vertex_triangles` are the triangles of `vertices_px` when attributes have their own, as UVs do.
    """
    triangles = triangles.to(fragments.triangle.device)
    image, row, column = torch.nonzero(fragments.mask, as_tuple=True)
    seen = fragments.triangle[image, row, column]
    corners = triangles.index_select(0, seen)
    if vertices_px is None:
        weights = fragments.barycentric[image, row, column].unbind(-1)
    else:
        own = corners if vertex_triangles is None else vertex_triangles.to(corners.device).index_select(0, seen)
        corners_px = [_rows(vertices_px, own[:, corner], image) for corner in range(3)]
        weights = _weights_at(column + 0.5, row + 0.5, corners_px, perspective=fragments.perspective)
    # Corner by corner: on the CPU torch is slow at sums over an axis of three.
    a, b, c = (
        _rows(attributes, corners[:, corner], image) * weights[corner][:, None].to(attributes.dtype)
        for corner in range(3)
    )
    result = attributes.new_zeros((*fragments.triangle.shape, attributes.shape[-1]))
    return result.index_put((image, row, column), a + b + c)


def _rows(attributes: Tensor, vertex: Int[Tensor, "P"], image: Int[Tensor, "P"]) -> Float[Tensor, "P C"]:
    """The attributes of one vertex for each pixel, in that pixel's image."""
    if attributes.ndim == 3:
        shared = len(attributes) == 1
        vertex = vertex if shared else vertex + image * attributes.shape[1]
        attributes = attributes.flatten(0, 1)
    # index_select: its backward pass is several times faster than that of indexing.
    return attributes.index_select(0, vertex)


def _weights_at(
    x: Float[Tensor, "P"], y: Float[Tensor, "P"], corners_px: list[Float[Tensor, "P 3"]], *, perspective: bool
) -> list[Float[Tensor, "P"]]:
    """Barycentric weights of pixel centres in their triangles, on the surface itself where there is perspective."""
    (xa, ya), (xb, yb), (xc, yc) = ((corner[:, 0] - x, corner[:, 1] - y) for corner in corners_px)
    weights = [xb * yc - yb * xc, xc * ya - yc * xa, xa * yb - ya * xb]
    if perspective:
        weights = [weight / corner[:, 2] for weight, corner in zip(weights, corners_px, strict=True)]
    total = weights[0] + weights[1] + weights[2]
    return [weight / total for weight in weights]
