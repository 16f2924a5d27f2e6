"""A Face's surface with its displacement: the coarse mesh cut finer and moved along its normals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import InputError
from likeness.face import Face
from likeness.meshes import split_seams, vertex_normals
from likeness.render import sample_texture
from likeness.subdivision import subdivide


@dataclass(frozen=True, eq=False)
class DisplacedSurface:
    """Head frame, mm, expression in; ``uv`` (N, 2) is one texture coordinate a vertex, so that seams are open."""

    vertices: Float[Tensor, "N 3"]
    triangles: Int[Tensor, "T 3"]
    uv: Float[Tensor, "N 2"]


def displaced_surface(face: Face, *, n_subdivisions: int = 2) -> DisplacedSurface:
    """The mesh of a Face, each triangle cut into 4ⁿ, moved by its displacement (if it has one).

    Raises InputError when the head has no UV chart.
    """
    topology = face.head.topology
    if topology.uv is None or topology.uv_triangles is None:
        raise InputError(f"the head '{face.head.name}' has no UV chart, in which a displacement could lie.")
    triangles = topology.triangles_tensor.to(face.vertices.device)
    uv_triangles = torch.from_numpy(topology.uv_triangles).to(triangles)
    vertex, uv_point, triangles = split_seams(triangles, uv_triangles)
    uv = torch.from_numpy(topology.uv).to(face.vertices)[uv_point]
    normals = vertex_normals(face.vertices, topology.triangles_tensor.to(triangles.device))
    values = torch.cat([face.vertices[vertex], normals[vertex], uv], 1)
    for _ in range(n_subdivisions):
        finer = subdivide(triangles, len(values), scheme="midpoint")
        values, triangles = finer.apply(values), finer.triangles
    positions, directions, uv = values.split([3, 3, 2], 1)
    if face.displacement is not None:
        length = sample_texture(face.displacement[None, None], uv[None])[0]
        positions = positions + length * torch.nn.functional.normalize(directions, dim=1)
    return DisplacedSurface(positions, triangles, uv)
