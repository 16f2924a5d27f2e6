"""Key maps from several photos: the truth comes back where it was seen, the prior stays where it was not."""

from __future__ import annotations

import pytest
import torch

from likeness.detail import solve_detail_maps
from likeness.errors import InputError


@pytest.fixture
def known():
    generator = torch.Generator().manual_seed(3)
    static, keys = torch.randn(12, 9, generator=generator), torch.randn(2, 12, 9, generator=generator)
    activations = [{"frown": 0.0}, {"frown": 1.0}, {"smile": 1.0}, {"smile": 0.5, "frown": 0.7}, {"smile": 0.2}]
    maps = [static + a.get("frown", 0) * keys[0] + a.get("smile", 0) * keys[1] for a in activations]
    return static, keys, activations, torch.stack(maps)


def test_the_maps_come_back(known):
    static, keys, activations, maps = known
    found = solve_detail_maps(maps, torch.ones_like(maps), activations)
    assert found.names == ("frown", "smile")
    # The ridge draws keys of standard deviation 1 to 0 by some percent.
    assert (found.static - static).abs().max() < 0.25
    assert (found.keys - keys).square().mean().sqrt() < 0.12
    torch.testing.assert_close(found.relief({"frown": 1.0}), found.static + found.keys[0])
    assert (found.relief(activations[3]) - maps[3]).square().mean().sqrt() < 0.12


def test_what_no_photo_shows_keeps_the_prior(known):
    _, _, activations, maps = known
    seen = torch.ones_like(maps)
    seen[:, :4] = 0
    prior = torch.full((2, 12, 9), 0.25)
    spoiled = maps.clone()
    spoiled[:, :4] = 99.0
    found = solve_detail_maps(spoiled, seen, activations, prior=prior)
    assert torch.equal(found.keys[:, :4], prior[:, :4]) and not found.static[:4].any()
    assert found.certainty[0, 0] == 0 and found.certainty[6, 0] == len(maps)


def test_a_photo_that_is_not_trusted_counts_for_nothing(known):
    static, _, activations, maps = known
    seen = torch.ones_like(maps)
    seen[4] = 0
    wrong = maps.clone()
    wrong[4] = 50.0
    found = solve_detail_maps(wrong, seen, activations)
    assert (found.static - static).abs().max() < 0.3


def test_keys_act_in_their_region(known):
    _, _, activations, maps = known
    region = torch.ones(2, 12, 9)
    region[0, :, 5:] = 0
    found = solve_detail_maps(maps, torch.ones_like(maps), activations, region=region)
    assert not found.keys[0, :, 5:].any() and found.keys[0, :, :5].any()


def test_numbers_must_agree(known):
    _, _, activations, maps = known
    with pytest.raises(InputError, match="as many"):
        solve_detail_maps(maps, torch.ones_like(maps), activations[:2])
    with pytest.raises(InputError, match="a map for each"):
        solve_detail_maps(maps, torch.ones_like(maps), activations, prior=torch.zeros(3, 12, 9))
