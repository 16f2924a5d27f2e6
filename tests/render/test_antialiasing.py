"""Silhouettes: their gradients are those of the area they enclose."""

import math

import pytest
import torch

from likeness.meshes import triangle_neighbours
from likeness.render import antialias, rasterize


def disc(centre, radius, n=48, depth=100.0):
    angles = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    rim = torch.stack([torch.cos(angles), -torch.sin(angles)], -1) * radius + torch.as_tensor(centre)
    vertices = torch.cat([torch.as_tensor(centre, dtype=torch.float64)[None], rim])
    vertices = torch.cat([vertices, torch.full((n + 1, 1), depth, dtype=torch.float64)], -1)
    index = torch.arange(n)
    return vertices, torch.stack([torch.zeros(n, dtype=torch.int64), index + 1, (index + 1) % n + 1], -1)


def coverage(vertices, triangles, size=(64, 64)):
    fragments = rasterize(vertices[None], triangles, size)
    picture = fragments.mask[..., None].to(vertices.dtype)
    return antialias(picture, fragments, vertices[None], triangles, triangle_neighbours(triangles))


def test_covered_area_and_its_gradient():
    centre = torch.tensor([31.3, 30.8], dtype=torch.float64)
    radius = torch.tensor(17.4, dtype=torch.float64, requires_grad=True)
    unit, triangles = disc([0.0, 0.0], 1.0)
    n = 48

    def area(radius):
        xy = unit[:, :2] * radius + centre
        return coverage(torch.cat([xy, unit[:, 2:]], -1), triangles).sum()

    polygon = 0.5 * n * math.sin(2 * math.pi / n)
    value = area(radius)
    value.backward()
    # The blend is exact for axis-parallel edges and a good approximation for slanted ones.
    assert value.item() == pytest.approx(polygon * 17.4**2, rel=0.01)
    assert radius.grad.item() == pytest.approx(2 * polygon * 17.4, rel=0.05)


def test_moving_right_moves_light_from_left_to_right():
    vertices, triangles = disc([30.2, 31.7], 15.0)
    vertices.requires_grad_()
    weight = torch.arange(64, dtype=torch.float64)[None, None, :, None] + 0.5
    moment = (coverage(vertices, triangles) * weight).sum()
    moment.backward()
    # d/dx of ∫ x over the disc, as it moves along x, is its area; along y, 0.
    area = 0.5 * 48 * math.sin(2 * math.pi / 48) * 15**2
    assert vertices.grad[:, 0].sum().item() == pytest.approx(area, rel=0.05)
    assert vertices.grad[:, 1].sum().item() == pytest.approx(0, abs=0.05 * area)


def test_the_picture_moves_continuously():
    vertices, triangles = disc([30.0, 30.0], 12.0)
    places = [vertices + torch.tensor([t, 0.3 * t, 0.0]) for t in torch.linspace(0, 2, 81).tolist()]
    smooth = torch.stack([coverage(place, triangles) for place in places])
    mask = torch.stack([rasterize(place[None], triangles, (64, 64)).mask for place in places])
    flips = (mask[1:] != mask[:-1]).sum()
    jumps = (smooth.diff(dim=0).abs() > 0.15).sum()
    # A step of 1/40 pixel should change a pixel by a few fortieths. What is left are corners of the outline at 45°,
    # where the edge on one side moves light along x and the other along y.
    assert flips > 80
    assert jumps < 0.12 * flips


def test_gradient_is_that_of_finite_differences():
    vertices, triangles = disc([8.13, 7.77], 5.3, n=7)
    weight = torch.rand(16, 16, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(v):
        return (coverage(v, triangles, (16, 16)) * weight).sum()

    vertices.requires_grad_()
    assert torch.autograd.gradcheck(loss, vertices, eps=1e-5, atol=1e-5)


def test_inner_edges_and_flat_colour_are_left_alone():
    vertices, triangles = disc([31.3, 30.8], 300.0)  # covers everything: no silhouette in sight
    fragments = rasterize(vertices[None], triangles, (64, 64))
    picture = torch.rand(1, 64, 64, 3, dtype=torch.float64)
    assert torch.equal(
        antialias(picture, fragments, vertices[None], triangles, triangle_neighbours(triangles)), picture
    )
    small, triangles = disc([31.3, 30.8], 10.0)
    fragments = rasterize(small[None], triangles, (64, 64))
    flat = torch.full((1, 64, 64, 3), 0.4, dtype=torch.float64)
    assert torch.allclose(antialias(flat, fragments, small[None], triangles, triangle_neighbours(triangles)), flat)


def test_a_nearer_surface_is_blended_over_a_farther_one():
    near, t_near = disc([32.0, 32.0], 10.3, depth=50.0)
    far, t_far = disc([32.0, 32.0], 100.0, depth=90.0)
    vertices, triangles = torch.cat([near, far]), torch.cat([t_near, t_far + len(near)])
    fragments = rasterize(vertices[None], triangles, (64, 64))
    is_near = (fragments.triangle < len(t_near))[..., None].double()
    blended = antialias(is_near, fragments, vertices[None], triangles, triangle_neighbours(triangles))
    assert ((blended > 0.01) & (blended < 0.99)).sum() > 30
    assert blended.sum().item() == pytest.approx(0.5 * 48 * math.sin(2 * math.pi / 48) * 10.3**2, rel=0.02)
