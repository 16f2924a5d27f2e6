"""Interpolation: values, and gradients against finite differences."""

import pytest
import torch

from likeness.render import interpolate, rasterize
from likeness.render.rasterization import Fragments


def scene(*, perspective=True, n_images=2, dtype=torch.float64):
    """Two triangles with a shared edge, in each image a little different."""
    generator = torch.Generator().manual_seed(0)
    base = torch.tensor([[1.0, 1, 80], [2, 14, 120], [13, 12, 100], [15, 2, 140]], dtype=dtype)
    noise = torch.rand(n_images, 4, 3, generator=generator, dtype=dtype)
    vertices = base + noise
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return vertices, triangles, rasterize(vertices, triangles, (16, 17), perspective=perspective)


@pytest.mark.parametrize("perspective", [True, False])
def test_recomputed_weights_are_the_rasterised_ones(perspective):
    vertices, triangles, fragments = scene(perspective=perspective)
    attributes = torch.rand(2, 4, 5, dtype=torch.float64)
    plain = interpolate(attributes, triangles, fragments)
    recomputed = interpolate(attributes, triangles, fragments, vertices_px=vertices)
    assert plain.shape == (2, 16, 17, 5)
    assert torch.allclose(plain, recomputed, atol=1e-5)  # float32 against float64
    assert (plain[~fragments.mask] == 0).all()


def test_depth_interpolates_to_the_depth_buffer():
    vertices, triangles, fragments = scene(dtype=torch.float32)
    depth = interpolate(vertices[..., 2:], triangles, fragments)[..., 0]
    assert torch.allclose(depth[fragments.mask], fragments.depth[fragments.mask], rtol=1e-6)


def test_screen_position_is_linear_without_perspective():
    vertices, triangles, fragments = scene(perspective=False, dtype=torch.float32)
    seen = interpolate(vertices[..., :2], triangles, fragments)
    y, x = torch.meshgrid(torch.arange(16) + 0.5, torch.arange(17) + 0.5, indexing="ij")
    expected = torch.stack([x, y], -1).expand_as(seen)
    assert torch.allclose(seen[fragments.mask], expected[fragments.mask], atol=1e-4)


def test_shared_attributes_serve_every_image():
    _, triangles, fragments = scene()
    attributes = torch.rand(4, 3, dtype=torch.float64)
    one_for_all = interpolate(attributes, triangles, fragments)
    assert torch.equal(one_for_all, interpolate(attributes.expand(2, 4, 3), triangles, fragments))
    assert torch.equal(one_for_all, interpolate(attributes[None], triangles, fragments))


def test_attributes_may_have_triangles_of_their_own():
    vertices, triangles, fragments = scene()
    uv = torch.rand(6, 2, dtype=torch.float64)
    uv_triangles = torch.tensor([[0, 1, 2], [3, 4, 5]])
    seen = interpolate(uv, uv_triangles, fragments, vertices_px=vertices, vertex_triangles=triangles)
    assert torch.allclose(seen, interpolate(uv, uv_triangles, fragments), atol=1e-5)


@pytest.mark.parametrize("perspective", [True, False])
def test_gradients(perspective):
    vertices, triangles, fragments = scene(perspective=perspective)
    attributes = torch.rand(2, 4, 2, dtype=torch.float64, requires_grad=True)
    vertices.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, v: interpolate(a, triangles, fragments, vertices_px=v), (attributes, vertices), fast_mode=True
    )


def test_nothing_seen_gives_zeros_and_zero_gradients():
    vertices, triangles, _ = scene()
    away = (vertices + 1000).requires_grad_()
    fragments = rasterize(away, triangles, (8, 8))
    assert isinstance(fragments, Fragments)
    result = interpolate(away, triangles, fragments, vertices_px=away)
    result.sum().backward()
    assert (result == 0).all()
    assert away.grad is not None and (away.grad == 0).all()
