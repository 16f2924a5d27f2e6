import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import InputError
from likeness.methods.deep3d.alignment import CROP, Alignment, align, five_points, standard_points
from methods.deep3d.patterns import mask_pattern, pattern
from synthetic_bfm import golden, standard_landmarks

SETS = range(8)


def recorded(i):
    g = golden("align")
    width, height = map(int, g[f"s{i}_size"])
    points = g[f"s{i}_lm5_image"]
    upward = np.stack([points[:, 0], height - 1 - points[:, 1]], 1)
    return (width, height), points, upward


@pytest.mark.parametrize("i", SETS)
def test_pytorch_route_is_the_recorded_one(i):
    g = golden("align")
    size, points, upward = recorded(i)
    alignment = align(points.astype(np.float32), size, g["lm3d_5_real"])
    np.testing.assert_allclose(alignment.parameters, g[f"s{i}_trans"], atol=1e-4)
    np.testing.assert_allclose(alignment.landmarks_to_crop(upward), g[f"s{i}_lm_new"], atol=1e-3)
    crop, mask = alignment.crop(pattern(*size, i)), alignment.crop(mask_pattern(*size, i))
    # One level for another Pillow.
    np.testing.assert_allclose(crop[::4, ::4].astype(int), g[f"s{i}_img_sub"], atol=1)
    np.testing.assert_allclose(crop.mean((0, 1)), g[f"s{i}_img_mean"], atol=1)
    np.testing.assert_allclose(mask[::4, ::4, 0].astype(int), g[f"s{i}_mask_sub"], atol=1)
    np.testing.assert_allclose(mask[..., 0].mean(), g[f"s{i}_mask_mean"], atol=1)
    if i == 0:
        np.testing.assert_allclose(crop.astype(int), g["s0_img_full"], atol=1)


@pytest.mark.parametrize("i", SETS)
def test_tensorflow_route_is_the_recorded_one(i):
    g = golden("align_tf")
    size, points, upward = recorded(i)
    alignment = align(points, size, golden("align")["lm3d_5_real"])
    np.testing.assert_allclose(alignment.parameters, g[f"s{i}_trans"], atol=1e-4)
    landmarks = alignment.landmarks_to_crop(upward)
    landmarks[:, 1] = CROP - 1 - landmarks[:, 1]
    np.testing.assert_allclose(landmarks, g[f"s{i}_lm_new"], atol=1e-3)
    bgr = alignment.crop(pattern(*size, i))[None, ::4, ::4, ::-1]
    np.testing.assert_allclose(bgr.astype(int), g[f"s{i}_img_bgr_sub"], atol=1)


def test_sixty_eight_points_give_the_recorded_five():
    g = golden("align")
    np.testing.assert_allclose(five_points(g["lm68"]), g["lm68_5"], atol=1e-4)
    landmarks = g["s68_lm"]
    downward = np.stack([landmarks[:, 0], 399 - landmarks[:, 1]], 1)
    alignment = align(five_points(downward).astype(np.float32), (500, 400), g["lm3d_5_real"])
    np.testing.assert_allclose(alignment.parameters, g["s68_trans"], atol=1e-4)
    np.testing.assert_allclose(alignment.landmarks_to_crop(landmarks), g["s68_lm_new"], atol=1e-3)
    crop = alignment.crop(pattern(500, 400, 9))[::4, ::4]
    np.testing.assert_allclose(crop.astype(int), g["s68_img_sub"], atol=1)


def test_standard_points_are_the_recorded_five():
    points = standard_points(standard_landmarks())
    np.testing.assert_allclose(points, golden("align")["lm3d_5_syn"], atol=1e-6)
    np.testing.assert_allclose(points, golden("bfm_assembly")["lm3d_5"], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(40, 900), st.integers(40, 900), st.floats(8, 300), st.floats(-50, 700), st.floats(-50, 700),
    st.floats(-0.5, 0.5),
)  # fmt: skip
def test_landmarks_return_to_the_photo(width, height, size, x, y, roll):
    standard = golden("align")["lm3d_5_real"].astype(np.float64)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points = standard[:, :2] @ turn.T * size * [1, -1] + [x, y]
    alignment = align(points, (width, height), standard)
    upward = np.stack([points[:, 0], height - 1 - points[:, 1]], 1)
    in_crop = alignment.landmarks_to_crop(upward)
    np.testing.assert_allclose(alignment.landmarks_to_photo(in_crop), points, atol=1e-6)
    # The exact map of the picture and the official map of landmarks differ by rounding to whole pixels (resizing and
    # cutting, each below one) and because the official one leaves the half pixel to a centre unscaled.
    ours = np.c_[points + 0.5, np.ones(5)] @ alignment.photo_to_crop.T
    theirs = np.stack([in_crop[:, 0] + 0.5, CROP - 1 - in_crop[:, 1] + 0.5], 1)
    rounding = 2.5 + np.abs(points).max() / min(width, height) + abs(alignment.scale - 1) / 2
    assert np.abs(ours[:, :2] - theirs).max() < rounding


def test_crop_map_says_where_pixels_went():
    photo = np.zeros((300, 400, 3), np.uint8)
    photo[148:153, 198:203] = 255  # a square about pixel (200, 150)
    alignment = Alignment((400, 300), 0.8, (200.0, 149.0), (320, 240), (40, 8))
    crop = alignment.crop(photo)[..., 0].astype(float)
    rows, columns = np.mgrid[:CROP, :CROP]
    centre = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum() + 0.5
    expected = alignment.photo_to_crop @ [200.5, 150.5, 1]
    np.testing.assert_allclose(centre, expected[:2], atol=0.05)


@pytest.mark.parametrize(
    "points",
    [np.ones((5, 2)), np.arange(10.0).reshape(5, 2), np.full((5, 2), np.nan)],
)
def test_points_that_are_no_face_are_refused(points):
    with pytest.raises(InputError, match="five points"):
        align(points, (100, 100), golden("align")["lm3d_5_real"])


def test_absurd_scales_are_refused_before_memory_is_taken():
    points = golden("align")["lm3d_5_real"][:, :2].astype(np.float64) * 0.01 + 5
    with pytest.raises(InputError, match="cannot be a face's"):
        align(points, (4000, 4000), golden("align")["lm3d_5_real"])
    with pytest.raises(InputError, match="aligns by"):
        five_points(np.zeros((6, 2)))
