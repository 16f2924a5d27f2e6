"""Light: the basis is orthonormal, shading is the integral it stands for, and the fit finds what made the picture."""

import math

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness import lighting

seeds = st.integers(0, 2**32 - 1)


def random_directions(generator, *shape):
    return torch.nn.functional.normalize(torch.randn(*shape, 3, generator=generator, dtype=torch.float64), dim=-1)


def sphere_quadrature(n=24):
    """Directions and solid angles that integrate polynomials of degree < 2n exactly."""
    z, w = np.polynomial.legendre.leggauss(n)
    phi = (np.arange(2 * n) + 0.5) * np.pi / n
    s = np.sqrt(1 - z**2)
    directions = np.stack([np.outer(s, np.cos(phi)), np.outer(s, np.sin(phi)), np.outer(z, np.ones(2 * n))], -1)
    return torch.from_numpy(directions.reshape(-1, 3)), torch.from_numpy(np.repeat(w, 2 * n) * np.pi / n)


def test_basis_is_orthonormal():
    directions, solid_angle = sphere_quadrature()
    basis = lighting.sh_basis(directions)
    gram = basis.T @ (basis * solid_angle[:, None])
    assert torch.allclose(gram, torch.eye(9, dtype=torch.float64), atol=1e-12)


def test_shading_is_the_cosine_weighted_mean_of_the_light():
    generator = torch.Generator().manual_seed(0)
    sh = torch.randn(1, 9, 1, generator=generator, dtype=torch.float64)
    normals = random_directions(generator, 1, 5)
    directions, solid_angle = sphere_quadrature(200)  # the horizon is a kink, so many points
    radiance = lighting.sh_basis(directions) @ sh[0, :, 0]
    cosine = (normals[0] @ directions.T).clamp_min(0)
    expected = (cosine * radiance * solid_angle).sum(-1) / math.pi
    assert torch.allclose(lighting.shading(normals, sh)[0, :, 0], expected, atol=1e-3)


def test_uniform_light_is_the_same_everywhere():
    normals = random_directions(torch.Generator().manual_seed(1), 2, 4, 5)
    sh = lighting.ambient_light(torch.tensor([[0.2, 0.5, 1.0]], dtype=torch.float64))
    shade = lighting.shading(normals, sh)
    assert shade.shape == (2, 4, 5, 3)
    assert torch.allclose(shade, torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64).expand_as(shade))


@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_turning_the_normals_keeps_the_light_in_the_family(seed):
    # Order by order, a turned light is again spherical harmonics: a fit to turned normals is exact.
    generator = torch.Generator().manual_seed(seed)
    normals = random_directions(generator, 1, 60)
    sh = torch.randn(1, 9, 1, generator=generator, dtype=torch.float64)
    rotation = roma.rotvec_to_rotmat(torch.randn(3, generator=generator, dtype=torch.float64))
    target = lighting.shading(normals @ rotation.T, sh)
    basis = lighting.irradiance_basis(normals)[0]
    solution = torch.linalg.lstsq(basis, target[0]).solution
    assert torch.allclose(basis @ solution, target[0], atol=1e-9)


@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_the_fit_finds_the_light_that_made_the_picture(seed):
    generator = torch.Generator().manual_seed(seed)
    normals = random_directions(generator, 2, 200)
    albedo = torch.rand(2, 200, 3, generator=generator, dtype=torch.float64) + 0.1
    sh = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64) * 0.3
    sh[:, 0] = sh[:, 0].abs() + 0.01
    weights = torch.rand(2, 200, generator=generator, dtype=torch.float64)
    pixels = albedo * lighting.shading(normals, sh)
    spoiled = weights < 0.3
    pixels[spoiled] = 77.0
    found = lighting.fit_light(normals, albedo, pixels, weights=weights * ~spoiled, ridge=1e-9)
    assert torch.allclose(found, sh, atol=1e-5)


@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_uniform_part_is_never_negative_and_the_bound_solution_is_the_best(seed):
    generator = torch.Generator().manual_seed(seed)
    normals = random_directions(generator, 1, 100)
    albedo = torch.ones(1, 100, 1, dtype=torch.float64)
    sh = torch.randn(1, 9, 1, generator=generator, dtype=torch.float64)
    sh[:, 0] = -sh[:, 0].abs() - 0.1
    pixels = lighting.shading(normals, sh)
    ridge = 1e-3
    found = lighting.fit_light(normals, albedo, pixels, ridge=ridge)
    assert (found[:, 0] == 0).all()

    def cost(light):
        return ((pixels - lighting.shading(normals, light)) ** 2).mean() + ridge * (light[:, 1:] ** 2).sum()

    for _ in range(10):
        other = found + 1e-3 * torch.randn(found.shape, generator=generator, dtype=torch.float64)
        other[:, 0] = other[:, 0].abs()
        assert cost(found) <= cost(other)


def test_fit_without_any_weight_is_dark_and_finite():
    normals = random_directions(torch.Generator().manual_seed(2), 1, 10).float()
    found = lighting.fit_light(normals, torch.ones(1, 10, 3), torch.ones(1, 10, 3), weights=torch.zeros(1, 10))
    assert (found == 0).all()


def test_frontal_normals_alone_do_not_run_away():
    # All normals alike: only their sum is seen; the ridge keeps what is not seen small.
    normals = torch.tensor([0.0, 0.0, 1.0]).expand(1, 50, 3)
    found = lighting.fit_light(normals, torch.ones(1, 50, 1), torch.full((1, 50, 1), 0.5))
    assert torch.allclose(lighting.shading(normals, found), torch.tensor(0.5), atol=1e-3)
    assert found.abs().max() < 2.5


def test_gradients():
    generator = torch.Generator().manual_seed(3)
    normals = random_directions(generator, 1, 30)
    albedo = torch.rand(1, 30, 2, generator=generator, dtype=torch.float64) + 0.2
    pixels = torch.rand(1, 30, 2, generator=generator, dtype=torch.float64)
    inputs = (normals.requires_grad_(), albedo.requires_grad_(), pixels.requires_grad_())
    assert torch.autograd.gradcheck(lighting.fit_light, inputs, fast_mode=True)


@given(st.floats(0, 1))
def test_srgb_round_trip(value):
    colour = torch.tensor(value, dtype=torch.float64)
    assert lighting.linear_to_srgb(lighting.srgb_to_linear(colour)).item() == pytest.approx(value, abs=1e-6)


def test_srgb_of_middle_grey():
    assert lighting.srgb_to_linear(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-4)


def test_light_on_a_ball_is_the_mean_over_its_visible_disc():
    generator = torch.Generator().manual_seed(4)
    sh = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    directions, solid_angle = sphere_quadrature(200)
    towards_camera = (-directions[:, 2]).clamp_min(0)  # +z points away from the camera
    weights = solid_angle * towards_camera / math.pi
    expected = (weights[:, None] * lighting.shading(directions[None], sh[None])[0]).sum(0)
    assert torch.allclose(lighting.light_on_facing(sh), expected, atol=1e-4)


def test_what_the_pixels_cannot_say_is_taken_from_the_light_it_is_drawn_towards():
    generator = torch.Generator().manual_seed(5)
    near = torch.randn(1, 9, 1, generator=generator, dtype=torch.float64)
    near[:, 0] = 3.0
    front = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(1, 20, 3)
    albedo = torch.ones(1, 20, 1, dtype=torch.float64)
    pixels = lighting.shading(front, near)
    found = lighting.fit_light(front, albedo, pixels, towards=near, ridge=1e-3)
    assert torch.allclose(found, near, atol=1e-6)
