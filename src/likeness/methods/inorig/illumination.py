"""Light: nine bands of spherical harmonics, unnormalised, solved in closed form.

The basis is 1, x, y, z, xy, xz, yz, x²-y², 3z²-1 of the outward normal in the crop frame (+y up, +z to the viewer).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

N_BANDS = 9
# Exponent and floor of the re-weighting: residuals count as in an L0.5 fit.
_EXPONENT, _FLOOR = 1.5, 1e-5
# Below this albedo a vertex says nothing about the light that fell on it.
_DARKEST = 1e-4


def outward_normals(
    vertices: Float[Tensor, "V N 3"], triangles: Int[Tensor, "T 3"], vertex_triangles: Int[Tensor, "N K"]
) -> Float[Tensor, "V N 3"]:
    """Unit normals: the sum of the triangles' cross products about each vertex. Triangles are wound outwards."""
    # One row per vertex or triangle, all photos in it: whole rows are gathered several times faster than single points.
    rows = vertices.permute(1, 0, 2).reshape(vertices.shape[1], -1)
    corners = rows.index_select(0, triangles.flatten()).view(len(triangles), 3, -1, 3)
    a, b, c = corners.unbind(1)
    crosses = F.pad(torch.linalg.cross(b - a, c - a).flatten(1), (0, 0, 0, 1))
    total = F.embedding_bag(vertex_triangles, crosses, mode="sum")
    return F.normalize(total.unflatten(1, (-1, 3)), dim=-1).permute(1, 0, 2)


def light_basis(normals: Float[Tensor, "*B N 3"]) -> Float[Tensor, "*B N 9"]:
    """The nine bands at unit normals."""
    x, y, z = normals.unbind(-1)
    bands = (torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1)
    return torch.stack(bands, -1)


def ambient_light(n_photos: int) -> Float[Tensor, "V 9 3"]:
    """White light from everywhere."""
    light = torch.zeros(n_photos, N_BANDS, 3)
    light[:, 0] = 1
    return light


def solve_light(
    basis: Float[Tensor, "V N 9"],
    albedo: Float[Tensor, "... N 3"],
    colours: Float[Tensor, "V N 3"],
    visible: Bool[Tensor, "V N"],
    previous: Float[Tensor, "V 9 3"],
) -> Float[Tensor, "V 9 3"]:
    """One pass of re-weighted least squares per photo: shading = colour / albedo at the visible vertices.

    A photo whose visible vertices do not determine all nine bands keeps its previous light.
    """
    albedo = albedo.expand_as(colours)
    usable = visible & (albedo.abs() > _DARKEST).all(-1)
    solved = [
        _solve_one(basis[i, seen], (colours[i, seen] / albedo[i, seen]), previous[i]) for i, seen in enumerate(usable)
    ]
    return torch.stack(solved)


def _solve_one(
    basis: Float[Tensor, "N 9"], target: Float[Tensor, "N 3"], previous: Float[Tensor, "9 3"]
) -> Float[Tensor, "9 3"]:
    residual = torch.linalg.vector_norm(basis @ previous - target, dim=-1)
    weight = 1 / (residual**_EXPONENT).clamp_min(_FLOOR)
    # In double precision: on a face seen from one side the nine bands are nearly dependent.
    weighted = (basis * weight[:, None]).double()
    normal_matrix = weighted.mT @ basis.double()
    solution, info = torch.linalg.solve_ex(normal_matrix, weighted.mT @ target.double())
    failed = bool(info) or len(basis) < N_BANDS or not bool(solution.isfinite().all())
    return previous if failed else solution.to(previous)
