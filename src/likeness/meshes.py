"""Triangle meshes: normals, points on surfaces, neighbourhoods, Laplacians, seams.

Triangles wind counter-clockwise seen from outside. What takes vertices is batched over them (one topology for the
whole batch) and differentiable in them. Edge i of a triangle runs from its corner i to its corner i + 1.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor


def face_normals(vertices: Float[Tensor, "*B V 3"], triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "*B T 3"]:
    """Unit outward normals of the triangles; zero for a degenerate one."""
    return _unit(_area_vectors(vertices, triangles))


def vertex_normals(vertices: Float[Tensor, "*B V 3"], triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "*B V 3"]:
    """Unit outward normals of the vertices: the mean of their triangles' normals, weighted by area.

    Zero for a vertex without a triangle of positive area.
    """
    area_vectors = _area_vectors(vertices, triangles)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(-2, triangles[:, corner], area_vectors)
    return _unit(total)


def tangents(
    vertices: Float[Tensor, "*B V 3"],
    normals: Float[Tensor, "*B V 3"],
    triangles: Int[Tensor, "T 3"],
    uv: Float[Tensor, "V 2"],
) -> Float[Tensor, "*B V 4"]:
    """The frame of a normal map as glTF writes it: unit tangent along +u, and ±1 by which cross(n, t) · w is along +v.

    For a mesh split at its seams (`split_seams`), so that vertices and UVs have the same triangles. `normals` are the
    unit normals, better taken before the split, so that they agree across the seam. The tangent is orthogonal to the
    normal; where the UVs say nothing it is any such direction.
    """
    a, b, c = (vertices.index_select(-2, triangles[:, corner]) for corner in range(3))
    uv_a, uv_b, uv_c = (uv[triangles[:, corner]] for corner in range(3))
    (u1, v1), (u2, v2) = (uv_b - uv_a).unbind(-1), (uv_c - uv_a).unbind(-1)
    mirrored = torch.sign(u1 * v2 - u2 * v1)[:, None]
    # Not divided by the UV area: large triangles count more, and charts of no area count for nothing.
    along_u = mirrored * (v2[:, None] * (b - a) - v1[:, None] * (c - a))
    total, handedness = torch.zeros_like(vertices), uv.new_zeros(len(uv), 1)
    for corner in range(3):
        total = total.index_add(-2, triangles[:, corner], along_u)
        handedness = handedness.index_add(0, triangles[:, corner], mirrored)
    flat = total - (total * normals).sum(-1, keepdim=True) * normals
    tangent = _unit(torch.where((flat * flat).sum(-1, keepdim=True) > 0, flat, _any_orthogonal(normals)))
    sign = torch.where(handedness >= 0, 1.0, -1.0).to(tangent.dtype).expand(*tangent.shape[:-1], 1)
    return torch.cat([tangent, sign], -1)


def points_on_surface(
    vertices: Float[Tensor, "*B V C"],
    triangles: Int[Tensor, "T 3"],
    triangle_indices: Int[Tensor, "N"],
    barycentric: Float[Tensor, "N 3"],
) -> Float[Tensor, "*B N C"]:
    """Surface points (or any values given at vertices) from the triangle they lie in and barycentric weights."""
    corners = triangles.index_select(0, triangle_indices.to(triangles.dtype))
    values = vertices.index_select(-2, corners.flatten()).unflatten(-2, corners.shape)
    return (values * barycentric[..., None].to(vertices.dtype)).sum(-2)


def quads_to_triangles(quads: Int[Tensor, "Q 4"]) -> Int[Tensor, "T 3"]:
    """Each quad (a, b, c, d) as (a, b, c), (a, c, d), one after the other."""
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def unique_edges(triangles: Int[Tensor, "T 3"]) -> tuple[Int[Tensor, "E 2"], Int[Tensor, "T 3"]]:
    """The mesh's edges, lower vertex first, in ascending order; and the index of each triangle's three edges."""
    following = triangles.roll(-1, dims=1)
    low, high = torch.minimum(triangles, following).long(), torch.maximum(triangles, following).long()
    # Both ends in one number: torch sorts numbers many times faster than rows.
    base = int(high.max()) + 1 if triangles.numel() else 1
    keys, index = torch.unique(low * base + high, return_inverse=True)
    return torch.stack([keys // base, keys % base], -1), index.view_as(triangles)


def triangle_neighbours(triangles: Int[Tensor, "T 3"]) -> Int[Tensor, "T 3"]:
    """The triangle across each edge; -1 at a border, and where more than two triangles meet."""
    edges, edge_of = unique_edges(triangles)
    flat = edge_of.flatten()
    own = torch.arange(len(triangles), device=triangles.device).repeat_interleave(3)
    # Of the two triangles at an edge, the other one is their sum less oneself.
    both = torch.zeros(len(edges), dtype=own.dtype, device=own.device).index_add(0, flat, own)
    count = torch.bincount(flat, minlength=len(edges))
    return torch.where(count[flat] == 2, both[flat] - own, -1).view_as(triangles)


def boundary_edges(triangles: Int[Tensor, "T 3"]) -> Int[Tensor, "K 2"]:
    """Edges with one triangle, each running the way its triangle does."""
    edges, edge_of = unique_edges(triangles)
    alone = torch.bincount(edge_of.flatten(), minlength=len(edges))[edge_of] == 1
    return torch.stack([triangles, triangles.roll(-1, dims=1)], -1)[alone]


def connected_components(triangles: Int[Tensor, "T 3"], n_vertices: int) -> Int[Tensor, "V"]:
    """A label for each vertex, 0, 1, …, the same for vertices that triangles connect."""
    edges = unique_edges(triangles)[0].cpu().numpy()
    graph = sparse.coo_array((np.ones(len(edges)), edges.T), shape=(n_vertices, n_vertices))
    labels = csgraph.connected_components(graph, directed=False)[1]
    return torch.from_numpy(labels.astype(np.int64)).to(triangles.device)


def uniform_laplacian(triangles: Int[Tensor, "T 3"], n_vertices: int) -> Float[Tensor, "V V"]:
    """Sparse: each vertex less the mean of those it shares an edge with; zero for a vertex without edges."""
    edges = unique_edges(triangles)[0]
    both = torch.cat([edges, edges.flip(-1)])
    valence = torch.bincount(both[:, 0], minlength=n_vertices)
    values = -1 / valence[both[:, 0]].to(torch.get_default_dtype())
    return _sparse_with_diagonal(both, values, (valence > 0).to(values.dtype))


def cotangent_laplacian(vertices: Float[Tensor, "V 3"], triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "V V"]:
    """Sparse, symmetric, positive semi-definite: the integrated Laplace–Beltrami operator (Pinkall and Polthier 1993).

    Off the diagonal -(cot α + cot β)/2. Dividing row i by the area about vertex i gives the pointwise operator.
    Triangles without area count for nothing.
    """
    corners = vertices[triangles]
    to_next, to_last = corners.roll(-1, dims=1) - corners, corners.roll(1, dims=1) - corners
    sine = torch.linalg.cross(to_next, to_last).norm(dim=-1)
    half_cotangent = torch.where(sine > 0, 0.5 * (to_next * to_last).sum(-1) / sine.where(sine > 0, 1.0), 0.0)
    opposite = torch.stack([triangles.roll(-1, dims=1), triangles.roll(1, dims=1)], -1).flatten(0, 1)
    both = torch.cat([opposite, opposite.flip(-1)])
    values = -half_cotangent.flatten().repeat(2)
    diagonal = values.new_zeros(len(vertices)).index_add(0, both[:, 0], -values)
    return _sparse_with_diagonal(both, values, diagonal)


def split_seams(
    triangles: Int[Tensor, "T 3"], uv_triangles: Int[Tensor, "T 3"]
) -> tuple[Int[Tensor, "S"], Int[Tensor, "S"], Int[Tensor, "T 3"]]:
    """The mesh with one vertex for each pair (vertex, UV) in use, as files and GPUs want it.

    Returns which vertex and which UV each new vertex is, and the triangles of the new vertices.
    """
    # Both in one number: torch sorts numbers many times faster than rows.
    base = int(uv_triangles.max()) + 1 if uv_triangles.numel() else 1
    kept, index = torch.unique(triangles.long() * base + uv_triangles.long(), return_inverse=True)
    return kept // base, kept % base, index


def _area_vectors(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Outward normals as long as twice the triangles' areas."""
    a, b, c = (vertices.index_select(-2, triangles[:, corner]) for corner in range(3))
    return torch.linalg.cross(b - a, c - a)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors over their lengths. A zero vector stays zero, and its gradient is zero instead of NaN."""
    squared = (vectors * vectors).sum(-1, keepdim=True)
    is_zero = squared == 0
    return vectors / torch.where(is_zero, 1.0, squared).sqrt()


def _any_orthogonal(normals: Tensor) -> Tensor:
    axis = torch.zeros_like(normals).scatter(-1, normals.abs().argmin(-1, keepdim=True), 1.0)
    return torch.linalg.cross(axis, normals)


def _sparse_with_diagonal(index: Tensor, values: Tensor, diagonal: Tensor) -> Tensor:
    n = len(diagonal)
    own = torch.arange(n, device=index.device)[:, None].expand(n, 2)
    entries = torch.cat([values, diagonal])
    return torch.sparse_coo_tensor(torch.cat([index, own]).mT, entries, (n, n), check_invariants=False).coalesce()
