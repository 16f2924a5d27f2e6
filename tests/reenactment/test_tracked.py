"""A recording as a driver: a motion file says the same as the video it was tracked from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from likeness.arkit import ARKIT_NAMES
from likeness.errors import NoFaceError
from likeness.heads import load_head
from likeness.motion import Motion
from likeness.reenactment.parts import head_parts
from likeness.reenactment.portrait import Portrait
from likeness.reenactment.tracked import can_track, track_driver
from likeness.reenactment.wearing import Wearing, wear
from painted_person import person, photograph


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three frames: a jaw that opens, a blink with the head turned to its left, and nobody."""
    weights = np.zeros((3, len(ARKIT_NAMES)), np.float32)
    weights[0, ARKIT_NAMES.index("jawOpen")] = 0.4
    weights[1, [ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]] = 1.0
    motion = Motion(
        fps=25.0,
        names=ARKIT_NAMES,
        weights=weights,
        head=np.array([[0, 0, 0], [0, 0.3, 0], [0, 0, 0]], np.float32),
        eyes=np.zeros((3, 2, 3), np.float32),
        confidence=np.array([1, 1, 0], np.float32),
    )
    path = tmp_path_factory.mktemp("motion") / "talk.json"
    motion.save(path)
    return path


def test_a_motion_file_drives_the_open_head(recording):
    assert can_track([recording])
    assert not can_track([recording, recording])
    driver = track_driver(recording)
    names = load_head("open").expression_names
    assert driver.fps == 25
    assert driver.blinks_shut
    assert float(driver.frames[0].expression[names.index("jawOpen")]) == pytest.approx(0.4)
    assert isinstance(driver.frames[2], NoFaceError)
    turned = driver.frames[1].rotation.numpy()
    expected = np.diag([1.0, -1.0, -1.0]) @ Rotation.from_rotvec([0, 0.3, 0]).as_matrix()
    np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_a_whole_blink_shuts_the_eyes_of_whoever_wears_it(recording):
    driver = track_driver(recording)
    for identity in (0.0, 1.5, -1.5):
        face = person()
        face = replace(face, identity=face.identity + identity * torch.linspace(-1, 1, len(face.identity)))
        portrait = Portrait(face, photograph(face))
        worn = portrait.with_shutting_blinks(wear(face, driver.frames[1], Wearing(), head_parts(face.head)))
        gap, open_ = portrait._gap(worn.vertices), portrait._gap(face.vertices)
        assert (gap.abs() < 0.05 * open_).all()
        half = replace(driver.frames[1], expression=0.5 * driver.frames[1].expression)
        worn = portrait.with_shutting_blinks(wear(face, half, Wearing(), head_parts(face.head)))
        # Lids move nearly straight: half a blink is half shut.
        torch.testing.assert_close(portrait._gap(worn.vertices) / open_, torch.full((2,), 0.5), atol=0.05, rtol=0)
