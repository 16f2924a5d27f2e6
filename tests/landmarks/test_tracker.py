"""Following faces through short made-up videos."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from likeness.landmarks import MediaPipe, Tracker

DETECTOR = MediaPipe(device="cpu")


def moving_crops(n_frames: int, n_pixels: int = 300) -> list[tuple[np.ndarray, np.ndarray]]:
    """A window that drifts over the astronaut; and the place of its corner."""
    corners = [np.array([60 + 5 * i, 20 + 3 * i]) for i in range(n_frames)]
    image = skimage.data.astronaut()
    return [(image[y : y + n_pixels, x : x + n_pixels], np.array([x, y])) for x, y in corners]


def test_follows_a_moving_face() -> None:
    expected = DETECTOR.detect(skimage.data.astronaut())[0].points[:, :2]
    tracker = Tracker(device="cpu", max_faces=1)
    eyes = np.linalg.norm(expected[33] - expected[263])
    for frame, corner in moving_crops(12):
        (track,) = tracker.update(frame)
        assert track.id == 0
        error = np.linalg.norm(track.landmarks.points[:, :2] + corner - expected, axis=1).mean()
        # Crops of the frame before and of the detection differ, and with them the points.
        assert error < 0.04 * eyes


def test_needs_no_detection_once_the_face_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = moving_crops(3)
    tracker = Tracker(device="cpu", max_faces=1)
    tracker.update(frames[0][0])

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("the detector was asked")

    monkeypatch.setattr("likeness.landmarks.tracker.find_faces", fail)
    monkeypatch.setattr("likeness.landmarks.tracker.find_faces_quickly", fail)
    assert [track.id for track in tracker.update(frames[1][0])] == [0]


def two_faces(offset: int) -> np.ndarray:
    """Two astronauts side by side, the left one larger, sliding towards each other."""
    frame = np.full((360, 800, 3), 110, np.uint8)
    face = Image.fromarray(skimage.data.astronaut()[:300, 80:380])
    left, right = np.asarray(face), np.asarray(face.resize((240, 240)))
    frame[30:330, 20 + offset : 320 + offset] = left
    frame[60:300, 540 - offset : 780 - offset] = right
    return frame


def test_keeps_two_faces_apart() -> None:
    tracker = Tracker(device="cpu")
    for step in range(8):
        tracks = tracker.update(two_faces(8 * step))
        assert [track.id for track in tracks] == [0, 1]  # the larger first, and found first
        places = [float(track.landmarks.points[1, 0]) for track in tracks]
        assert places[0] < 400 < places[1]


def test_a_face_that_comes_back_keeps_its_id_and_another_gets_a_new_one() -> None:
    tracker = Tracker(device="cpu")
    empty = np.full((360, 800, 3), 110, np.uint8)
    frame = two_faces(0)
    only_left, only_right = frame.copy(), frame.copy()
    only_left[:, 400:] = 110
    only_right[:, :400] = 110
    assert [t.id for t in tracker.update(only_left)] == [0]
    assert tracker.update(empty) == []
    assert [t.id for t in tracker.update(only_left)] == [0]
    assert [t.id for t in tracker.update(only_right)] == [1]
    assert [t.id for t in tracker.update(frame)] == [0, 1]


def test_no_more_than_asked_for() -> None:
    tracker = Tracker(device="cpu", max_faces=1)
    for step in range(3):
        assert [track.id for track in tracker.update(two_faces(4 * step))] == [0]


def test_detectors_track_too() -> None:
    detector = MediaPipe(device="cpu")
    ids = [[track.id for track in detector.track(two_faces(4 * step))] for step in range(3)]
    assert ids == [[0, 1]] * 3


def test_a_tracker_goes_on_from_a_snapshot():
    picture = np.ascontiguousarray(skimage.data.astronaut()[:280, 90:370])
    frames = [np.roll(picture, 2 * k, 0) for k in range(4)]
    first = Tracker(max_faces=1)
    for frame in frames[:2]:
        first.update(frame)
    second = Tracker(max_faces=1)
    second.restore(first.snapshot())
    assert second.n_visible == 1
    for frame in frames[2:]:
        a, b = first.update(frame)[0], second.update(frame)[0]
        assert a.id == b.id
        np.testing.assert_array_equal(a.landmarks.points, b.landmarks.points)
    empty = Tracker()
    empty.restore(Tracker().snapshot())
    assert empty.n_visible == 0
