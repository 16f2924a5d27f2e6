"""The parts of video tracking on made-up sightings: people told apart, key frames chosen, frames assembled."""

import numpy as np
import pytest

from likeness.animate.closing import closing_weights, with_closing_blinks
from likeness.errors import OutputError
from likeness.heads import load_head
from likeness.methods.open.calibration import calibrate
from likeness.tracking.assembly import Solved, assemble, rest_weights
from likeness.tracking.checkpoint import Checkpoint
from likeness.tracking.key_frames import choose_key_frames
from likeness.tracking.overlay import gaze_lines, quad_edges
from likeness.tracking.people import find_people
from likeness.tracking.sightings import Sightings, sharpness
from open_rig import open_rig

HEAD = load_head("open")
CALIBRATION = calibrate(HEAD, "mediapipe478")
NAMES = HEAD.expression_names


def face_points(x=200.0, yaw=0.0, scale=1.0):
    mean = CALIBRATION.model.mean.numpy()
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    turned = (mean @ turn.T) * [scale, -scale, -scale]
    return (turned + np.array([x, 200, 0])).astype(np.float32)


def sightings(rows):
    """Rows of (frame, id, points, score, sharpness)."""
    frame, ids, points, score, sharp = zip(*rows, strict=True)
    return Sightings(np.array(frame), np.array(ids), np.stack(points), np.array(score), np.array(sharp))


def test_people_are_told_apart_and_known_again():
    rows = [(f, 0, face_points(200), 0.9, 5) for f in range(40)]
    rows += [(f, 1, face_points(500, scale=0.8), 0.9, 5) for f in range(10, 40)]
    # The first one is lost for a long while and comes back at the same place, under another number.
    rows += [(f, 2, face_points(210), 0.9, 5) for f in range(120, 150)]
    rows += [(60, 3, face_points(900), 0.9, 5)]
    people, n_left_out = find_people([sightings(sorted(rows, key=lambda row: row[:2]))], fps=25)
    assert [set(person.ids) for person in people] == [{0, 2}, {1}]
    assert people[0].n_frames == 70 and n_left_out == 1


def test_two_faces_at_one_time_are_never_one_person():
    rows = [(f, k, face_points(200 + 20 * k), 0.9, 5) for f in range(30) for k in (0, 1)]
    people, _ = find_people([sightings(rows)], fps=25)
    assert len(people) == 2


def test_a_single_short_appearance_still_is_somebody():
    people, n_left_out = find_people([sightings([(0, 0, face_points(), 0.9, 5)])], fps=25)
    assert len(people) == 1 and n_left_out == 0


def test_key_frames_are_sharp_sure_and_spread_over_poses():
    rng = np.random.default_rng(0)
    yaws = np.linspace(-0.6, 0.6, 60)
    blurred = np.arange(60) % 2 == 1
    unsure = np.arange(60) % 10 == 0
    rows = [
        (f, 0, face_points(yaw=yaw) + rng.normal(0, 0.1, (478, 3)).astype(np.float32), 0.95 - 0.6 * un, 50 - 49 * b)
        for f, (yaw, b, un) in enumerate(zip(yaws, blurred, unsure, strict=True))
    ]  # fmt: skip
    chosen = choose_key_frames([sightings(rows[:25]), sightings(rows[25:])], CALIBRATION, count=6)
    assert len(chosen) == 6 and not blurred[chosen].any() and not unsure[chosen].any()
    assert np.degrees(np.ptp(yaws[chosen])) > 55 and np.abs(yaws[chosen]).min() < 0.05
    assert (np.diff(chosen) > 0).all()


def test_a_still_face_needs_few_key_frames():
    rows = [(f, 0, face_points(), 0.95, 50) for f in range(30)]
    assert len(choose_key_frames([sightings(rows)], CALIBRATION, count=8)) <= 3


def test_sharpness_tells_blur():
    rng = np.random.default_rng(1)
    sharp = rng.integers(0, 255, (400, 400, 3), np.uint8)
    blurred = sharp.copy()
    for _ in range(3):
        blurred[1:-1] = (blurred[:-2].astype(int) + blurred[1:-1] + blurred[2:]) // 3
    points = face_points()
    assert sharpness(sharp, points) > 4 * sharpness(blurred, points)
    assert sharpness(sharp, points - 5000) == 0


