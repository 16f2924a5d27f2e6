"""A Face's surface with its displacement: the coarse mesh cut finer and rounded, and moved along its normals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import InputError
from likeness.face import Face
from likeness.meshes import split_seams, vertex_normals
from likeness.render import sample_texture
from likeness.subdivision import Subdivision, subdivide

# Steps towards control points whose rounded surface passes through the mesh's own vertices.
_FITTING_STEPS = 8


@dataclass(frozen=True, eq=False)
class DisplacedSurface:
    """Head frame, mm, expression in; ``uv`` (N, 2) is one texture coordinate a vertex, so that seams are open.
    ``normals`` are unit and agree across the seams; ``vertex`` names the same point on both sides of one."""

    vertices: Float[Tensor, "N 3"]
    triangles: Int[Tensor, "T 3"]
    uv: Float[Tensor, "N 2"]
    normals: Float[Tensor, "N 3"]
    vertex: Int[Tensor, " N"]


def displaced_surface(face: Face, *, n_subdivisions: int = 2) -> DisplacedSurface:
    """The mesh of a Face, each triangle cut into 4ⁿ, moved by its displacement (if it has one).

    The finer mesh is smooth (Loop 1987) and passes through the coarse one's vertices, but for hundredths of a
    millimetre. Raises InputError when the head has no UV chart.
    """
    topology = face.head.topology
    if topology.uv is None or topology.uv_triangles is None:
        raise InputError(f"the head '{face.head.name}' has no UV chart, in which a displacement could lie.")
    triangles = topology.triangles_tensor.to(face.vertices.device)
    uv_triangles = torch.from_numpy(topology.uv_triangles).to(triangles)
    uv = torch.from_numpy(topology.uv).to(face.vertices)
    positions, triangles = _rounded(face.vertices, triangles, n_subdivisions)
    for _ in range(n_subdivisions):
        finer = subdivide(uv_triangles, len(uv), scheme="midpoint")
        uv, uv_triangles = finer.apply(uv), finer.triangles
    vertex, uv_point, split = split_seams(triangles, uv_triangles)
    uv = uv[uv_point]
    normals = vertex_normals(positions, triangles)[vertex]
    moved = positions[vertex]
    if face.displacement is not None:
        moved = moved + sample_texture(face.displacement[None, None], uv[None])[0] * normals
        normals = _seamless_normals(moved, split, vertex)
    return DisplacedSurface(moved, split, uv, normals, vertex)


def _rounded(
    vertices: Float[Tensor, "V 3"], triangles: Int[Tensor, "T 3"], n_subdivisions: int
) -> tuple[Float[Tensor, "V2 3"], Int[Tensor, "T2 3"]]:
    """Loop's surface through the vertices, which stay the first V."""
    if n_subdivisions == 0:
        return vertices, triangles
    steps: list[Subdivision] = []
    n = len(vertices)
    for _ in range(n_subdivisions):
        steps.append(subdivide(triangles, n, scheme="loop"))
        triangles, n = steps[-1].triangles, len(steps[-1].weights)
    points = _control_points(vertices, steps[0], n_subdivisions)
    for step in steps:
        points = step.apply(points)
    return points, triangles


def _control_points(vertices: Float[Tensor, "V 3"], first: Subdivision, n_steps: int) -> Float[Tensor, "V 3"]:
    """Vertices whose rounded surface passes through the given ones.

    One step of Loop's moves a vertex by b times the way to its neighbours' mean; each further step by 5/8 - b of the
    last (1/4 on a border).
    """
    index, values = first.weights.indices(), first.weights.values()
    own = (index[0] == index[1]) & (index[0] < len(vertices))
    share = torch.ones(len(vertices)).to(vertices).index_put((index[0, own],), 1 - values[own].to(vertices))
    ratio = torch.where((share - 0.25).abs() < 1e-6, 0.25, 5 / 8 - share)
    reach = ((1 - ratio**n_steps) / (1 - ratio))[:, None]
    control = vertices
    for _ in range(_FITTING_STEPS):
        reached = control + reach * (first.apply(control)[: len(vertices)] - control)
        control = control + vertices - reached
    return control


def _seamless_normals(
    vertices: Float[Tensor, "N 3"], triangles: Int[Tensor, "T 3"], vertex: Int[Tensor, " N"]
) -> Float[Tensor, "N 3"]:
    """Vertex normals of a mesh that is open at its seams, as if it were not."""
    corners = vertices[triangles]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = vertices.new_zeros(int(vertex.max()) + 1, 3)
    for corner in range(3):
        total = total.index_add(0, vertex[triangles[:, corner]], area)
    return functional.normalize(total, dim=1)[vertex]
