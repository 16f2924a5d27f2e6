"""A rig's mesh in a motion's frame: the joints that carry it, and eyes that turn once, by shapes and bones together."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from likeness.animate.posing import Puppet, bone_turns, driven_joints, eye_turns, whole_turns
from likeness.errors import InputError
from likeness.heads import load_head
from likeness.motion import Motion
from open_rig import open_rig


def test_joints_are_found_by_every_heads_names():
    flame = driven_joints(("root", "neck", "jaw", "left_eye", "right_eye"))
    assert (flame.head, flame.eyes) == (1, (3, 4))
    assert driven_joints(("root", "neck", "jaw", "eyeLeft", "eyeRight")) == flame
    assert driven_joints(("root",)).head == 0
    assert driven_joints(("a", "b")).head is None


def test_shapes_turn_the_eyes_the_way_their_names_say():
    rig = open_rig()
    turns = dict(zip(rig.blendshape_names, eye_turns(rig), strict=True))
    assert turns["eyeLookDownLeft"][0, 0] > 0.1 and turns["eyeLookUpLeft"][0, 0] < -0.1
    # The left eye looks out to the subject's left, +x, which is a positive turn about +y.
    assert turns["eyeLookOutLeft"][0, 1] > 0.1 and turns["eyeLookInLeft"][0, 1] < -0.1
    assert turns["eyeLookOutRight"][1, 1] < -0.1
    assert not turns["jawOpen"].any() and not turns["eyeLookDownLeft"][1].any()


def test_bones_and_shapes_together_are_the_whole_turn():
    rng = np.random.default_rng(0)
    eyes, turns = 0.3 * rng.normal(size=(5, 2, 3)), 0.2 * rng.normal(size=(4, 2, 3))
    weights = rng.uniform(size=(5, 4))
    np.testing.assert_allclose(whole_turns(bone_turns(eyes, weights, turns), weights, turns), eyes, atol=1e-12)


def test_a_puppet_moves_like_the_head_itself():
    rig, head = open_rig(), load_head("open")
    rng = np.random.default_rng(1)
    weights = rng.uniform(0, 0.5, len(rig.blendshape_names)).astype(np.float32)
    turn = np.array([0.1, 0.4, -0.2])
    puppet = Puppet(rig)
    eyes = whole_turns(np.zeros((1, 2, 3)), weights[None], puppet.eye_turns)[0]
    joints = torch.zeros(1, len(rig.joint_names), 3)
    joints[0, 1] = torch.from_numpy(turn)
    expected = head.vertices(torch.zeros(1, head.n_identity), torch.from_numpy(weights)[None], joints)[0]
    np.testing.assert_allclose(puppet.vertices(weights, turn, eyes), expected, atol=2e-3)


def test_eyes_look_where_the_motion_says():
    rig = open_rig()
    ball = rig.skin_weights[:, rig.joint_names.index("eyeLeft")] > 0.9
    puppet = Puppet(rig)
    weights = np.zeros(len(rig.blendshape_names), np.float32)
    weights[rig.blendshape_names.index("eyeLookOutLeft")] = 0.7
    gaze = np.array([0.1, 0.35, 0.0])
    moved = puppet.vertices(weights, np.zeros(3), np.stack([gaze, gaze]))[ball]
    rest = rig.neutral[ball]
    found, _ = Rotation.align_vectors(moved - moved.mean(0), rest - rest.mean(0))
    # A blendshape moves the ball's points on straight lines, which bends it a little.
    assert (found * Rotation.from_rotvec(gaze).inv()).magnitude() < np.radians(1)


def test_a_motion_of_other_shapes_is_refused():
    still = Motion(25, ("pc1",), np.ones((1, 1), np.float32), np.zeros((1, 3)), np.zeros((1, 2, 3)))
    with pytest.raises(InputError, match="share no blendshape"):
        Puppet(open_rig()).columns(still)
