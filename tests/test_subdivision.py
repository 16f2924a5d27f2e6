"""Subdivision: what it keeps, what it rounds, and that UVs come along."""

import pytest
import torch
import trimesh

from likeness.meshes import boundary_edges, face_normals, quads_to_triangles, unique_edges
from likeness.subdivision import subdivide

SCHEMES = pytest.mark.parametrize("scheme", ["midpoint", "loop"])


def box():
    mesh = trimesh.creation.box()
    return torch.tensor(mesh.vertices), torch.tensor(mesh.faces)


def square():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    return vertices, quads_to_triangles(torch.tensor([[0, 1, 2, 3]]))


@SCHEMES
@pytest.mark.parametrize("mesh", [box, square])
def test_counts_winding_and_border(scheme, mesh):
    vertices, triangles = mesh()
    n_edges = len(unique_edges(triangles)[0])
    finer = subdivide(triangles, len(vertices), scheme=scheme)
    new = finer.apply(vertices)
    assert len(new) == len(vertices) + n_edges
    assert len(finer.triangles) == 4 * len(triangles)
    assert len(boundary_edges(finer.triangles)) == 2 * len(boundary_edges(triangles))
    parents = face_normals(vertices, triangles).repeat_interleave(4, 0)
    assert ((face_normals(new, finer.triangles) * parents).sum(-1) > 0.5).all()


@SCHEMES
def test_weights_are_a_mean(scheme):
    vertices, triangles = box()
    weights = subdivide(triangles, len(vertices), scheme=scheme).weights.to_dense()
    assert torch.allclose(weights.sum(-1), torch.ones(len(weights)), atol=1e-6)
    assert (weights >= 0).all()


def test_midpoint_keeps_the_surface_and_children_lie_in_their_parents():
    vertices, triangles = box()
    finer = subdivide(triangles, len(vertices), scheme="midpoint")
    new = finer.apply(vertices)
    assert torch.equal(new[: len(vertices)], vertices)
    children = new[finer.triangles].view(len(triangles), 4, 3, 3)
    for corner in range(3):
        assert torch.equal(children[:, corner, corner], vertices[triangles][:, corner])
    # The middle one has the parent's centroid.
    assert torch.allclose(children[:, 3].mean(-2), vertices[triangles].mean(-2))


def test_loop_is_what_trimesh_computes():
    vertices, triangles = box()
    expected, _ = trimesh.remesh.subdivide_loop(vertices.numpy(), triangles.numpy(), iterations=1)
    new = subdivide(triangles, len(vertices), scheme="loop").apply(vertices)
    distance = torch.cdist(new, torch.from_numpy(expected))
    assert len(new) == len(expected)
    assert distance.min(0).values.max() < 1e-6 and distance.min(1).values.max() < 1e-6


def test_loop_border_is_a_curve_of_its_own():
    vertices, triangles = square()
    new = subdivide(triangles, 4, scheme="loop").apply(vertices)
    # A corner: 3/4 of itself and 1/8 of either neighbour along the border.
    expected = 0.75 * vertices[0] + 0.125 * (vertices[1] + vertices[3])
    assert torch.allclose(new[0], expected, atol=1e-6)


def test_uv_stay_row_for_row_with_the_triangles():
    vertices, triangles = square()
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 0.2], [0.8, 1], [0, 1]], dtype=torch.float64)
    uv_triangles = torch.tensor([[0, 1, 2], [3, 4, 5]])  # a seam along the diagonal
    finer = subdivide(triangles, 4, scheme="midpoint")
    finer_uv = subdivide(uv_triangles, 6, scheme="midpoint")
    new, new_uv = finer.apply(vertices), finer_uv.apply(uv)
    for t in range(2):
        # Affine from a parent's positions to its UVs; the children must obey the same map.
        parent = torch.cat([vertices[triangles[t]][:, :2], torch.ones(3, 1, dtype=torch.float64)], -1)
        affine = torch.linalg.solve(parent, uv[uv_triangles[t]])
        corners = new[finer.triangles[4 * t : 4 * t + 4]].view(-1, 3)
        mapped = torch.cat([corners[:, :2], torch.ones(12, 1, dtype=torch.float64)], -1) @ affine
        assert torch.allclose(new_uv[finer_uv.triangles[4 * t : 4 * t + 4]].view(-1, 2), mapped, atol=1e-6)


def test_batches_and_gradients():
    _, triangles = square()
    finer = subdivide(triangles, 4, scheme="loop")
    values = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert finer.apply(values).shape == (2, 3, 9, 5)
    assert torch.allclose(finer.apply(values)[1, 2], finer.apply(values[1, 2]))
    assert torch.autograd.gradcheck(finer.apply, values)
