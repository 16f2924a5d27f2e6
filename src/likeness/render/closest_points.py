"""The point of a mesh that is closest to a given one, by Warp's bounding-volume hierarchy."""

# No `from __future__ import annotations`: Warp reads the argument types of a kernel at run time, and
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false

from dataclasses import dataclass

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import InputError
from likeness.render.warp_runtime import start_warp, torch_stream

wp.set_module_options({"enable_backward": False})


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points of a surface: the triangle each lies in and its barycentric weights there.

    `likeness.meshes.points_on_surface` makes positions of them, one image of the batch at a time.
    """

    triangle: Int[Tensor, "B N"]
    barycentric: Float[Tensor, "B N 3"]
    distance: Float[Tensor, "B N"]


def closest_points(
    points: Float[Tensor, "B N 3"], vertices: Float[Tensor, "B V 3"], triangles: Int[Tensor, "T 3"]
) -> SurfacePoints:
    """For every point the closest on the mesh with the same place in the batch; `distance` in the points' unit.

    Not differentiable in itself: take the positions from `points_on_surface` under autograd.
    Raises `InputError` for a mesh without triangles.
    """
    if len(triangles) == 0:
        raise InputError("There is no closest point on a mesh without triangles.")
    start_warp()
    device = points.device
    corners = triangles.to(device=device, dtype=torch.int32).contiguous()
    found = torch.empty(points.shape[:2], dtype=torch.int32, device=device)
    weights = torch.empty(points.shape, dtype=torch.float32, device=device)
    distance = torch.empty(points.shape[:2], dtype=torch.float32, device=device)
    with torch_stream(device):
        for image in range(len(points)):
            mesh_vertices = vertices[image].detach().to(torch.float32).contiguous()
            mesh = wp.Mesh(points=wp.from_torch(mesh_vertices, dtype=wp.vec3), indices=wp.from_torch(corners.flatten()))
            query = points[image].detach().to(torch.float32).contiguous()
            wp.launch(
                _find_closest,
                dim=points.shape[1],
                inputs=[mesh.id, wp.from_torch(query, dtype=wp.vec3)],
                outputs=[
                    wp.from_torch(found[image]),
                    wp.from_torch(weights[image], dtype=wp.vec3),
                    wp.from_torch(distance[image]),
                ],
                device=wp.device_from_torch(device),
            )
    return SurfacePoints(found.long(), weights, distance)


@wp.kernel
def _find_closest(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    triangle: wp.array(dtype=wp.int32),
    barycentric: wp.array(dtype=wp.vec3),
    distance: wp.array(dtype=wp.float32),
):
    i = wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], wp.inf)
    triangle[i] = query.face
    barycentric[i] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
    distance[i] = wp.length(wp.mesh_eval_position(mesh, query.face, query.u, query.v) - points[i])
