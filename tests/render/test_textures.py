"""Textures: where (0, 0) is, and that baking and sampling undo each other."""

import numpy as np
import pytest
import torch

from likeness.render import interpolate, rasterize_uv, sample_texture


def test_origin_is_the_bottom_left_corner():
    texture = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    uv = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]]])
    assert sample_texture(texture, uv)[0, :, 0].tolist() == [3.0, 4.0, 1.0, 2.0, 2.5]


def test_shapes_and_one_texture_for_many():
    texture = torch.rand(1, 3, 8, 16)
    assert sample_texture(texture, torch.rand(4, 5, 6, 2)).shape == (4, 5, 6, 3)


def test_gradients():
    texture = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    # Away from texel centres, where bilinear interpolation has a kink.
    uv = (
        0.1 + 0.8 * torch.rand(1, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ).requires_grad_()
    assert torch.autograd.gradcheck(sample_texture, (texture, uv), eps=1e-7)


def test_a_texel_finds_its_own_place():
    uv = torch.tensor([[0.1, 0.2], [0.9, 0.15], [0.8, 0.95], [0.15, 0.7]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    fragments = rasterize_uv(uv, triangles, (40, 60))
    place = interpolate(uv, triangles, fragments)[0]
    row, column = torch.nonzero(fragments.mask[0], as_tuple=True)
    assert len(row) > 1000
    assert torch.allclose(place[row, column, 0], (column + 0.5) / 60, atol=1e-5)
    assert torch.allclose(place[row, column, 1], 1 - (row + 0.5) / 40, atol=1e-5)


def test_baked_colours_are_read_back():
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    colours = uv @ torch.tensor([[0.3, 0.5, 0.1], [0.4, 0.1, 0.2]])  # linear, so that bilinear reading is exact
    texture = interpolate(colours, triangles, rasterize_uv(uv, triangles, (32, 32))).permute(0, 3, 1, 2)
    somewhere = torch.from_numpy(np.random.default_rng(0).uniform(0.05, 0.95, (1, 50, 2)).astype(np.float32))
    expected = somewhere @ torch.tensor([[0.3, 0.5, 0.1], [0.4, 0.1, 0.2]])
    assert torch.allclose(sample_texture(texture, somewhere), expected, atol=1e-5)


def test_overlap_goes_to_the_lower_index():
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    fragments = rasterize_uv(uv, torch.tensor([[0, 2, 1], [0, 1, 2]]), (8, 8))
    assert set(fragments.triangle.unique().tolist()) == {-1, 0}
    assert fragments.depth[fragments.mask].abs().max().item() == pytest.approx(0)
