"""How a surface is squeezed when an expression moves it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.meshes import face_normals


def compression(
    rest: Float[Tensor, "V 3"], moved: Float[Tensor, "B V 3"], triangles: Int[Tensor, "T 3"]
) -> Float[Tensor, "B V 3 3"]:
    """The compression of the surface at each vertex: minus Green's strain, (1 - FᵀF)/2, F the deformation gradient of
    the triangles about it, averaged by their area at rest.

    Symmetric, in the head frame, and zero across the surface: `d · C d` is by what share lengths along the unit
    tangent d shrink (to first order); its principal directions are those of the wrinkles' crossing.
    """
    a, b, c = (rest[triangles[:, k]] for k in range(3))
    first, second = b - a, c - a
    normal = face_normals(rest, triangles)
    area = torch.linalg.cross(first, second).norm(dim=-1)
    # The dual basis: rows that read off a tangent vector's shares of the two edges.
    size = torch.where(area > 1e-9, area, 1.0)[:, None]
    dual = torch.stack([torch.linalg.cross(second, normal), torch.linalg.cross(normal, first)], 1) / size[..., None]
    at_rest = torch.stack([first, second], 1)
    total = rest.new_zeros(len(moved), len(rest), 9)
    weight = rest.new_zeros(len(rest))
    a, b, c = (moved[:, triangles[:, k]] for k in range(3))
    edges = torch.stack([b - a, c - a], 2)
    change = (at_rest @ at_rest.mT - edges @ edges.mT) / 2
    tensors = (dual.mT @ change @ dual).flatten(2) * area[:, None]
    for corner in range(3):
        total = total.index_add(1, triangles[:, corner], tensors)
        weight = weight.index_add(0, triangles[:, corner], area)
    return (total / weight.clamp_min(1e-9)[:, None]).unflatten(2, (3, 3))


def squeezed_direction(
    tensors: Float[Tensor, "V 3 3"], expected: Float[Tensor, "V 3"], *, trust: float
) -> Float[Tensor, "V 3"]:
    """The unit direction of greatest compression, drawn towards an expected one, to whose side it points.

    ``trust`` is the compression that counts as much as the expectation.
    """
    prior = trust * expected[:, :, None] * expected[:, None, :]
    _, vectors = torch.linalg.eigh((tensors + prior).double())
    direction = vectors[..., -1].to(expected)
    return direction * torch.where((direction * expected).sum(-1, keepdim=True) < 0, -1.0, 1.0)
