"""Photos in every shape users have them, and files that are none."""

import io
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import ExifTags, Image, ImageCms, ImageOps

from likeness import images
from likeness.errors import ImageError, InputError
from likeness.images import BACKGROUND, find_photos, read_focal_px, read_image


@pytest.fixture
def gradient():
    """A small colour picture without symmetries, smooth enough for lossy codecs."""
    y, x = np.mgrid[0:24, 0:40]
    return np.stack([x * 6, y * 10, (x + y) * 3], axis=-1).astype(np.uint8)


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".tga"])
def test_lossless_files_come_back_exactly(tmp_path, gradient, suffix):
    path = saved(tmp_path, Image.fromarray(gradient), "photo" + suffix)
    np.testing.assert_array_equal(read_image(path), gradient)
    np.testing.assert_array_equal(read_image(str(path)), gradient)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".jp2", ".avif"])
def test_lossy_files_come_back_nearly(tmp_path, gradient, suffix):
    path = saved(tmp_path, Image.fromarray(gradient), "photo" + suffix, quality=95)
    assert np.abs(read_image(path).astype(int) - gradient).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_agrees_with_pillow(tmp_path, gradient, orientation, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = saved(tmp_path, Image.fromarray(gradient), "photo" + suffix, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(read_image(image), expected)
    np.testing.assert_array_equal(read_image(path), expected)


def test_heic_is_turned_or_names_the_extra(tmp_path, gradient):
    path = tmp_path / "photo.heic"
    try:
        import pillow_heif
    except ImportError:
        path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
        with pytest.raises(ImageError, match=r'photo\.heic.*pip install "likeness\[heic\]"'):
            read_image(path)
        return
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    # As bytes: only then is the turn written where HEIF wants it, outside the EXIF data, as phones do.
    Image.fromarray(gradient).save(path, exif=exif.tobytes(), quality=95)
    upright = np.rot90(gradient, -1)
    assert read_image(path).shape == upright.shape
    assert np.abs(read_image(path).astype(int) - upright).mean() < 6


def test_grayscale_and_bilevel(tmp_path, gradient):
    gray = Image.fromarray(gradient).convert("L")
    pixels = read_image(saved(tmp_path, gray, "gray.png"))
    np.testing.assert_array_equal(pixels, np.repeat(np.asarray(gray)[..., None], 3, axis=2))
    bilevel = read_image(saved(tmp_path, gray.convert("1"), "bilevel.png"))
    assert bilevel.shape == (24, 40, 3) and set(np.unique(bilevel)) == {0, 255}


def test_alpha_lies_over_mid_gray(tmp_path, gradient):
    alpha = np.zeros((24, 40, 1), np.uint8)
    alpha[:, 20:] = 255
    alpha[:, 30:] = 51  # a fifth
    pixels = read_image(saved(tmp_path, Image.fromarray(np.concatenate([gradient, alpha], 2)), "cut-out.png"))
    assert (pixels[:, :20] == BACKGROUND).all()
    np.testing.assert_array_equal(pixels[:, 20:30], gradient[:, 20:30])
    expected = gradient[:, 30:] * 0.2 + BACKGROUND * 0.8
    np.testing.assert_allclose(pixels[:, 30:], expected, atol=0.5001)  # rounding


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
    image.putpixel((3, 1), 1)
    pixels = read_image(saved(tmp_path, image, "palette.gif", transparency=0))
    assert (pixels[0, 0] == BACKGROUND).all()
    assert pixels[1, 3].tolist() == [200, 100, 50]


def test_rgb_with_a_transparent_colour(tmp_path, gradient):
    path = saved(tmp_path, Image.fromarray(gradient), "key.png", transparency=(0, 0, 0))
    pixels = read_image(path)
    assert (pixels[0, 0] == BACKGROUND).all()
    np.testing.assert_array_equal(pixels[1:, 1:], gradient[1:, 1:])


def test_cmyk(tmp_path, gradient):
    image = Image.fromarray(gradient).convert("CMYK")
    pixels = read_image(saved(tmp_path, image, "print.jpg", quality=95))
    assert np.abs(pixels.astype(int) - gradient).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_gray(tmp_path, suffix):
    deep = (np.arange(24 * 40, dtype=np.uint16) * 68).reshape(24, 40)
    pixels = read_image(saved(tmp_path, Image.fromarray(deep), "deep" + suffix))
    np.testing.assert_allclose(pixels[..., 1], deep / 257, atol=0.5001)


def test_float_tiff_in_unit_range_and_outside(tmp_path):
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    pixels = read_image(saved(tmp_path, Image.fromarray(values), "float.tif"))
    np.testing.assert_allclose(pixels[..., 0], values * 255, atol=0.5001)
    with pytest.raises(ImageError, match=r"float-255\.tif.*0 to 255, expected 0 to 1"):
        read_image(saved(tmp_path, Image.fromarray(values * 255), "float-255.tif"))


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "lime", "blue")]
    path = saved(tmp_path, frames[0], "moving.gif", save_all=True, append_images=frames[1:], duration=100)
    assert (read_image(path) == [255, 0, 0]).all()


