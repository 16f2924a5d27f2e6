"""Light, skin and mask read out of photos in which all three are known."""

from functools import cache

import numpy as np
import torch

from likeness.appearance import Appearance, read_appearance
from likeness.appearance.glasses import wears_glasses
from likeness.appearance.photo_view import content_box
from likeness.lighting import light_on_facing
from lit_person import LitPerson, side_light, take_photo

SKIN = (0.45, 0.29, 0.22)


@cache
def person() -> LitPerson:
    return take_photo(side_light(level=0.8, tilt=0.7), SKIN)


@cache
def appearance() -> Appearance:
    return read_appearance(person().face, person().photo)


def test_light_comes_from_where_it_came():
    """The direction of the first-order light within 15°, and how strong it is from the side and above against the light
    on a ball. (From the front it may pass for light from everywhere: only the front of a head is seen.)"""
    truth, found = side_light(level=0.8, tilt=0.7), appearance().light
    direction = [torch.nn.functional.normalize(light[[3, 1, 2]].mean(1), dim=0) for light in (truth, found)]
    assert float(direction[0] @ direction[1]) > np.cos(np.radians(15))
    lateral = [light[[3, 1]].mean(1) / light_on_facing(light).mean() for light in (truth, found)]
    torch.testing.assert_close(lateral[1], lateral[0], atol=0.25, rtol=0.1)


def test_light_times_skin_is_the_photo():
    seen = appearance()
    bare = (seen.confidence > 0.9) & (seen.view.zones.centre > 0.8)
    drawn = (seen.expected * seen.shading)[bare]
    # Self-shadows, which the painted photo lacks, are what remains at the nose.
    assert ((drawn - seen.view.colour[bare]).abs() / seen.view.colour[bare]).median() < 0.04


def test_the_bare_face_is_skin_to_the_mask_and_eyes_are_not():
    view = appearance().view
    front = (view.facing > 0.6) & (view.zones.centre > 0.7) & (view.part == 0) & (view.zones.eyes < 0.01)
    assert float(appearance().confidence[front].mean()) > 0.93
    assert float(appearance().confidence[view.part > 0].max()) == 0


def test_cloth_over_mouth_and_chin_is_no_skin():
    covered = person().photo.copy()
    points = person().face.landmarks("ibug68").image
    top, bottom = int(points[33, 1]) + 4, int(points[8, 1])
    left, right = int(points[4, 0]), int(points[12, 0])
    covered[top:bottom, left:right] = (210, 225, 240)
    seen = read_appearance(person().face, covered)
    crop = person().face.view.crop
    corners = crop.transform(torch.tensor([[[left + 5.0, top + 5.0], [right - 5.0, bottom - 5.0]]]))[0].long()
    patch = seen.mask[corners[0, 1] : corners[1, 1], corners[0, 0] : corners[1, 0]]
    assert float(patch.mean()) < 0.1
    # And the light is still the same.
    level = light_on_facing(seen.light) / light_on_facing(appearance().light)
    torch.testing.assert_close(level, torch.ones(3), atol=0.12, rtol=0)


def test_something_across_the_bridge_of_the_nose_is_glasses():
    assert not appearance().glasses
    worn = person().photo.copy()
    points = person().face.landmarks("ibug68").image
    row = int((points[39, 1] + points[42, 1]) / 2)
    worn[row - 3 : row + 3, int(points[36, 0]) - 8 : int(points[45, 0]) + 8] = 20
    seen = read_appearance(person().face, worn)
    assert seen.glasses and wears_glasses(seen.view, seen.confidence)


def test_letterbox_bars_are_no_photo():
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    assert content_box(picture) == (0, 60, 0, 80)
    picture[:10] = 0
    picture[:, 70:] = (3, 2, 5)
    # Two more pixels beside each bar are mixed with it.
    assert content_box(picture) == (12, 60, 0, 68)
    assert content_box(np.full((20, 30, 3), 7, np.uint8)) == (0, 20, 0, 30)


def test_two_runs_agree_to_the_bit():
    again = read_appearance(person().face, person().photo)
    assert torch.equal(again.light, appearance().light) and torch.equal(again.confidence, appearance().confidence)
