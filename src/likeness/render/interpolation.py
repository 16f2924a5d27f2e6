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
        weights = fragments.barycentric[image, row, column]
    else:
        own = corners if vertex_triangles is None else vertex_triangles.to(corners.device).index_select(0, seen)
        pixels = torch.stack([column, row], -1) + 0.5
        weights = _weights_at(pixels, _corner_values(vertices_px, own, image), perspective=fragments.perspective)
    values = _corner_values(attributes, corners, image)
    seen_values = (values * weights[..., None].to(values.dtype)).sum(-2)
    result = values.new_zeros((*fragments.triangle.shape, values.shape[-1]))
    return result.index_put((image, row, column), seen_values)


def _corner_values(attributes: Tensor, corners: Tensor, image: Tensor) -> Float[Tensor, "P 3 C"]:
    """The attributes of each corner of each pixel's triangle, in that pixel's image."""
    if attributes.ndim == 3:
        shared = len(attributes) == 1
        corners = corners if shared else corners + (image * attributes.shape[1])[:, None]
        attributes = attributes.flatten(0, 1)
    # index_select: its backward pass is several times faster than that of indexing.
    return attributes.index_select(0, corners.flatten()).unflatten(0, corners.shape)


def _weights_at(
    pixels: Float[Tensor, "P 2"], corners_px: Float[Tensor, "P 3 3"], *, perspective: bool
) -> Float[Tensor, "P 3"]:
    """Barycentric weights of pixel centres in their triangles, on the surface itself where there is perspective."""
    x, y = (corners_px[..., :2] - pixels[:, None].to(corners_px.dtype)).unbind(-1)
    (xa, xb, xc), (ya, yb, yc) = x.unbind(-1), y.unbind(-1)
    weights = torch.stack([xb * yc - yb * xc, xc * ya - yc * xa, xa * yb - ya * xb], -1)
    if perspective:
        weights = weights / corners_px[..., 2]
    return weights / weights.sum(-1, keepdim=True)
