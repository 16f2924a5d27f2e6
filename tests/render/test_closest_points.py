"""Closest points on a mesh, against trying every triangle."""

import pytest
import torch

from likeness.errors import InputError
from likeness.meshes import points_on_surface
from likeness.render import closest_points


def closest_naive(points, vertices, triangles):
    """Distance to every triangle by projecting on its plane and, where that falls outside, on its edges; float64."""
    a, b, c = (vertices[triangles[:, i]][None] for i in range(3))
    p = points[:, None]
    ab, ac, ap = b - a, c - a, p - a
    d11, d12, d22 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    e1, e2 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    det = d11 * d22 - d12 * d12
    v, w = (d22 * e1 - d12 * e2) / det, (d11 * e2 - d12 * e1) / det
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    plane = (a + v[..., None] * ab + w[..., None] * ac - p).norm(dim=-1)
    best = torch.where(inside, plane, torch.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        along = end - start
        t = (((p - start) * along).sum(-1) / (along * along).sum(-1)).clamp(0, 1)
        best = torch.minimum(best, (start + t[..., None] * along - p).norm(dim=-1))
    return best.min(-1).values


@pytest.mark.parametrize("seed", range(5))
def test_as_close_as_the_closest_of_all_triangles(seed):
    generator = torch.Generator().manual_seed(seed)
    vertices = 50 * torch.randn(2, 30, 3, generator=generator)
    triangles = torch.stack([torch.randperm(30, generator=generator)[:3] for _ in range(40)])
    points = 60 * torch.randn(2, 100, 3, generator=generator)
    found = closest_points(points, vertices, triangles)
    for image in range(2):
        expected = closest_naive(points[image].double(), vertices[image].double(), triangles)
        assert torch.allclose(found.distance[image].double(), expected, atol=1e-3)
        weights = found.barycentric[image]
        on_surface = points_on_surface(vertices[image], triangles, found.triangle[image], weights)
        assert torch.allclose((on_surface - points[image]).norm(dim=-1), found.distance[image], atol=1e-3)
        assert (weights > -1e-5).all() and torch.allclose(weights.sum(-1), torch.ones(100), atol=1e-5)


def test_a_point_of_the_surface_is_its_own_closest():
    generator = torch.Generator().manual_seed(9)
    vertices = 50 * torch.randn(1, 30, 3, generator=generator)
    triangles = torch.arange(30).view(-1, 3)
    weights = torch.full((10, 3), 1 / 3)
    points = points_on_surface(vertices, triangles, torch.arange(10), weights)
    found = closest_points(points, vertices, triangles)
    assert torch.allclose(found.distance, torch.zeros(1, 10), atol=1e-4)


def test_a_mesh_without_triangles_is_refused():
    with pytest.raises(InputError, match="without triangles"):
        closest_points(torch.zeros(1, 1, 3), torch.zeros(1, 3, 3), torch.zeros(0, 3, dtype=torch.int64))
