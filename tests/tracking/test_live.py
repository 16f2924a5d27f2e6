"""Live tracking sees each frame once, in order, and needs no future."""

import numpy as np
import skimage.data

from likeness.heads import load_head
from likeness.methods.open.calibration import calibrate
from likeness.tracking.live import LiveTracker

CALIBRATION = calibrate(load_head("open"), "mediapipe478")


def frames(n):
    picture = skimage.data.astronaut()[:280, 90:370]
    return [np.ascontiguousarray(np.roll(picture, 2 * k, 0)) for k in range(n)]


def follow(pictures):
    tracker = LiveTracker(CALIBRATION, fps=25)
    return [tracker.update(picture) for picture in pictures], tracker


def test_a_face_is_followed_lost_and_found():
    pictures = frames(8)
    pictures[4] = np.full_like(pictures[4], 128)
    found, tracker = follow(pictures)
    assert [motion is None for motion in found] == [k == 4 for k in range(8)]
    assert all(len(motion) == 1 and motion.fps == 25 for motion in found if motion is not None)
    assert found[0].names == tracker.rig.blendshape_names
    # The picture slides down two pixels a frame.
    assert found[-1].position[0, 1] < found[0].position[0, 1]


def test_the_past_does_not_depend_on_the_future():
    short, _ = follow(frames(3))
    longer, _ = follow(frames(6))
    for a, b in zip(short, longer, strict=False):
        np.testing.assert_array_equal(a.weights, b.weights)
