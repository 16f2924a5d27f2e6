"""Triangle meshes: normals, tangent frames, neighbourhoods, Laplacians, points on surfaces.

Triangles wind counter-clockwise seen from outside. Everything that takes vertices is batched over them, shares one
topology across the batch, and is differentiable in them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
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


def _area_vectors(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Outward normals as long as twice the triangles' areas."""
    a, b, c = (vertices.index_select(-2, triangles[:, corner]) for corner in range(3))
    return torch.linalg.cross(b - a, c - a)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors over their lengths. A zero vector stays zero, and its gradient is zero instead of NaN."""
    squared = (vectors * vectors).sum(-1, keepdim=True)
    is_zero = squared == 0
    return vectors / torch.where(is_zero, 1.0, squared).sqrt()
