"""Soft shadows that a head casts on itself, in the same nine numbers as the light.

Precomputed radiance transfer (Sloan, Kautz and Snyder 2002, "Precomputed Radiance Transfer for Real-Time Rendering in
Dynamic, Low-Frequency Lighting Environments", §4.1): what coefficient i of the light adds to the shading at a point is

    T_i = 1/π ∫ V(ω) max(0, n·ω) Y_i(ω) dω,

V being 1 where the head leaves the direction free. Without V this is `lighting.irradiance_basis`. Shading stays linear
in the light, so eye sockets, nostrils and the neck under a chin darken in a fit that is still closed-form.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from likeness.lighting import irradiance_basis, sh_basis
from likeness.meshes import vertex_normals
from likeness.render import rasterize

_N_DIRECTIONS = 64
_SIZE = 128
# A vertex looks out from so far above its surface, or the facets beside it would hide steep directions.
_LIFT_MM = 3.0
_TOLERANCE_MM = 2.0


def shadowed_basis(
    vertices: Float[Tensor, "V 3"], triangles: Int[Tensor, "T 3"], rotation: Float[Tensor, "3 3"]
) -> Float[Tensor, "V 9"]:
    """T of every vertex (mm), for light in the frame that ``rotation`` carries the vertices' frame to.

    Only the hidden part of the integral is summed over directions (64 of them, evenly spread); the whole of it is
    known exactly, so that a point with nothing in its way is shaded exactly.
    """
    normals = vertex_normals(vertices, triangles)
    directions = _even_directions(_N_DIRECTIONS).to(vertices)
    hidden = ~_free(vertices + _LIFT_MM * normals, vertices, triangles, directions)
    cosine = (normals @ directions.T).clamp_min(0) * hidden
    lost = cosine @ sh_basis(directions @ rotation.T) * (4 / _N_DIRECTIONS)
    return irradiance_basis(normals @ rotation.T) - lost


def _free(
    points: Float[Tensor, "V 3"], vertices: Float[Tensor, "V 3"], triangles: Int[Tensor, "T 3"], directions: Tensor
) -> Tensor:
    """(V, N) whether the mesh leaves points free towards directions: seen along each of them in a depth buffer."""
    axes = _axes_towards(directions)
    reach = 1.02 * vertices.norm(dim=-1).amax()
    middle = vertices.new_tensor([_SIZE / 2, _SIZE / 2, 0.0])
    scale = vertices.new_tensor([_SIZE / 2 / reach, _SIZE / 2 / reach, 1.0])
    fragments = rasterize(vertices @ axes.mT * scale + middle, triangles, (_SIZE, _SIZE), perspective=False)
    seen = points @ axes.mT * scale + middle
    column, row = (seen[..., axis].long().clamp(0, _SIZE - 1) for axis in (0, 1))
    image = torch.arange(len(directions), device=row.device)[:, None]
    return (seen[..., 2] <= fragments.depth[image, row, column] + _TOLERANCE_MM).T


def _axes_towards(directions: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    """Rows x, y, depth of orthographic views from where the directions point to."""
    steep = directions[:, 1:2].abs() > 0.9
    up = torch.where(steep, directions.new_tensor([1.0, 0, 0]), directions.new_tensor([0, 1.0, 0]))
    x = normalize(torch.linalg.cross(up, directions), dim=-1)
    return torch.stack([x, torch.linalg.cross(directions, x), -directions], 1)


def _even_directions(n: int) -> Float[Tensor, "n 3"]:
    """Fibonacci's spiral on the sphere: equal areas (Swinbank and Purser 2006)."""
    k = torch.arange(n, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * k / n, math.pi * (1 + math.sqrt(5)) * k
    side = (1 - z * z).sqrt()
    return torch.stack([side * turn.cos(), side * turn.sin(), z], -1).float()
