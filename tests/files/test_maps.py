"""Maps come back to within their step, and floats to the bit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from likeness.errors import FileFormatError, InputError, OutputError
from likeness.files import maps
from likeness.files.maps import (
    read_depth,
    read_displacement,
    read_exr,
    write_depth,
    write_displacement,
    write_exr,
    write_image,
)
from likeness.images import read_image

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(
    depth=hnp.arrays(np.float64, shapes, elements=st.floats(0.001, 6000)),
    scale=st.sampled_from([0.1, 0.25, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_depth_round_trip(tmp_path_factory, depth, scale, seed):
    path = tmp_path_factory.getbasetemp() / "depth.png"
    hidden = np.random.default_rng(seed).random(depth.shape) < 0.3
    depth[hidden] = np.nan
    write_depth(path, depth, scale=scale)
    read = read_depth(path, scale=scale)
    np.testing.assert_array_equal(np.isnan(read), hidden)  # a point nearer than a step stays seen
    np.testing.assert_allclose(read[~hidden], depth[~hidden], atol=scale, rtol=1e-7)
    far = ~hidden & (depth > scale)
    np.testing.assert_allclose(read[far], depth[far], atol=scale * 0.5001, rtol=1e-7)


@given(displacement=hnp.arrays(np.float64, shapes, elements=st.floats(-3, 3)), bits=st.sampled_from([1e-4, 1e-3]))
@settings(max_examples=40, deadline=None)
def test_displacement_round_trip(tmp_path_factory, displacement, bits):
    path = tmp_path_factory.getbasetemp() / "displacement.png"
    write_displacement(path, displacement, scale=bits, offset=-3.0)
    read = read_displacement(path, scale=bits, offset=-3.0)
    np.testing.assert_allclose(read, displacement, atol=bits * 0.51 + 3e-7)


def test_16_bit_png_holds_what_it_says(tmp_path):
    write_depth(tmp_path / "depth.png", np.array([[0.0, 1.0, 6553.5]]), scale=0.1)
    with Image.open(tmp_path / "depth.png") as image:
        assert image.mode == "I;16"
        assert np.asarray(image).tolist() == [[0, 10, 65535]]


@pytest.mark.parametrize("value", [-1.0, -0.01, 6553.6, 1e30])
def test_depths_out_of_range_are_refused(tmp_path, value):
    with pytest.raises(InputError, match="another scale"):
        write_depth(tmp_path / "depth.png", np.array([[value]]), scale=0.1)
    assert list(tmp_path.iterdir()) == []


def test_displacement_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(InputError, match="another scale"):
        write_displacement(tmp_path / "d.png", np.array([[np.nan]]), scale=0.1, offset=0)


def test_8_bit_picture_is_not_taken_for_millimetres(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(FileFormatError, match="not a 16-bit"):
        read_depth(tmp_path / "a.png", scale=0.1)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3), (3, 4, 4)])
def test_8_bit_pictures(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_image(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert read_image(tmp_path / "a.png").shape == (3, 4, 3)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2), np.uint8)])
def test_what_is_no_8_bit_picture(tmp_path, pixels):
    with pytest.raises(InputError):
        write_image(tmp_path / "a.png", pixels)


@given(hnp.arrays(np.float32, shapes | st.tuples(*[st.integers(1, 6)] * 2, st.just(3)), elements=st.floats(width=32)))
@settings(max_examples=40, deadline=None)
def test_exr_is_lossless(tmp_path_factory, pixels):
    path = tmp_path_factory.getbasetemp() / "map.exr"
    write_exr(path, pixels)
    np.testing.assert_array_equal(read_exr(path), pixels)  # infinities and NaN, too


def test_exr_of_other_programs(tmp_path):
    import OpenEXR

    alpha = np.random.default_rng(0).random((3, 4, 4)).astype(np.float16)
    OpenEXR.File({"compression": OpenEXR.PIZ_COMPRESSION}, {"RGBA": alpha}).write(str(tmp_path / "a.exr"))
    np.testing.assert_array_equal(read_exr(tmp_path / "a.exr"), alpha[..., :3].astype(np.float32))
    OpenEXR.File({}, {"U": alpha[..., 0].copy(), "V": alpha[..., 1].copy()}).write(str(tmp_path / "uv.exr"))
    with pytest.raises(FileFormatError, match="channels U, V"):
        read_exr(tmp_path / "uv.exr")


def test_same_map_same_bytes(tmp_path):
    pixels = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    for name in ("a", "b"):
        write_exr(tmp_path / f"{name}.exr", pixels)
        write_depth(tmp_path / f"{name}.png", pixels, scale=0.1)
    for suffix in (".exr", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_unwritable_folder(tmp_path):
    for write in (write_exr, lambda path, pixels: write_depth(path, pixels, scale=1.0)):
        with pytest.raises(OutputError, match="no such folder"):
            write(tmp_path / "none" / "a.exr", np.ones((2, 2), np.float32))


def test_failed_exr_write_leaves_nothing(tmp_path, monkeypatch):
    class FullDisk:
        def __init__(self, header, channels):
            pass

        def write(self, path):
            Path(path).write_bytes(b"half")
            raise RuntimeError(f"Cannot write image file {path!r}. No space left on device.")

    monkeypatch.setattr(maps.OpenEXR, "File", FullDisk)
    with pytest.raises(OutputError, match="No space left on device"):
        write_exr(tmp_path / "a.exr", np.ones((2, 2), np.float32))
    assert list(tmp_path.iterdir()) == []
