"""What a person wears: strength, still eyes, the upper face alone, another pose."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch

from likeness.errors import InputError, NoFaceError
from likeness.reenactment.driving import Driver, calmed, evened, smoothed
from likeness.reenactment.parts import head_parts
from likeness.reenactment.wearing import Driven, Wearing, wear
from painted_person import person


def driven(face, **weights):
    return Driven(person(**weights).expression, torch.zeros_like(face.joints), face.camera.rotation[0])


@pytest.fixture(scope="module")
def scene():
    face = person(eyeBlinkLeft=0.3)
    return face, head_parts(face.head)


def test_the_expression_is_taken_and_the_person_stays(scene):
    face, parts = scene
    worn = wear(face, driven(face, jawOpen=0.5), Wearing(), parts)
    assert worn.weights["jawOpen"] == 0.5
    assert worn.weights["eyeBlinkLeft"] == 0
    assert worn.identity is face.identity
    assert worn.camera is face.camera


def test_strength_is_bounded_as_the_weights_are(scene):
    face, parts = scene
    worn = wear(face, driven(face, jawOpen=0.3, mouthPucker=0.8), Wearing(scale=2), parts)
    assert worn.weights["jawOpen"] == pytest.approx(0.6)
    assert worn.weights["mouthPucker"] == 1


def test_frozen_eyes_are_those_of_the_photo(scene):
    face, parts = scene
    worn = wear(face, driven(face, eyeBlinkLeft=1.0, eyeLookInLeft=0.5, jawOpen=0.2), Wearing(freeze_eyes=True), parts)
    assert worn.weights["eyeBlinkLeft"] == pytest.approx(0.3)
    assert worn.weights["eyeLookInLeft"] == 0
    assert worn.weights["jawOpen"] == pytest.approx(0.2)


def test_the_upper_face_alone_is_exaggerated(scene):
    face, parts = scene
    step = driven(face, browInnerUp=0.5, jawOpen=0.3)
    once, twice = (wear(face, step, Wearing(upper_scale=s), parts) for s in (1.0, 2.0))
    moved = once.vertices - face.neutral_vertices
    change = twice.vertices - once.vertices
    torch.testing.assert_close(change, moved * parts.upper[:, None], atol=1e-4, rtol=0)
    brows = torch.from_numpy(face.head.topology.regions["brows"])
    chin = face.neutral_vertices[:, 1] < -70
    assert change[brows].norm(dim=1).max() > 1
    assert change[chin].norm(dim=1).max() == 0


def test_the_head_turns_as_the_drivers(scene):
    face, parts = scene
    turn = roma.rotvec_to_rotmat(torch.tensor([0.1, 0.4, 0.0]))
    step = Driven(face.expression, torch.zeros_like(face.joints), face.camera.rotation[0] @ turn)
    worn = wear(face, step, Wearing(pose="driver"), parts)
    skull = face.head.skin_weights()[:, face.head.joint_names.index("neck")] > 0.999
    moved, found = face.vertices[skull], worn.vertices[skull]
    rotation, _ = roma.rigid_points_registration(moved, found)
    torch.testing.assert_close(rotation, turn, atol=1e-3, rtol=0)
    shoulders = face.head.skin_weights()[:, face.head.joint_names.index("root")] > 0.999
    if shoulders.any():
        torch.testing.assert_close(worn.vertices[shoulders], face.vertices[shoulders])


def test_an_unknown_pose_cannot_be_taken(scene):
    face, parts = scene
    step = Driven(face.expression, face.joints)
    with pytest.raises(InputError, match="--pose source"):
        wear(face, step, Wearing(pose="driver"), parts)


@pytest.mark.parametrize("options", [{"scale": -1}, {"upper_scale": 11}, {"pose": "mine"}])
def test_senseless_options_are_refused(options):
    with pytest.raises(InputError):
        Wearing(**options)


# ------------------------------------------------------------------ a driver's frames together


def clip(values: np.ndarray, fps: float | None = 25.0, broken: tuple[int, ...] = ()) -> Driver:
    frames = [Driven(torch.from_numpy(row.astype(np.float32)), torch.zeros(2, 3)) for row in values]
    listed = [NoFaceError("nobody") if i in broken else frame for i, frame in enumerate(frames)]
    return Driver(tuple(f"frame {i}" for i in range(len(values))), tuple(listed), fps)


def rows(driver: Driver) -> np.ndarray:
    return np.stack([frame.expression.numpy() for frame in driver.frames if isinstance(frame, Driven)])


def test_smoothing_is_late_for_nothing():
    """A pulse stays where it was, symmetric, and its sum is kept; a constant is not changed."""
    values = np.zeros((21, 2))
    values[10, 0], values[:, 1] = 1.0, 0.7
    found = rows(smoothed(clip(values), 5))
    assert found[:, 0].argmax() == 10
    np.testing.assert_allclose(found[:, 0], found[::-1, 0], atol=1e-6)
    assert found[:, 0].sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found[:, 1], 0.7, atol=1e-6)
    assert smoothed(clip(values), 1).frames[10].expression[0] == 1
    with pytest.raises(InputError):
        smoothed(clip(values), -1)


def test_broken_frames_stay_where_they_are():
    driver = smoothed(clip(np.random.default_rng(0).uniform(size=(9, 3)), broken=(2, 5)), 3)
    assert [isinstance(frame, NoFaceError) for frame in driver.frames] == [i in (2, 5) for i in range(9)]


def test_a_lasting_difference_of_the_sides_is_the_view_but_a_wink_is_not():
    names = ("eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight", "jawOpen")
    values = np.tile([0.3, 0.1, 0.6, 0.4, 0.5], (120, 1))
    values[60:68, 0] = 1.0
    values[90:, 0] = 0.7  # the head has turned, and one eye is seen narrower for good
    found = rows(evened(clip(values), names))
    np.testing.assert_allclose(found[0], [0.1, 0.1, 0.5, 0.5, 0.5], atol=1e-6)
    assert found[63, 0] - found[63, 1] > 0.6
    np.testing.assert_allclose(found[115, :2], [0.1, 0.1], atol=1e-6)
    np.testing.assert_array_equal(rows(evened(clip(values, fps=None), names)), values.astype(np.float32))


def test_noise_is_calmed_and_blinks_stay():
    draw = np.random.default_rng(1)
    values = np.clip(0.3 + 0.02 * draw.standard_normal((80, 1)), 0, 1)
    values[40:43] = 0.95
    found = rows(calmed(clip(values)))
    assert found[5:35].std() < 0.6 * values[5:35].std()
    assert found[41, 0] > 0.9
