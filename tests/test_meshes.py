"""Mesh operations, against plain loops and against what geometry says."""

import math

import numpy as np
import pytest
import roma
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness import meshes


def icosphere(levels=2, radius=1.0):
    mesh = trimesh.creation.icosphere(subdivisions=levels, radius=radius)
    return torch.tensor(mesh.vertices), torch.tensor(mesh.faces)


def sheet(n=4):
    """An n × n grid of squares in the plane, seen from +z; its border is a border."""
    y, x = torch.meshgrid(torch.arange(n + 1.0), torch.arange(n + 1.0), indexing="ij")
    vertices = torch.stack([x, y, torch.zeros_like(x)], -1).reshape(-1, 3).double()
    i = torch.arange((n + 1) ** 2).view(n + 1, n + 1)
    quads = torch.stack([i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]], -1).reshape(-1, 4)
    return vertices, quads


def test_normals_of_a_sphere_point_outward():
    vertices, triangles = icosphere(3, radius=80.0)
    radial = vertices / 80
    assert ((meshes.vertex_normals(vertices, triangles) * radial).sum(-1) > 0.999).all()
    centres = torch.nn.functional.normalize(vertices[triangles].mean(1), dim=-1)
    # The triangles are not quite equilateral, so that they tilt a little.
    assert torch.allclose(meshes.face_normals(vertices, triangles), centres, atol=0.02)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_vertex_normals_agree_with_a_loop_and_turn_with_the_mesh(seed):
    generator = torch.Generator().manual_seed(seed)
    triangles = meshes.quads_to_triangles(sheet(2)[1])
    vertices = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    expected = torch.zeros_like(vertices)
    for image in range(2):
        for a, b, c in triangles.tolist():
            pa, pb, pc = vertices[image, [a, b, c]]
            for corner in (a, b, c):
                expected[image, corner] += torch.linalg.cross(pb - pa, pc - pa)
    expected = torch.nn.functional.normalize(expected, dim=-1)
    normals = meshes.vertex_normals(vertices, triangles)
    assert torch.allclose(normals, expected, atol=1e-9)
    rotation = roma.rotvec_to_rotmat(torch.randn(3, generator=generator, dtype=torch.float64))
    turned = meshes.vertex_normals(3 * vertices @ rotation.T + 5, triangles)
    assert torch.allclose(turned, normals @ rotation.T, atol=1e-6)


def test_normal_gradients_also_beside_degenerate_triangles():
    vertices = torch.randn(1, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    assert torch.autograd.gradcheck(lambda v: meshes.vertex_normals(v, triangles), vertices.requires_grad_())
    flat = torch.zeros(1, 3, 3, requires_grad=True)
    normals = meshes.vertex_normals(flat, torch.tensor([[0, 1, 2]]))
    normals.sum().backward()
    assert (normals == 0).all() and torch.isfinite(flat.grad).all()


def test_edges_neighbours_and_border_of_a_sheet():
    _, quads = sheet(4)
    triangles = meshes.quads_to_triangles(quads)
    edges, edge_of = meshes.unique_edges(triangles)
    assert len(edges) == 25 + len(triangles) - 1  # Euler: V - E + F = 1
    assert (edges[:, 0] < edges[:, 1]).all()
    neighbours = meshes.triangle_neighbours(triangles)
    for t, corners in enumerate(triangles.tolist()):
        for i in range(3):
            edge = {corners[i], corners[(i + 1) % 3]}
            assert set(edges[edge_of[t, i]].tolist()) == edge
            sharing = [s for s, other in enumerate(triangles.tolist()) if edge <= set(other) and s != t]
            assert neighbours[t, i] == (sharing[0] if sharing else -1)
    border = meshes.boundary_edges(triangles)
    assert len(border) == 16
    # Counter-clockwise round the sheet, each vertex left as often as reached.
    assert sorted(border[:, 0].tolist()) == sorted(border[:, 1].tolist())


def test_a_closed_mesh_has_no_border_and_a_fan_of_three_no_neighbours():
    _, triangles = icosphere(1)
    assert len(meshes.boundary_edges(triangles)) == 0
    assert (meshes.triangle_neighbours(triangles) >= 0).all()
    book = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    assert (meshes.triangle_neighbours(book) == -1).all()


def test_components():
    a, b = torch.tensor([[0, 1, 2], [2, 1, 3]]), torch.tensor([[5, 6, 7]])
    labels = meshes.connected_components(torch.cat([a, b]), 9)
    assert labels.tolist() == [0, 0, 0, 0, 1, 2, 2, 2, 3]


def test_uniform_laplacian_is_vertex_less_mean_of_neighbours():
    vertices, triangles = icosphere(1)
    laplacian = meshes.uniform_laplacian(triangles, len(vertices) + 1).to_dense().double()
    edges = meshes.unique_edges(triangles)[0].tolist()
    for v in (0, 17, 41):
        ring = [b if a == v else a for a, b in edges if v in (a, b)]
        expected = vertices[v] - vertices[ring].mean(0)
        assert torch.allclose(laplacian[v, :-1] @ vertices, expected, atol=1e-6)
    assert (laplacian[-1] == 0).all()


def test_cotangent_laplacian():
    vertices, triangles = icosphere(3)
    laplacian = meshes.cotangent_laplacian(vertices, triangles).to_dense()
    assert torch.allclose(laplacian, laplacian.T)
    assert torch.allclose(laplacian.sum(-1), torch.zeros(len(vertices), dtype=torch.float64), atol=1e-9)
    assert torch.linalg.eigvalsh(laplacian)[0] > -1e-9
    # Linear functions are harmonic in the plane …
    flat, quads = sheet(4)
    inner = [6, 7, 8, 11, 12, 13, 16, 17, 18]
    jitter = torch.rand(25, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat[:, :2] += 0.3 * jitter
    on_sheet = meshes.cotangent_laplacian(flat, meshes.quads_to_triangles(quads)).to_dense()
    assert torch.allclose((on_sheet @ flat)[inner], torch.zeros(9, 3, dtype=torch.float64), atol=1e-12)
    # … and the Dirichlet energy of a coordinate, over the unit sphere, is 8π/3.
    assert (vertices[:, 0] @ laplacian @ vertices[:, 0]).item() == pytest.approx(8 * math.pi / 3, rel=0.02)


def test_laplacian_of_a_mesh_with_a_triangle_without_area_is_finite():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]])
    laplacian = meshes.cotangent_laplacian(vertices, torch.tensor([[0, 1, 2], [0, 1, 3]]))
    assert torch.isfinite(laplacian.to_dense()).all()


