"""Pictures of a rig in motion: the mouth opens, the head turns, relief shows where an expression asks for it."""

from dataclasses import replace

import numpy as np
import pytest

from likeness.animate.film import Film
from likeness.errors import InputError
from likeness.motion import Motion
from likeness.rig import DetailMap
from open_rig import open_rig

RIG = open_rig()
NAMES = RIG.blendshape_names
STILL, AHEAD = np.zeros(3), np.zeros((2, 3))


def weights(**named):
    vector = np.zeros(len(NAMES), np.float32)
    for name, value in named.items():
        vector[NAMES.index(name)] = value
    return vector


def difference(a, b):
    return np.abs(a.astype(int) - b).sum(-1)


def test_an_open_jaw_changes_the_lower_face_alone():
    film = Film(RIG, size=128)
    change = difference(film.draw(weights(), STILL, AHEAD), film.draw(weights(jawOpen=0.8), STILL, AHEAD))
    assert change[64:].sum() > 20 * change[:50].sum()
    assert (change[64:] > 30).sum() > 100


def test_a_turned_head_leaves_the_camera_where_it_is():
    film = Film(RIG, size=128)
    rest, turned = film.draw(weights(), STILL, AHEAD), film.draw(weights(), np.array([0, 0.6, 0]), AHEAD)
    # The bust below the neck stays.
    assert difference(rest, turned)[122:].mean() < 0.1 * difference(rest, turned).mean()


def test_a_texture_is_worn_and_asked_for():
    albedo = np.zeros((64, 64, 3), np.uint8)
    albedo[..., 0] = 200
    picture = Film(replace(RIG, albedo=albedo), size=64).draw(weights(), STILL, AHEAD)
    assert picture[32, 32, 0] > 2 * int(picture[32, 32, 2])
    with pytest.raises(InputError, match="no texture"):
        Film(RIG, material="albedo")
    with pytest.raises(InputError, match="pixels"):
        Film(RIG, size=4)


def test_relief_follows_the_expression():
    rng = np.random.default_rng(0)
    bumps = np.kron(rng.normal(0, 0.6, (64, 64)), np.ones((8, 8))).astype(np.float32)
    rig = replace(RIG, details=(DetailMap("brows up", bumps, 0.0, {"browInnerUp": 1.0}),))
    with_relief, without = Film(rig, size=128), Film(rig, size=128, detail=False)
    rest = [film.draw(weights(), STILL, AHEAD) for film in (with_relief, without)]
    raised = [film.draw(weights(browInnerUp=1), STILL, AHEAD) for film in (with_relief, without)]
    # At rest the map counts nothing, and the finer mesh looks like the coarse one.
    assert difference(*rest).mean() < 0.5
    assert difference(*raised).mean() > 2


def test_frames_come_in_order():
    n = 3
    opening = np.stack([weights(jawOpen=w) for w in (0.0, 0.5, 1.0)])
    motion = Motion(25, NAMES, opening, np.zeros((n, 3), np.float32), np.zeros((n, 2, 3), np.float32))
    film = Film(RIG, size=96)
    pictures = list(film.frames(motion))
    for k in range(n):
        np.testing.assert_array_equal(pictures[k], film.draw(opening[k], STILL, AHEAD))
