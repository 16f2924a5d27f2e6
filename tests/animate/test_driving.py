"""How a motion is worn: rate, strength, head, and eyes that look where they should."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from likeness.animate.driving import (
    DrivingOptions,
    looking_at_camera,
    motion_of_face,
    resample,
    wear,
    with_eyes,
)
from likeness.animate.posing import Puppet, eye_turns, whole_turns
from likeness.cameras import WeakPerspective
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads import load_head
from likeness.motion import Motion
from open_rig import open_rig

RIG = open_rig()
NAMES = RIG.blendshape_names


def motion(n=20, fps=25.0, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 0.8, (n, len(NAMES))).astype(np.float32)
    turns = 0.3 * rng.normal(size=(n, 3, 3)).astype(np.float32)
    return Motion(fps, NAMES, weights, turns[:, 0], turns[:, 1:])


def test_worn_as_it_is():
    given_motion = motion()
    worn = wear(given_motion, RIG, DrivingOptions())
    np.testing.assert_array_equal(worn.weights, given_motion.weights)
    np.testing.assert_array_equal(worn.head, given_motion.head)


def test_strength_and_head_pose():
    worn = wear(motion(), RIG, DrivingOptions(strength=0.5, head_pose=False))
    np.testing.assert_allclose(worn.weights, motion().weights / 2, atol=1e-6)
    assert not worn.head.any()
    assert wear(motion(), RIG, DrivingOptions(strength=10)).weights.max() == 1


def test_frozen_eyes_look_ahead_and_their_lids_rest():
    worn = wear(motion(), RIG, DrivingOptions(eyes="frozen"))
    gaze = [k for k, name in enumerate(NAMES) if name.startswith("eyeLook")]
    assert not worn.eyes.any() and not worn.weights[:, gaze].any()
    assert worn.weights[:, NAMES.index("eyeBlinkLeft")].any()


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.35, 0.35), st.floats(-0.5, 0.5))
def test_eyes_find_the_camera(yaw, pitch, roll):
    head = Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_rotvec()[None]
    eyes = looking_at_camera(head)
    looks = (Rotation.from_rotvec(head[0]) * Rotation.from_rotvec(eyes[0, 0])).apply([0, 0, 1])
    # Pitch and yaw of the eyes are bounded one by one: a steep roll may ask for a little more than they give.
    assert looks[2] > 0.98


def test_the_lids_go_with_the_eyes():
    eyes = np.tile(np.radians([[0.0, 8.0, 0.0]]), (1, 2, 1))
    worn = with_eyes(motion(1), RIG, eyes)
    # Both look to the subject's left: the left eye out, the right one in.
    assert worn.named(0)["eyeLookOutLeft"] > 0.4 and worn.named(0)["eyeLookInRight"] > 0.4
    assert worn.named(0)["eyeLookInLeft"] == 0 and worn.named(0)["eyeLookOutRight"] == 0
    assert worn.named(0)["eyeLookUpLeft"] < 0.05


def test_resampling_keeps_what_lies_on_both_grids():
    given_motion = motion(n=21, fps=25)
    double = resample(given_motion, 50)
    assert len(double) == 41 and double.fps == 50
    np.testing.assert_allclose(double.weights[::2], given_motion.weights, atol=1e-6)
    middle = Rotation.from_rotvec(double.head[1])
    ends = [Rotation.from_rotvec(given_motion.head[k]) for k in (0, 1)]
    half = (ends[0].inv() * ends[1]).magnitude() / 2
    np.testing.assert_allclose([(middle.inv() * end).magnitude() for end in ends], half, atol=1e-5)
    assert len(resample(given_motion, 12.5)) == 11
    with pytest.raises(InputError):
        resample(given_motion, 0)


def test_a_face_drives_with_its_own_expression():
    head = load_head("open")
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    turn = Rotation.from_rotvec([0.1, 0.4, 0.0])
    camera = WeakPerspective(
        (upright @ torch.from_numpy(turn.as_matrix()).float())[None], torch.ones(1), torch.zeros(1, 2)
    )
    expression = torch.zeros(head.n_expression)
    expression[NAMES.index("jawOpen")] = 0.6
    expression[NAMES.index("eyeLookUpLeft")] = 0.5
    face = Face(head, torch.zeros(head.n_identity), expression, torch.zeros(5, 3), camera, (9, 9), "open", 1.0)
    found = motion_of_face(face)
    np.testing.assert_allclose(found.head[0], [0.1, 0.4, 0.0], atol=1e-5)
    assert found.named(0)["jawOpen"] == pytest.approx(0.6)
    expected = whole_turns(np.zeros((1, 2, 3)), found.weights, eye_turns(RIG))
    np.testing.assert_allclose(found.eyes, expected, atol=1e-5)
    puppet = Puppet(RIG)
    vertices = puppet.vertices(found.weights[0], np.zeros(3), found.eyes[0])
    np.testing.assert_allclose(vertices, face.vertices, atol=0.02)


def test_impossible_options_are_refused():
    for wrong in ({"strength": -1}, {"strength": float("nan")}, {"eyes": "shut"}):
        with pytest.raises(InputError):
            DrivingOptions(**wrong)
