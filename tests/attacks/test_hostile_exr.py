"""EXR images with absurd headers."""

import struct

import numpy as np
import OpenEXR
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import assert_refused

from likeness.errors import FileFormatError
from likeness.files.maps import read_exr, write_exr

SETUP = "from likeness.files.maps import read_exr"


def sound_exr(tmp_path, name="sound.exr"):
    write_exr(tmp_path / name, np.random.default_rng(0).random((7, 9, 3)).astype(np.float32))
    return (tmp_path / name).read_bytes()


def with_attribute(data, name, kind, value):
    at = data.index(name + b"\0" + kind + b"\0") + len(name) + len(kind) + 2 + 4
    return data[:at] + value + data[at + len(value) :]


def test_absurd_headers(tmp_path):
    data = sound_exr(tmp_path)
    windows = [
        (0, 0, 2**31 - 2, 2**31 - 2),
        (0, 0, 10**5, 10**5),
        (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1),
        (0, 0, 20_000, 4_000),
        (5, 5, 0, 0),
    ]
    files = {
        f"window {i}": with_attribute(data, b"dataWindow", b"box2i", struct.pack("<4i", *window))
        for i, window in enumerate(windows)
    }
    files |= {f"cut at {n}": data[:n] for n in (0, 4, 100, 300, len(data) - 10)}
    files["text"] = b"v/1\x01 this is not an EXR image at all"
    paths = []
    for name, content in files.items():
        paths.append(tmp_path / f"{name}.exr")
        paths[-1].write_bytes(content)
    assert_refused([*paths, tmp_path / "missing.exr"], setup=SETUP, call="read_exr(path)", max_megabytes=900)


def test_images_of_other_kinds(tmp_path):
    pixels = np.zeros((8, 8), np.float32)
    parts = [OpenEXR.Part({}, {"Y": pixels}, name) for name in ("first", "second")]
    OpenEXR.File(parts).write(str(tmp_path / "parts.exr"))
    assert_refused([tmp_path / "parts.exr"], setup=SETUP, call="read_exr(path)", max_megabytes=600)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_flipped_bytes_give_an_image_or_a_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(sound_exr(folder))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged.exr"
    path.write_bytes(content)
    try:
        pixels = read_exr(path)
    except FileFormatError as error:
        assert str(path) in str(error)
    else:
        assert pixels.dtype == np.float32
