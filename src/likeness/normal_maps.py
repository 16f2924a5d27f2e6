"""From a displacement map to the normal map that shows it on the smooth surface."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.errors import InputError
from likeness.meshes import vertex_normals
from likeness.render import interpolate, rasterize_uv
from likeness.topology import Topology


def tangent_normals(
    displacement: Float[Tensor, "H W"], vertices: Float[Tensor, "V 3"], topology: Topology
) -> Float[Tensor, "3 H W"]:
    """Unit normals of the displaced surface in the frame of glTF's normal maps: along the tangent (+u), the bitangent
    (+v, up) and the smooth normal. (0, 0, 1) where nothing is displaced, and off the charts.

    The displaced surface p + d n has, to first order in d, the normal n - ∇d, where ∇d is the gradient on the surface
    (Blinn 1978, "Simulation of wrinkled surfaces"). ``displacement`` and ``vertices`` in mm. Raises InputError when
    the head has no UV chart.
    """
    if topology.uv is None or topology.uv_triangles is None:
        raise InputError("a normal map needs a head with a UV chart.")
    uv, uv_triangles = torch.from_numpy(topology.uv), torch.from_numpy(topology.uv_triangles)
    chart = rasterize_uv(uv, uv_triangles, (displacement.shape[0], displacement.shape[1]))
    inside = chart.mask[0]
    along_u, along_v = _directions(vertices, topology, uv, uv_triangles)
    frame = interpolate(torch.cat([along_u, along_v], 1)[None], uv_triangles, chart)[0][inside]
    normals = vertex_normals(vertices, topology.triangles_tensor)
    normal = functional.normalize(interpolate(normals[None], topology.triangles_tensor, chart)[0][inside], dim=-1)
    slope = _slope(displacement, inside)[:, inside].T
    gradient = _on_surface(slope, frame[:, :3], frame[:, 3:])
    tangent = functional.normalize(frame[:, :3] - (frame[:, :3] * normal).sum(-1, keepdim=True) * normal, dim=-1)
    sign = torch.sign((torch.linalg.cross(normal, tangent) * frame[:, 3:]).sum(-1, keepdim=True))
    bitangent = sign * torch.linalg.cross(normal, tangent)
    turned = torch.stack([-(gradient * tangent).sum(-1), -(gradient * bitangent).sum(-1)], -1)
    result = displacement.new_zeros(3, *displacement.shape)
    result[2] = 1
    result[:, inside] = functional.normalize(functional.pad(turned, (0, 1), value=1.0), dim=-1).T
    return result


def normals_to_picture(normals: Float[Tensor, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Normals as glTF stores them: -1 … 1 as 0 … 255, (0, 0, 1) as (128, 128, 255)."""
    return (normals.permute(1, 2, 0) * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()


def _directions(
    vertices: Float[Tensor, "V 3"], topology: Topology, uv: Tensor, uv_triangles: Tensor
) -> tuple[Float[Tensor, "U 3"], Float[Tensor, "U 3"]]:
    """By how many mm the surface goes on for a unit of u and of v, at the chart's points: the mean of the triangles
    about them, weighted by their area in the chart."""
    a, b, c = (vertices[topology.triangles_tensor[:, k]] for k in range(3))
    p, q, r = (uv[uv_triangles[:, k]] for k in range(3))
    (u1, v1), (u2, v2) = (q - p).unbind(-1), (r - p).unbind(-1)
    area = u1 * v2 - u2 * v1
    along_u = v2[:, None] * (b - a) - v1[:, None] * (c - a)
    along_v = u1[:, None] * (c - a) - u2[:, None] * (b - a)
    total = torch.zeros(len(uv), 7)
    summed = torch.cat([along_u, along_v, area[:, None]], 1)
    for corner in range(3):
        total = total.index_add(0, uv_triangles[:, corner], summed)
    size = torch.where(total[:, 6:].abs() > 1e-12, total[:, 6:], 1.0)
    return total[:, :3] / size, total[:, 3:6] / size


def _slope(displacement: Float[Tensor, "H W"], inside: Tensor) -> Float[Tensor, "2 H W"]:
    """Derivatives by u and v (mm a unit); a side that is off the chart counts as level."""
    height, width = displacement.shape
    result = []
    for axis, per_unit in ((1, width), (0, -height)):
        ahead, behind = displacement.roll(-1, axis), displacement.roll(1, axis)
        ahead = torch.where(inside.roll(-1, axis), ahead, displacement)
        behind = torch.where(inside.roll(1, axis), behind, displacement)
        result.append((ahead - behind) / 2 * per_unit)
    return torch.stack(result)


def _on_surface(
    slope: Float[Tensor, "N 2"], along_u: Float[Tensor, "N 3"], along_v: Float[Tensor, "N 3"]
) -> Float[Tensor, "N 3"]:
    """The gradient as a vector of the surface: G⁻¹ slope in the basis along_u, along_v, G their products."""
    guu, guv, gvv = (along_u**2).sum(-1), (along_u * along_v).sum(-1), (along_v**2).sum(-1)
    determinant = (guu * gvv - guv * guv).clamp_min(1e-6)
    in_u = (gvv * slope[:, 0] - guv * slope[:, 1]) / determinant
    in_v = (guu * slope[:, 1] - guv * slope[:, 0]) / determinant
    return in_u[:, None] * along_u + in_v[:, None] * along_v
