"""Normal maps: as the geometry's own normals say, in glTF's frame."""

from __future__ import annotations

import numpy as np
import torch

from likeness.files.glb.tangents import vertex_tangents
from likeness.heads import load_head
from likeness.meshes import split_seams, vertex_normals
from likeness.normal_maps import normals_to_picture, tangent_normals
from likeness.topology import Topology


def plane(skew=0.0):
    """A rectangle of 40 × 20 mm in the plane of x and y, seen from +z, that wears the whole chart."""
    corners = torch.tensor([[0.0, 0, 0], [40, 0, 0], [40 + skew, 20, 0], [skew, 20, 0]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    return corners, Topology(triangles=triangles, uv=uv, uv_triangles=triangles)


def test_a_flat_map_points_straight_out():
    vertices, topology = plane()
    normals = tangent_normals(torch.full((8, 8), 0.7), vertices, topology)
    assert torch.equal(normals, torch.tensor([0.0, 0, 1])[:, None, None].expand(3, 8, 8))
    assert (normals_to_picture(normals) == (128, 128, 255)).all()


def test_a_slope_tilts_against_its_rise():
    """Rising to the right by 0.1 mm a mm, the surface looks to the left; rising upwards (v), downwards."""
    vertices, topology = plane()
    columns = (torch.arange(64) + 0.5) / 64 * 40
    rows = (1 - (torch.arange(32) + 0.5) / 32) * 20
    right = tangent_normals((0.1 * columns)[None].expand(32, 64), vertices, topology)[:, 16, 32]
    up = tangent_normals((0.2 * rows)[:, None].expand(32, 64), vertices, topology)[:, 16, 32]
    torch.testing.assert_close(right, torch.nn.functional.normalize(torch.tensor([-0.1, 0, 1]), dim=0))
    torch.testing.assert_close(up, torch.nn.functional.normalize(torch.tensor([0, -0.2, 1]), dim=0))


def test_a_skewed_chart_still_gives_the_surface_gradient():
    """u and v are not at right angles on the surface, but the frame of a normal map is."""
    vertices, topology = plane(skew=15.0)
    v = (1 - (torch.arange(64) + 0.5) / 64)[:, None].expand(64, 64)
    u = ((torch.arange(64) + 0.5) / 64)[None].expand(64, 64)
    x, y = 40 * u + 15 * v, 20 * v
    found = tangent_normals(0.05 * x + 0.08 * y, vertices, topology)[:, 32, 32]
    torch.testing.assert_close(found, torch.nn.functional.normalize(torch.tensor([-0.05, -0.08, 1]), dim=0))


def test_frames_agree_with_the_tangents_of_the_glb():
    """A normal map is read in the file's tangents: turned back by them, it is the displaced surface's normal."""
    head = load_head("open")
    rest = head.vertices(torch.zeros(1, head.n_identity))[0]
    topology = head.topology
    size = 512
    v = 1 - (torch.arange(size) + 0.5) / size
    bumps = (0.6 * torch.sin(60 * v))[:, None].expand(size, size) * torch.ones(size, size)
    normals = tangent_normals(bumps, rest, topology)
    vertex, point, triangles = split_seams(topology.triangles_tensor, torch.from_numpy(topology.uv_triangles))
    smooth = vertex_normals(rest, topology.triangles_tensor)[vertex]
    tangents = torch.from_numpy(
        vertex_tangents(rest[vertex].numpy(), smooth.numpy(), topology.uv[point], triangles.numpy())
    )
    face = torch.from_numpy(topology.region("cheeks"))[vertex]
    uv = torch.from_numpy(topology.uv)[point][face]
    texel = normals[:, ((1 - uv[:, 1]) * size).long(), (uv[:, 0] * size).long()].T
    n, t = smooth[face], tangents[face, :3]
    bitangent = tangents[face, 3:] * torch.linalg.cross(n, t)
    turned = texel[:, :1] * t + texel[:, 1:2] * bitangent + texel[:, 2:] * n
    # The slope along the surface's steepest way up the chart, by finite differences of the map.
    slope = 0.6 * 60 * torch.cos(60 * uv[:, 1])
    tilt = torch.atan2((turned - n * (turned * n).sum(1, keepdim=True)).norm(dim=1), (turned * n).sum(1))
    up = (turned * torch.tensor([0.0, 1.0, 0.0])).sum(1) - (n * torch.tensor([0.0, 1.0, 0.0])).sum(1)
    clear = slope.abs() > 10
    assert (torch.sign(up[clear]) == -torch.sign(slope[clear])).float().mean() > 0.99
    # About 190 mm of face a unit of v: 36 mm a unit are a tilt of about 0.19.
    assert 0.1 < float(tilt.max()) < 0.4
