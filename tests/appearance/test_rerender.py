"""The re-render is the photo, where photo and Face agree."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from likeness.appearance.rerender import face_region, rerender_error
from likeness.errors import InputError
from likeness.face import Face
from likeness.portraits import overview, render_in_photo
from likeness.texture import albedo_from_photos
from lit_person import LitPerson, side_light, take_photo


@cache
def person() -> LitPerson:
    return take_photo(side_light(level=0.8, tilt=0.5), (0.4, 0.26, 0.2), mark=0.2)


@cache
def textured() -> Face:
    albedo, (light,) = albedo_from_photos([person().face], [person().photo], size=512)
    return replace(person().face, albedo=albedo, light=light)


def test_a_known_person_comes_back_nearly():
    error = rerender_error(textured(), person().photo)
    assert error.mean_absolute < 0.03 and error.psnr > 24
    # Half of the light is far off: the number must say so.
    dim = rerender_error(replace(textured(), light=0.5 * textured().light), person().photo)
    assert dim.mean_absolute > 3 * error.mean_absolute and dim.psnr < error.psnr - 6


def test_only_the_head_is_drawn_over():
    drawn = render_in_photo(textured(), person().photo)
    assert drawn.shape == person().photo.shape and drawn.dtype == np.uint8
    beside = ~person().mask.numpy()
    beside[1:] &= ~person().mask.numpy()[:-1]
    beside[:-1] &= ~person().mask.numpy()[1:]
    beside[:, 1:] &= ~person().mask.numpy()[:, :-1]
    beside[:, :-1] &= ~person().mask.numpy()[:, 1:]
    assert np.abs(drawn[beside].astype(int) - person().photo[beside]).max() <= 1
    inside = np.abs(drawn.astype(int) - person().photo)[person().mask.numpy()]
    assert np.median(inside) < 8


def test_the_region_is_the_middle_of_the_face():
    region = face_region(person().face)
    points = person().face.landmarks("ibug68").image.astype(np.float32)
    places = person().face.view.crop.transform(torch.from_numpy(points)[None])[0].long()
    inside = [bool(region[y, x]) for x, y in places.tolist()]
    assert all(inside[27:36])  # the nose
    assert not any(inside[:4]) and not any(inside[13:17])  # the face's outline at the ears


def test_a_head_cut_off_by_the_photo_is_drawn_as_far_as_it_goes():
    half = np.ascontiguousarray(person().photo[:, :190])
    assert render_in_photo(textured(), half).shape == half.shape


def test_without_albedo_there_is_nothing_to_draw():
    with pytest.raises(InputError, match="no albedo or no light"):
        render_in_photo(person().face, person().photo)


def test_the_overview_shows_it():
    plain, relit = overview(person().photo, person().face), overview(person().photo, textured())
    assert relit.shape[1] > plain.shape[1]
