"""The relief solver: minimises what it says, undoes what made the shading."""

from __future__ import annotations

from dataclasses import replace

import torch

from likeness.detail.solver import Shading, solve_relief


def bumps(n=96):
    y, x = torch.meshgrid(torch.arange(n) * 1.0, torch.arange(n) * 1.0, indexing="ij")
    return 0.3 * torch.exp(-((y - 48) ** 2) / 18 - ((x - 40) ** 2) / 800)


def shading_of(relief, slope_x, slope_y, hollow=0.18):
    wide = torch.nn.functional.pad(relief, (1, 1, 1, 1))
    dx, dy = (wide[1:-1, 2:] - wide[1:-1, :-2]) / 2, (wide[2:, 1:-1] - wide[:-2, 1:-1]) / 2
    one = torch.ones_like(relief)
    shade = slope_x * dx + slope_y * dy + hollow * relief
    return Shading(shade, one, slope_x * one, slope_y * one, 0.4 * one, 0.4 * one)


def solve(problem, **options):
    return solve_relief(problem, **({"noise": 0.0, "finest_mm": 0.5} | options))


def test_it_undoes_its_own_shading():
    relief = bumps()
    found = solve(shading_of(relief, 0.4, 1.2))
    assert (found - relief).square().mean().sqrt() < 0.2 * relief.square().mean().sqrt()


def test_light_from_the_other_side_gives_the_same_relief():
    relief = bumps()
    one, other = solve(shading_of(relief, 0.4, 1.2)), solve(shading_of(relief, -0.4, -1.2))
    torch.testing.assert_close(one, other, atol=0.05, rtol=0)


def test_noise_draws_relief_to_nothing():
    problem = shading_of(bumps(), 0.4, 1.2)
    sure, doubtful = solve(problem), solve(problem, noise=1.0)
    assert doubtful.abs().max() < 0.5 * sure.abs().max()


def test_what_is_not_trusted_says_nothing():
    problem = shading_of(bumps(), 0.4, 1.2)
    blind = replace(problem, shade=torch.full_like(problem.shade, 5.0), weight=0 * problem.weight)
    assert not solve(blind).any()


def test_more_steps_change_little():
    problem = shading_of(bumps(), 0.3, 0.8)
    few, many = solve(problem), solve(problem, n_iterations=200)
    assert (few - many).square().mean().sqrt() < 0.06 * many.square().mean().sqrt()
