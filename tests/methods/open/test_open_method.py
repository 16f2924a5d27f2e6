"""The default method on a real photo: what each quality adds, and that nothing but the photo decides the result."""

from dataclasses import replace

import numpy as np
import pytest
import skimage.data

from likeness.api import Reconstructor
from likeness.appearance.rerender import rerender_error
from likeness.methods import Photo


@pytest.fixture(scope="module")
def astronaut():
    return Photo(skimage.data.astronaut(), "astronaut")


@pytest.fixture(scope="module")
def balanced(astronaut):
    return Reconstructor(quality="balanced", device="cpu")(astronaut).faces[0]


def test_balanced_adds_maps_and_what_the_light_tells_of_the_shape(astronaut, balanced):
    fast = Reconstructor(quality="fast", device="cpu")(astronaut).faces[0]
    assert fast.albedo is None and fast.displacement is None and fast.light is None
    assert not np.array_equal(fast.identity, balanced.identity)
    assert (fast.neutral_vertices - balanced.neutral_vertices).norm(dim=1).mean() < 3
    assert balanced.albedo.shape == (3, 1024, 1024) and balanced.displacement.shape == (1024, 1024)


@pytest.mark.slow
def test_best_has_finer_maps_that_agree_with_the_coarser(astronaut, balanced):
    best = Reconstructor(quality="best", device="cpu")(astronaut).faces[0]
    assert best.albedo.shape == (3, 2048, 2048) and best.displacement.shape == (2048, 2048)
    coarse = best.albedo.unflatten(2, (1024, 2)).unflatten(1, (1024, 2)).mean((2, 4))
    # The same photo seen twice: what differs is the finer sampling and filters that work by texels.
    assert (coarse - balanced.albedo).abs().mean() < 0.02


def test_the_rerender_is_nearer_than_skin_of_one_colour(astronaut, balanced):
    plain = replace(balanced, albedo=balanced.albedo.mean((1, 2), keepdim=True).expand_as(balanced.albedo))
    error = balanced.residuals["rerender_srgb"]
    assert error < 0.06
    assert error < 0.6 * rerender_error(plain, astronaut.pixels).mean_absolute


def test_another_photo_before_changes_nothing(astronaut, balanced):
    reconstructor = Reconstructor(quality="balanced", device="cpu")
    reconstructor(Photo(astronaut.pixels[:, ::-1].copy(), "mirrored"))
    again = reconstructor(astronaut).faces[0]
    assert np.array_equal(again.vertices, balanced.vertices)
    assert np.array_equal(again.albedo, balanced.albedo)
    assert np.array_equal(again.displacement, balanced.displacement)
