"""Skin's colour: the split from light is consistent, follows its evidence, and zones are found again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.appearance.anatomy import Zones
from likeness.appearance.skin import (
    DARKEST,
    LIGHTEST,
    Skin,
    WhiteClue,
    average_zones,
    fit_zones,
    split_light_and_skin,
    with_brows,
)

tones = st.floats(0.05, 1.0)
levels = st.floats(0.3, 1.5)


def skin_of_tone(tone: float) -> torch.Tensor:
    return LIGHTEST * (DARKEST / LIGHTEST) ** tone


def random_zones(n: int) -> Zones:
    generator = torch.Generator().manual_seed(0)
    return Zones(**{name: torch.rand(n, generator=generator) for name in Zones.__dataclass_fields__})


@given(tone=tones, level=levels)
@settings(deadline=None)
def test_light_times_skin_is_the_colour_that_was_seen(tone, level):
    colour = skin_of_tone(tone) * level
    albedo, light = split_light_and_skin(colour)
    torch.testing.assert_close(albedo * light, colour)
    assert albedo.min() > 0 and albedo.max() < 1


@given(level=levels, low=tones, high=tones)
@settings(deadline=None)
def test_under_one_light_darker_skin_is_found_darker(level, low, high):
    low, high = sorted((low, high))
    lighter, darker = (split_light_and_skin(skin_of_tone(tone) * level)[0] for tone in (low, high))
    assert darker[1] <= lighter[1] + 1e-6


@pytest.mark.parametrize(("tone", "tolerance"), [(0.1, 0.2), (0.4, 0.2), (0.8, 0.35)])
def test_skin_in_a_well_exposed_neutral_photo_is_found(tone, tolerance):
    """In logs of green, of which the whole range of skins is 1.9."""
    albedo, _ = split_light_and_skin(skin_of_tone(tone))
    assert abs(float((albedo / skin_of_tone(tone)).log()[1])) < tolerance


def test_white_eyes_tell_dim_light_from_dark_skin():
    colour = skin_of_tone(0.2) * 0.35
    bright_eyes, dim_eyes = (WhiteClue(torch.full((3,), 0.41 * level)) for level in (1.0, 0.35))
    in_bright, in_dim = (split_light_and_skin(colour, white)[0] for white in (bright_eyes, dim_eyes))
    assert in_dim[1] > 1.25 * in_bright[1]


def test_zones_are_found_again_and_unseen_ones_keep_their_average():
    zones = random_zones(4000)
    truth = average_zones() + torch.tensor([[0.2, -0.1], [0.05, 0.0], [0.0, 0.15], [0.0, -0.1], [0.1, 0.0]])
    relative = Skin(torch.ones(3), truth).relative(zones).log()
    found = fit_zones(zones, relative, torch.ones(4000))
    # Priors pull a little.
    torch.testing.assert_close(found, truth, atol=0.06, rtol=0)
    nothing = fit_zones(zones, relative, torch.zeros(4000))
    torch.testing.assert_close(nothing, average_zones())


def test_brows_are_darker_and_the_rest_stays():
    albedo = skin_of_tone(0.3).expand(3, 3)
    drawn = with_brows(albedo, torch.tensor([0.0, 0.5, 1.0]), 1.0)
    torch.testing.assert_close(drawn[0], albedo[0])
    assert (drawn[2] < drawn[1]).all() and (drawn[1] < drawn[0]).all()
    torch.testing.assert_close(with_brows(albedo, torch.ones(3), 0.0), albedo)