def test_rest_is_what_nearly_every_frame_has():
    weights = np.zeros((300, len(NAMES)), np.float32)
    weights[:, NAMES.index("browDownLeft")] = 0.2
    weights[100:150, NAMES.index("mouthSmileLeft")] = 0.8
    weights[:, NAMES.index("jawOpen")] = 0.3
    rest = rest_weights(weights, NAMES)
    assert 0.15 < rest[NAMES.index("browDownLeft")] <= 0.2
    assert rest[NAMES.index("mouthSmileLeft")] == 0 and rest[NAMES.index("jawOpen")] == 0


def solved(frames, weights=None):
    n = len(frames)
    weights = np.zeros((n, len(NAMES)), np.float32) if weights is None else weights
    upright = np.diag([1.0, -1.0, -1.0]).astype(np.float32)
    return Solved(
        np.array(frames), np.tile(upright, (n, 1, 1)), np.tile(np.float32([10, 20, 800]), (n, 1)), weights,
        np.full(n, 2.0, np.float32), np.full(n, 0.9, np.float32),
    )  # fmt: skip


def test_frames_without_a_face_hold_the_one_before():
    weights = np.zeros((4, len(NAMES)), np.float32)
    weights[:, NAMES.index("jawOpen")] = (0.1, 0.9, 0.5, 0.6)
    motion = assemble(solved([2, 3, 7, 8], weights), open_rig(), fps=25, n_frames=10, smoothing=1)
    assert len(motion) == 10
    np.testing.assert_array_equal(motion.confidence > 0, [f in (2, 3, 7, 8) for f in range(10)])
    jaw = motion.weights[:, NAMES.index("jawOpen")]
    np.testing.assert_allclose(jaw, [0.1] * 3 + [0.9] * 4 + [0.5, 0.6, 0.6], atol=1e-6)
    np.testing.assert_allclose(motion.head, 0, atol=1e-6)
    np.testing.assert_allclose(motion.position[0], [10, -20, -800])


def test_gaze_goes_beyond_the_shapes():
    weights = np.zeros((3, len(NAMES)), np.float32)
    weights[:, NAMES.index("eyeLookOutLeft")] = 2.0
    motion = assemble(solved([0, 1, 2], weights), open_rig(), fps=25, n_frames=3, smoothing=1)
    assert motion.weights.max() == 1
    assert 20 < np.degrees(motion.eyes[0, 0, 1]) < 32


def test_blinks_close_narrow_and_wide_eyes():
    rig = open_rig()
    closing = closing_weights(rig)
    assert set(closing) == {"eyeBlinkLeft", "eyeBlinkRight"}
    closed = with_closing_blinks(rig)
    for name in closing:
        k = rig.blendshape_names.index(name)
        np.testing.assert_allclose(closed.blendshapes[k], rig.blendshapes[k] * closing[name], atol=1e-5)
    # Once they close, there is nothing left to do.
    for value in closing_weights(closed).values():
        assert abs(value - 1) < 1e-3


def test_a_checkpoint_belongs_to_its_run(tmp_path):
    first = Checkpoint(tmp_path, {"video": "a"})
    first.write("x", 0, {"v": np.arange(3)}, n=3)
    assert Checkpoint(tmp_path, {"video": "a"}).n_chunks("x") == 1
    assert Checkpoint(tmp_path, {"video": "b"}).n_chunks("x") == 0
    Checkpoint(tmp_path, {"video": "b"}).clear()
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Checkpoint(tmp_path / "file", {})


def test_only_quads_edges_are_drawn():
    edges = quad_edges(HEAD.topology)
    quads = HEAD.topology.quads
    pairs = {tuple(sorted(edge)) for i in range(4) for edge in zip(quads[:, i], quads[:, (i + 1) % 4], strict=True)}
    triangles = HEAD.topology.triangles
    assert not edges[0].all()
    for t in range(0, 9000, 500):
        for k in range(3):
            pair = tuple(sorted((int(triangles[t, k]), int(triangles[t, (k + 1) % 3]))))
            assert bool(edges[t, k]) == (pair in pairs)


def test_eyes_look_ahead_from_their_pupils():
    left, right = gaze_lines(open_rig(), np.zeros((2, 3)))
    assert left[0, 0] > 0 > right[0, 0]
    np.testing.assert_allclose(left[1] - left[0], [0, 0, np.linalg.norm(left[1] - left[0])], atol=1e-6)
