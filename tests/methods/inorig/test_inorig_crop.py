import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import InputError
from likeness.methods.inorig.crop import (
    PADDING,
    Square,
    box_from_landmarks,
    crop_tensor,
    cut,
    frame_landmarks_to_crop,
    landmarks_to_crop,
    padded,
    square_from_box,
    square_from_landmarks,
)
from likeness.methods.inorig.neighbours import N_NEIGHBOURS, Neighbours, first_neighbours
from likeness.methods.inorig.observation import normalised
from likeness.methods.inorig.pose import crop_to_pixels, pose_vertices
from methods.inorig.recorded import error, golden, template


def best_box(key="boxes"):
    boxes = golden("preprocess_video")[key]
    return tuple(boxes[boxes[:, 4].argmax(), :4].tolist())


@pytest.mark.parametrize("edge", ["", "_edge"])
def test_official_crop(edge):
    file = golden("preprocess_video")
    square = square_from_box(best_box(f"boxes{edge}"))
    crop = cut(file["raw_rgb"], square)
    (stored,) = (key for key in file if key.startswith(f"crop{edge}__flat") or key == f"crop{edge}")
    step = int(stored.split("__flat")[1]) if "__flat" in stored else 1
    difference = crop.reshape(-1)[::step].astype(int) - file[stored].reshape(-1)
    assert np.abs(difference).max() <= 1
    assert square.zoom == pytest.approx(float(file[f"s{edge}"]), rel=1e-5)


def test_official_border():
    raw = golden("preprocess_video")["raw_rgb"]
    assert error(padded(raw)[48:53].astype(float), "preprocess_video", "padded_rows_48_53") < 1e-5


def test_official_frame():
    file = golden("preprocess_video")
    box = best_box()
    square = square_from_box(box)
    crop = normalised(crop_tensor(cut(file["raw_rgb"], square))[None])
    assert error(crop, "preprocess_video", "frame_norm") < 1e-5
    seen = frame_landmarks_to_crop(file["frame_kpts"], box, square)
    np.testing.assert_allclose(seen, file["frame_kpts_crop"], rtol=1e-5, atol=1e-4)


def test_official_neighbours():
    file = golden("preprocess_video")
    neighbours = Neighbours.start(file["yaw_init"].tolist(), list(range(5)))
    for index, yaw in enumerate(file["yaw_seq"].tolist()):
        neighbours = neighbours.updated(yaw, 100 + index)
        assert list(neighbours.frames) == file["yaw_cache_ids"][index].tolist()
        np.testing.assert_allclose(neighbours.yaws, file["yaw_cache_vals"][index], rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=5, max_size=5), st.lists(st.floats(-2, 2), max_size=12))
def test_neighbours_keep_both_extremes(first, later):
    neighbours = Neighbours.start(first, first)
    for yaw in later:
        neighbours = neighbours.updated(yaw, yaw)
    assert list(neighbours.yaws) == sorted(neighbours.yaws) and neighbours.yaws == neighbours.frames
    assert len(neighbours.yaws) == N_NEIGHBOURS
    assert (neighbours.yaws[0], neighbours.yaws[-1]) == (min(first + later), max(first + later))


def test_first_neighbours_are_spread_over_the_clip():
    assert first_neighbours(52) == [0, 10, 20, 30, 40]
    assert first_neighbours(3) == [0, 0, 0, 0, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(-40, 60), st.integers(-40, 60), st.integers(60, 700), st.integers(0, 255), st.integers(-1, 1))
def test_an_even_picture_stays_even(left, top, side, grey, uneven):
    photo = np.full((900, 800, 3), grey, np.uint8)
    crop = cut(photo, Square(left, top, left + side, top + side + uneven))
    rows, columns = np.arange(256) * side / 256 + top, np.arange(256) * side / 256 + left
    inside = ((rows > 3) & (rows < 890))[:, None] & ((columns > 3) & (columns < 790))
    assert np.abs(crop[inside].astype(int) - grey).max(initial=0) <= 1


def test_shrinking_averages():
    photo = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    blocks = photo.reshape(256, 2, 256, 2, 3).astype(float).mean((1, 3))
    assert np.abs(cut(photo, Square(0, 0, 512, 512)) - blocks).max() <= 0.5


def test_outside_the_photo_is_black():
    crop = cut(np.full((100, 100, 3), 200, np.uint8), Square(-100, -100, 200, 200))
    assert not crop[:80].any() and not crop[:, :80].any() and not crop[180:].any()
    assert (crop[90:165, 90:165] >= 199).all()


def test_a_mark_in_the_photo_is_where_its_landmark_goes():
    photo = np.zeros((600, 600, 3), np.uint8)
    photo[300:306, 200:206] = 255
    square = Square(50, 120, 50 + 384, 120 + 384)
    crop = cut(photo, square)[..., 0].astype(float)
    rows, columns = np.indices(crop.shape)
    centre = [(crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()]
    points = np.tile(np.array([[203.0, 303.0]], np.float32), (68, 1))
    np.testing.assert_allclose(landmarks_to_crop(points, square)[0], centre, atol=0.02)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 5), st.floats(0, 900), st.floats(0, 900))
def test_our_crop_puts_the_mean_face_where_pose_zero_has_it(size, x, y):
    template_points = template().mean[template().landmarks][None]
    expected = crop_to_pixels(pose_vertices(torch.zeros(1, 6), template_points))[0].numpy()
    landmarks = (expected * size + [x, y]).astype(np.float32)
    square = square_from_landmarks(landmarks, template())
    found = landmarks_to_crop(landmarks, square).numpy()
    # The square is of whole pixels: half a photo pixel either way, and half a pixel of the side.
    assert np.abs(found - expected).max() < 1.6 / size + 0.6


def test_official_box_from_landmarks_holds_them():
    landmarks = np.random.default_rng(1).uniform(100, 300, (68, 2)).astype(np.float32)
    left, top, right, bottom = box_from_landmarks(landmarks)
    assert left <= landmarks[:, 0].min() and right >= landmarks[:, 0].max()
    assert top < landmarks[:, 1].min() and bottom >= landmarks[:, 1].max()


@pytest.mark.parametrize("box", [(5.0, 5.0, 5.0, 9.0), (9.0, 5.0, 3.0, 9.0), (float("nan"), 0.0, 1.0, 1.0)])
def test_a_box_without_area_is_refused(box):
    with pytest.raises(InputError):
        square_from_box(box)


def test_landmarks_on_one_spot_are_refused():
    with pytest.raises(InputError):
        square_from_landmarks(np.full((68, 2), 40.0, np.float32), template())


def test_padding_needs_no_large_photo():
    tiny = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert padded(tiny).shape == (3 + 2 * PADDING, 3 + 2 * PADDING, 3)
