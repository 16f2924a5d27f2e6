"""What each filter promises: no lag, sharp blinks, calm rest; and that nothing happens where nothing should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from likeness.animate.filters import (
    OneEuro,
    OneEuroRotation,
    filter_live,
    noise_of,
    smooth,
    smooth_rotations,
    smooth_values,
)
from likeness.errors import InputError
from likeness.motion import Motion

FPS = 30.0


def motion(weights, head=None):
    n = len(weights)
    head = np.zeros((n, 3), np.float32) if head is None else head
    names = tuple(f"shape{k}" for k in range(weights.shape[1]))
    return Motion(FPS, names, weights.astype(np.float32), head.astype(np.float32), np.zeros((n, 2, 3), np.float32))


def test_rest_becomes_calm():
    rng = np.random.default_rng(0)
    noisy = 0.3 + 0.01 * rng.normal(size=(300, 5))
    calm = smooth(motion(noisy)).weights
    # Windows of up to 19 frames: the noise falls to about a quarter, second differences to far less.
    assert calm.std() < 0.4 * noisy.std()
    assert np.diff(calm, 2, axis=0).std() < 0.25 * np.diff(noisy, 2, axis=0).std()


def test_a_blink_keeps_its_height_and_its_moment():
    rng = np.random.default_rng(1)
    blink = np.zeros((120, 1))
    blink[60:63, 0] = (0.6, 1.0, 0.5)
    found = smooth(motion(blink + 0.01 * rng.normal(size=blink.shape))).weights[:, 0]
    assert found.argmax() == 61
    np.testing.assert_allclose(found[59:64], blink[59:64, 0], atol=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 80), st.floats(0.2, 3.0))
def test_smoothing_commutes_with_turning_time_round(n, strength):
    values = np.random.default_rng(n).normal(size=(n, 3)).cumsum(0) * 0.02
    there = smooth_values(values, fps=FPS, limit=0.03, strength=strength)
    back = smooth_values(values[::-1], fps=FPS, limit=0.03, strength=strength)[::-1]
    # What is symmetric in time cannot lag.
    np.testing.assert_allclose(there, back, atol=1e-12)


def test_straight_lines_pass_unchanged_up_to_their_ends():
    line = np.linspace(0, 1, 50)[:, None] * np.array([[1.0, -2.0]])
    np.testing.assert_allclose(smooth_values(line, fps=FPS, limit=0.03), line, atol=1e-12)


def test_noise_is_measured_beside_motion():
    rng = np.random.default_rng(2)
    t = np.arange(600) / FPS
    speech = (np.sin(0.8 * t) > 0.5) * 0.3 * (1 - np.cos(2 * np.pi * 4.5 * t))
    found = noise_of(speech[:, None] + 0.02 * rng.normal(size=(600, 1)))
    assert 0.015 < found[0] < 0.04


def test_rotations_are_smoothed_across_the_half_turn():
    rng = np.random.default_rng(3)
    # About the vertical through 180 degrees, where rotation vectors jump from +pi to -pi.
    truth = Rotation.from_rotvec(np.stack([np.zeros(200), np.linspace(2.9, 3.4, 200), np.zeros(200)], 1))
    noisy = truth * Rotation.from_rotvec(0.004 * rng.normal(size=(200, 3)))
    found = Rotation.from_rotvec(smooth_rotations(noisy.as_rotvec(), fps=FPS))
    assert (found * truth.inv()).magnitude().mean() < 0.5 * (noisy * truth.inv()).magnitude().mean()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_short_motions_pass(n):
    assert len(smooth(motion(np.zeros((n, 2))))) == n
    assert len(filter_live(motion(np.zeros((n, 2))))) == n


def test_strength_zero_changes_nothing_and_a_negative_one_is_refused():
    given_motion = motion(np.random.default_rng(4).normal(size=(20, 2)))
    assert smooth(given_motion, strength=0) is given_motion
    with pytest.raises(InputError, match="strength"):
        smooth(given_motion, strength=-1)


def test_one_euro_is_the_published_recursion():
    """Against the formulas of the paper written out for one channel (Casiez et al. 2012, eqs. 1, 2, 5, 6)."""
    rng = np.random.default_rng(5)
    signal = rng.normal(size=40).cumsum()
    filtered, speed, expected = signal[0], 0.0, [signal[0]]

    def alpha(cutoff):
        tau, period = 1 / (2 * np.pi * cutoff), 1 / FPS
        return 1 / (1 + tau / period)

    for value in signal[1:]:
        slope = (value - filtered) * FPS
        speed = alpha(1.2) * slope + (1 - alpha(1.2)) * speed
        cutoff = 0.7 + 0.3 * abs(speed)
        filtered = alpha(cutoff) * value + (1 - alpha(cutoff)) * filtered
        expected.append(filtered)
    ours = OneEuro(FPS, min_cutoff=0.7, beta=0.3, speed_cutoff=1.2)
    np.testing.assert_allclose([ours(np.array(value)) for value in signal], expected, rtol=1e-12)


def test_one_euro_turns_about_one_axis_like_a_plain_angle():
    angles = 0.3 * np.random.default_rng(6).normal(size=50).cumsum()
    turning, plain = OneEuroRotation(FPS, beta=0.0), OneEuro(FPS, beta=0.0)
    for angle in angles:
        found = Rotation.from_rotvec(turning(np.array([0.0, angle, 0.0])))
        expected = Rotation.from_rotvec([0.0, float(plain(np.array(angle))), 0.0])
        assert (found * expected.inv()).magnitude() < 1e-9


def test_live_filtering_looks_at_the_past_alone():
    rng = np.random.default_rng(7)
    whole = motion(rng.normal(size=(40, 3)) * 0.1, rng.normal(size=(40, 3)) * 0.1)
    part = filter_live(whole[:20])
    np.testing.assert_array_equal(part.weights, filter_live(whole).weights[:20])
    np.testing.assert_array_equal(part.head, filter_live(whole).head[:20])
