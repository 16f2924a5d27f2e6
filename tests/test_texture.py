"""Albedo in the chart: what is painted comes back, what hides it stays out, what is unseen is completed."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from likeness.appearance.chart import ZONE_NAMES, chart_of, zone_maps
from likeness.errors import InputError
from likeness.lighting import srgb_to_linear
from likeness.texture import albedo_from_photo, albedo_from_photos
from lit_person import LitPerson, side_light, take_photo

SIZE = 256
LIGHT_SKIN, DARK_SKIN = (0.55, 0.37, 0.29), (0.16, 0.09, 0.06)


@cache
def person(skin=LIGHT_SKIN, yaw=0.0, mark=0.25) -> LitPerson:
    return take_photo(side_light(), skin, yaw=yaw, mark=mark)


def true_albedo(someone: LitPerson, skin, mark=0.25) -> torch.Tensor:
    """The painted albedo of the skin in every texel, linear (3, S, S)."""
    from likeness.appearance.anatomy import Zones
    from likeness.appearance.skin import Skin, average_zones

    head = someone.face.head
    chart = chart_of(head, SIZE)
    maps = torch.nn.functional.interpolate(zone_maps(head)[None], (SIZE, SIZE), mode="area")[0]
    zones = Zones(**dict(zip(ZONE_NAMES, maps[:, chart.inside], strict=True)))
    wave = torch.sin(chart.rest[:, 0] * 0.9) * torch.sin(chart.rest[:, 1] * 0.9)
    return chart.image(Skin(torch.tensor(skin), average_zones()).albedo(zones) * (1 + mark * wave)[:, None])


def cheek_texels(head, side: int) -> torch.Tensor:
    """(S, S) bool: the middle of a cheek."""
    chart = chart_of(head, SIZE)
    maps = torch.nn.functional.interpolate(zone_maps(head)[None], (SIZE, SIZE), mode="area")[0]
    cheek = (maps[ZONE_NAMES.index("cheeks")] > 0.4) & chart.inside
    x = chart.image(chart.rest[:, :1])[0]
    return cheek & (x * side > 0)


@pytest.mark.parametrize("skin", [LIGHT_SKIN, DARK_SKIN])
def test_painted_albedo_comes_back_whatever_the_side_light(skin):
    """The lit cheek is half again as bright as the other; the map must not know."""
    someone = take_photo(side_light(level=0.7, tilt=0.95), skin, mark=0.25)
    raw = srgb_to_linear(torch.from_numpy(someone.photo).float() / 255)
    left, right = (raw[150:250, 130:170].mean(), raw[150:250, 230:270].mean())
    assert left > 1.45 * right  # the premise
    albedo = srgb_to_linear(albedo_from_photo(someone.face, someone.photo, size=SIZE))
    truth = true_albedo(someone, skin)
    scale = None
    for side in (-1, 1):
        where = cheek_texels(someone.face.head, side)
        ratio = (albedo[:, where] / truth[:, where]).log()
        scale = ratio.mean(1) if scale is None else scale
        # Tone and light's level trade a little (nothing but priors tells them apart); sides and waves must not.
        torch.testing.assert_close(ratio.mean(1), scale, atol=0.12, rtol=0)
        assert ratio.std() < 0.12
        waves = np.corrcoef(albedo[1, where].numpy(), truth[1, where].numpy())[0, 1]
        assert waves > 0.85
    assert scale is not None and scale.abs().max() < 0.5


def test_dark_skin_in_bright_light_stays_dark_and_light_skin_in_dim_light_light():
    """Both cheeks are about equally bright in the photos: white eyes and the colour of the skin tell."""
    bright = take_photo(side_light(level=1.9, tilt=0.3), DARK_SKIN, mark=0.0)
    dim = take_photo(side_light(level=0.45, tilt=0.3), LIGHT_SKIN, mark=0.0)
    dark_albedo, light_albedo = (
        srgb_to_linear(albedo_from_photo(someone.face, someone.photo, size=SIZE)) for someone in (bright, dim)
    )
    where = cheek_texels(bright.face.head, 1)
    assert dark_albedo[:, where].mean() < 0.8 * light_albedo[:, where].mean()


def test_what_hides_the_cheek_stays_out_of_the_texture():
    someone = person()
    hidden = someone.photo.copy()
    hidden[200:240, 215:250] = (40, 70, 200)  # a blue note stuck on the subject's left cheek
    clean = albedo_from_photo(someone.face, someone.photo, size=SIZE)
    covered = albedo_from_photo(someone.face, hidden, size=SIZE)
    where = cheek_texels(someone.face.head, 1)
    blueness = covered[2, where] - covered[0, where]
    assert blueness.max() < 0  # no blue texel at all: skin is redder than blue everywhere
    assert (covered[:, where] - clean[:, where]).abs().mean() < 0.06


def test_the_unseen_side_is_the_other_sides_mirror_image():
    """At 50° the far cheek is not seen: it must wear the seen one's pattern, not a smooth filling."""
    someone = take_photo(side_light(tilt=0.2), LIGHT_SKIN, yaw=50.0, mark=0.0)
    spotted = someone.photo.copy()
    head = someone.face.head
    seen, unseen = (cheek_texels(head, side) for side in (-1, 1))
    albedo = albedo_from_photo(someone.face, spotted, size=SIZE)
    difference = (albedo[:, seen].mean(1) - albedo[:, unseen].mean(1)).abs()
    assert difference.max() < 0.04
    mirrored = albedo.flip(-1)
    both = seen | unseen
    assert (albedo - mirrored)[:, both].abs().mean() < 0.03


