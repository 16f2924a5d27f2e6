"""Smoothing of maps that are known only in places."""

from __future__ import annotations

import pytest
import torch

from likeness.filters import gaussian_blur, smoothstep, weighted_blur


@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0, 15.0])
def test_a_point_becomes_a_gaussian_of_that_width(sigma):
    """Wide ones are taken on a coarser grid: their second moment must still be right, and their sum."""
    image = torch.zeros(1, 193, 193)
    image[0, 96, 96] = 1
    blurred = gaussian_blur(image, sigma)[0]
    across = torch.arange(193.0) - 96
    assert abs(float(blurred.sum()) - 1) < 1e-3
    for axis in (0, 1):
        marginal = blurred.sum(axis)
        centre = (marginal * across).sum()
        spread = ((across - centre) ** 2 * marginal).sum().sqrt()
        # Sampled on the pixel grid, and cut at three standard deviations.
        assert abs(float(centre)) < max(0.25 * sigma, 0.1)
        assert abs(float(spread) / sigma - 1) < 0.06


def test_unknown_places_do_not_count():
    generator = torch.Generator().manual_seed(0)
    image = torch.full((2, 40, 50), 3.0)
    weight = (torch.rand(40, 50, generator=generator) > 0.7).float()
    spoiled = torch.where(weight > 0, image, torch.tensor(1e6))
    torch.testing.assert_close(weighted_blur(spoiled * (weight > 0), weight, 2.0), image, rtol=1e-3, atol=1e-3)


def test_nothing_known_gives_nothing():
    assert not weighted_blur(torch.ones(1, 8, 8), torch.zeros(8, 8), 1.0).any()


def test_steps_rise_and_fall():
    values = torch.linspace(-1, 2, 31)
    up, down = smoothstep(values, 0.0, 1.0), smoothstep(values, 1.0, 0.0)
    assert up[0] == 0 and up[-1] == 1 and (up.diff() >= 0).all()
    torch.testing.assert_close(down, 1 - up)
