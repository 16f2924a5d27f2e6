"""Pictures that claim to be huge, end too soon, or would have other programs started."""

import io
import struct
import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import assert_refused
from PIL import Image

from likeness.errors import LikenessError
from likeness.images import read_image

SETUP = "from likeness.images import read_image"


def png(width, height, *, rows=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def encoded(kind, size=(300, 200), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def gif_header(width, height):
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + b"," + bytes(4)


def test_decompression_bombs(tmp_path):
    bmp = bytearray(encoded("BMP"))
    bmp[18:26] = struct.pack("<ii", 50_000, 50_000)
    tiff = bytearray(encoded("TIFF"))
    for tag in (256, 257):  # ImageWidth, ImageLength
        at = tiff.index(struct.pack("<HH", tag, 3 if struct.pack("<HH", tag, 3) in tiff else 4))
        tiff[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 50_000)
    files = {
        "empty-bomb.png": png(50_000, 50_000),
        "zeros-bomb.png": png(50_000, 50_000, rows=bytes(1 << 22)),
        "widest.png": png(2**31 - 1, 2**31 - 1),
        "bomb.bmp": bytes(bmp),
        "bomb.tif": bytes(tiff),
        "bomb.gif": gif_header(65535, 65535) + struct.pack("<HH", 65535, 65535) + b"\0\x08\0;",
        "bomb.ppm": b"P6 50000 50000 255\n\0",
        # Within bounds, but without the data: refused before rows are made up for it.
        "hollow.png": png(13_000, 13_000),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in files]
    # 13,000 × 13,000 × 3 bytes are 507 MB, in the decoder alone.
    assert_refused(paths, setup=SETUP, call="read_image(path)", max_megabytes=900)


def test_pictures_cut_short_anywhere(tmp_path):
    paths = []
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"), ("GIF", "gif")):
        data = encoded(kind)
        for share in (0.001, 0.01, 0.1, 0.5, 0.9):
            paths.append(tmp_path / f"cut-{share}.{suffix}")
            paths[-1].write_bytes(data[: max(1, int(len(data) * share))])
    assert_refused(paths, setup=SETUP, call="read_image(path)", max_megabytes=400)


def test_formats_that_start_other_programs_are_not_opened(tmp_path):
    (tmp_path / "a.jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(/etc/passwd) run\nshowpage\n%%EOF\n"
    )
    assert_refused([tmp_path / "a.jpg"], setup=SETUP, call="read_image(path)", max_megabytes=400)


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.jpg")
    assert_refused([tmp_path / "pipe.jpg"], setup=SETUP, call="read_image(path)", max_megabytes=400)


SOUND = [encoded("JPEG", (40, 30)), encoded("PNG", (40, 30)), encoded("TIFF", (40, 30)), encoded("WEBP", (40, 30))]


@given(st.sampled_from(SOUND), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_give_a_picture_or_a_sentence(tmp_path_factory, data, changes):
    damaged = bytearray(data)
    for where, value in changes:
        damaged[int(where * (len(data) - 1))] = value
    path = tmp_path_factory.getbasetemp() / "damaged.img"
    path.write_bytes(damaged)
    try:
        pixels = read_image(path)
    except LikenessError as error:
        assert str(path) in str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