def test_several_photos_agree_on_one_skin_and_each_keeps_its_light():
    warm = take_photo(side_light(tint=(1.15, 1.0, 0.8)), LIGHT_SKIN, yaw=-30.0, mark=0.25)
    cool = take_photo(side_light(level=0.6, tint=(0.9, 1.0, 1.15)), LIGHT_SKIN, yaw=30.0, mark=0.25)
    faces, photos = [warm.face, cool.face], [warm.photo, cool.photo]
    albedo, lights = albedo_from_photos(faces, photos, size=SIZE)
    truth = true_albedo(warm, LIGHT_SKIN)
    for side in (-1, 1):
        where = cheek_texels(warm.face.head, side)
        ratio = (srgb_to_linear(albedo)[:, where] / truth[:, where]).log()
        assert ratio.std() < 0.12
    assert len(lights) == 2 and all(light.shape == (9, 3) and light[0].min() > 0 for light in lights)
    redder = lights[0][0, 0] / lights[0][0, 2], lights[1][0, 0] / lights[1][0, 2]
    # (1.15 / 0.8) / (0.9 / 1.15) = 1.84 times
    assert float(redder[0] / redder[1]) == pytest.approx(1.84, rel=0.15)


def test_two_runs_give_the_same_bytes():
    someone = person()
    first, second = (albedo_from_photos([someone.face], [someone.photo], size=SIZE) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1][0], second[1][0])


def test_every_texel_is_a_colour_even_when_the_face_is_mostly_outside_of_the_photo():
    someone = person()
    corner = someone.photo[:220, :200]
    face = replace(someone.face, image_size=corner.shape[:2])
    albedo = albedo_from_photo(face, np.ascontiguousarray(corner), size=SIZE)
    assert albedo.isfinite().all() and albedo.min() >= 0 and albedo.max() <= 1


def test_a_black_photo_gives_a_plausible_head_and_no_nan():
    someone = person()
    albedo, (light,) = albedo_from_photos([someone.face], [np.zeros_like(someone.photo)], size=SIZE)
    assert albedo.isfinite().all() and light.isfinite().all()


def test_wrong_counts_are_refused():
    someone = person()
    with pytest.raises(InputError, match="one face for each photo"):
        albedo_from_photos([someone.face], [], size=SIZE)


def test_the_number_of_threads_changes_no_byte():
    someone = person()
    before = torch.get_num_threads()
    try:
        maps = []
        for n in (1, 2):
            torch.set_num_threads(n)
            maps.append(albedo_from_photo(someone.face, someone.photo, size=SIZE))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*maps)