def profile_with_swapped_primaries():
    """sRGB whose red and green primaries change places: any colour management at all is plain to see."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data).replace(b"s\0R\0G\0B", b"o\0t\0h\0r")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_embedded_profile_is_converted(tmp_path, mode):
    image = Image.new(mode, (5, 4), (200, 30, 90))
    path = saved(tmp_path, image, "wide.png", icc_profile=profile_with_swapped_primaries())
    np.testing.assert_allclose(read_image(path)[2, 2], [30, 200, 90], atol=2)


@pytest.mark.parametrize("mode", ["P", "L", "LA"])
def test_srgb_profile_changes_nothing(tmp_path, gradient, mode):
    image = Image.fromarray(gradient).convert(mode)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = read_image(saved(tmp_path, image, "plain.png"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an RGB profile on a gray picture is damaged goods, and said so
        tagged = read_image(saved(tmp_path, image, "tagged.png", icc_profile=srgb))
    np.testing.assert_allclose(tagged.astype(int), plain, atol=1)


def test_damaged_profile_is_told_and_ignored(tmp_path, gradient):
    path = saved(tmp_path, Image.fromarray(gradient), "odd.png", icc_profile=b"no profile at all")
    with pytest.warns(UserWarning, match=r"odd\.png: its colour profile is damaged"):
        np.testing.assert_array_equal(read_image(path), gradient)


def test_1x1_and_20000_wide(tmp_path):
    assert read_image(saved(tmp_path, Image.new("RGB", (1, 1), "red"), "dot.png")).tolist() == [[[255, 0, 0]]]
    assert read_image(saved(tmp_path, Image.new("RGB", (20_000, 30)), "wide.png")).shape == (30, 20_000, 3)


def test_what_is_no_photo_is_refused_by_name(tmp_path, gradient):
    (tmp_path / "notes.jpg").write_text("Dear diary, today I was renamed.")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "vector.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    buffer = io.BytesIO()
    Image.fromarray(gradient).resize((400, 240)).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    for name, reason in {
        "notes.jpg": "not a photo",
        "empty.jpg": "empty file",
        "folder.jpg": "a folder",
        "missing.jpg": "no such file",
        "x" * 300 + ".jpg": "cannot be opened",
        "nul\0.jpg": "cannot be opened",
        "vector.jpg": "not a photo",
        "cut.jpg": "damaged or cut short",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            read_image(tmp_path / name)
        message = str(caught.value)
        assert name in message and message.endswith(".") and "\n" not in message


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch, gradient):
    path = saved(tmp_path, Image.fromarray(gradient), "big.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 900)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("pixels were decoded"))
    with pytest.raises(ImageError, match=r"big\.png: 40 × 24 pixels, more than the 900"):
        read_image(path)


# --- arrays and tensors --------------------------------------------------------------------------------------------


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_every_kind_of_array_means_the_same_picture(pixels):
    floats = pixels.astype(np.float64) / 255
    alike = [
        pixels,
        Image.fromarray(pixels),
        pixels.astype(np.uint16) * 257,
        floats,
        floats.astype(np.float32),
        np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=2),
        torch.from_numpy(floats).permute(2, 0, 1),
        torch.from_numpy(pixels).permute(2, 0, 1)[None],
    ]
    for source in alike:
        result = read_image(source)
        assert result.dtype == np.uint8 and result.flags.c_contiguous
        np.testing.assert_array_equal(result, pixels)


def test_gray_arrays():
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for source in (gray, gray[..., None], torch.from_numpy(gray)[None]):
        np.testing.assert_array_equal(read_image(source), np.repeat(gray[..., None], 3, axis=2))


def test_the_result_is_a_copy():
    pixels = np.zeros((2, 2, 3), np.uint8)
    read_image(pixels)[:] = 9
    assert not pixels.any()


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros(4),
        np.zeros((2, 2, 3), np.int64),
        np.zeros((2, 2, 3), complex),
        np.full((2, 2, 3), 255.0),
        np.full((2, 2, 3), np.nan),
        torch.zeros(2, 3, 4, 4),
        torch.zeros(5, 4, 3),
        42,
        None,
    ],
    ids=lambda source: str(getattr(source, "shape", source)),
)
def test_other_values_are_refused(source):
    with pytest.raises(InputError):
        read_image(source)


# --- focal length ---------------------------------------------------------------------------------------------------


def photo_with_exif(tmp_path, size, tags, orientation=1):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    return saved(tmp_path, Image.new("RGB", size), "photo.jpg", exif=exif)


TAG = ExifTags.Base


def test_focal_length_in_35mm_film(tmp_path):
    path = photo_with_exif(tmp_path, (360, 240), {TAG.FocalLengthIn35mmFilm: 50})
    assert read_focal_px(path) == pytest.approx(500)  # a 3:2 picture is ten pixels per film millimetre
    turned = photo_with_exif(tmp_path, (360, 240), {TAG.FocalLengthIn35mmFilm: 50}, orientation=6)
    assert read_focal_px(turned) == pytest.approx(500)


def test_focal_plane_resolution_and_resizing(tmp_path):
    tags = {TAG.FocalLength: 5.0, TAG.FocalPlaneXResolution: 10160.0, TAG.FocalPlaneResolutionUnit: 2}  # 400 per mm
    assert read_focal_px(photo_with_exif(tmp_path, (800, 600), tags)) == pytest.approx(2000)
    tags |= {TAG.ExifImageWidth: 1600, TAG.ExifImageHeight: 1200}  # since halved
    assert read_focal_px(photo_with_exif(tmp_path, (800, 600), tags)) == pytest.approx(1000)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {TAG.FocalLength: 5.0},
        {TAG.FocalLengthIn35mmFilm: 0},
        {TAG.FocalLengthIn35mmFilm: 65535},
        {TAG.FocalLengthIn35mmFilm: 50, TAG.ExifImageWidth: 900, TAG.ExifImageHeight: 100},
        {TAG.FocalLength: 5.0, TAG.FocalPlaneXResolution: 100.0, TAG.FocalPlaneResolutionUnit: 9},
    ],
)
def test_unknown_absurd_or_cropped_focal_length_is_none(tmp_path, tags):
    assert read_focal_px(photo_with_exif(tmp_path, (360, 240), tags)) is None


# --- folders --------------------------------------------------------------------------------------------------------


def test_folders_are_expanded_in_order_and_once(tmp_path, gradient):
    folder = tmp_path / "shoot"
    folder.mkdir()
    for name in ("b.JPG", "a.png", ".hidden.jpg", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "deeper.jpg").mkdir()
    odd, missing = tmp_path / "scan.dat", tmp_path / "missing.jpg"
    odd.write_bytes(b"x")
    found = find_photos([missing, folder, str(odd), folder / "a.png"])
    assert found == [missing, folder / "a.png", folder / "b.JPG", odd]


def test_a_folder_without_photos(tmp_path):
    with pytest.raises(ImageError, match="a folder without photos"):
        find_photos([tmp_path])