def test_points_on_surface():
    vertices = torch.randn(2, 9, 4, dtype=torch.float64)
    triangles = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    weights = torch.tensor([[0.2, 0.3, 0.5], [1, 0, 0]])
    points = meshes.points_on_surface(vertices, triangles, torch.tensor([2, 1]), weights)
    expected = 0.2 * vertices[:, 6] + 0.3 * vertices[:, 7] + 0.5 * vertices[:, 8]
    assert torch.allclose(points[:, 0], expected, atol=1e-6)
    assert torch.allclose(points[:, 1], vertices[:, 3])


def test_split_seams_gives_every_corner_its_vertex_and_uv():
    rng = np.random.default_rng(0)
    triangles = torch.from_numpy(rng.integers(0, 10, (30, 3)))
    uv_triangles = torch.from_numpy(rng.integers(0, 14, (30, 3)))
    vertex, uv, split = meshes.split_seams(triangles, uv_triangles)
    assert torch.equal(vertex[split], triangles)
    assert torch.equal(uv[split], uv_triangles)
    assert len(set(zip(vertex.tolist(), uv.tolist(), strict=True))) == len(vertex)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_tangents_follow_u(mirror):
    vertices, quads = sheet(3)
    triangles = meshes.quads_to_triangles(quads)
    normals = meshes.vertex_normals(vertices, triangles)
    angle = 0.7
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]).double()
    uv = vertices[:, :2] @ turn.T * torch.tensor([0.2 * mirror, 0.2])
    tangents = meshes.tangents(vertices, normals, triangles, uv)
    along_u = torch.tensor([math.cos(angle), math.sin(angle), 0]).double() * mirror
    along_v = torch.tensor([-math.sin(angle), math.cos(angle), 0]).double()
    assert torch.allclose(tangents[:, :3], along_u.expand(16, 3), atol=1e-6)
    bitangent = torch.linalg.cross(normals, tangents[:, :3]) * tangents[:, 3:]
    assert torch.allclose(bitangent, along_v.expand(16, 3), atol=1e-6)


def test_tangents_are_unit_and_orthogonal_even_without_uv():
    vertices, triangles = icosphere(2)
    normals = meshes.vertex_normals(vertices, triangles)
    tangents = meshes.tangents(vertices, normals, triangles, torch.zeros(len(vertices), 2, dtype=torch.float64))
    assert torch.allclose(tangents[:, :3].norm(dim=-1), torch.ones(len(vertices), dtype=torch.float64))
    assert (tangents[:, :3] * normals).sum(-1).abs().max() < 1e-9
