"""What is the view's is taken from lids; what they do is not."""

import numpy as np

from likeness.animate.lids import even_lids

NAMES = ("eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight")
FPS = 30.0


def test_an_eye_that_looks_half_shut_for_long_opens():
    weights = np.zeros((150, 4))
    weights[60:, 1] = 0.5
    evened = even_lids(weights, NAMES, fps=FPS)
    assert evened[90:, 1].max() == 0
    assert np.array_equal(weights[60:, 1], np.full(90, 0.5))


def test_blinks_winks_and_lasting_squints_of_both_eyes_stay():
    weights = np.zeros((150, 4))
    weights[:, :2] = 0.2
    weights[20:26, :2] = 1.0
    weights[100:120, 0] = 1.0
    assert np.allclose(even_lids(weights, NAMES, fps=FPS), weights)


def test_a_blink_is_as_deep_behind_a_lasting_difference():
    weights = np.zeros((150, 4))
    weights[:, 1] = 0.3
    weights[70:76, :2] = 1.0
    evened = even_lids(weights, NAMES, fps=FPS)
    assert np.allclose(evened[70:76, :2], 1.0)
    assert np.allclose(evened[:70, :2], 0.0)


def test_other_shapes_are_left_alone():
    weights = np.random.default_rng(0).uniform(0, 1, (60, 4))
    assert np.array_equal(even_lids(weights, NAMES, fps=FPS)[:, 2:], weights[:, 2:])
