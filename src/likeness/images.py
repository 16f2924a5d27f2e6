"""Photos at the door: whatever the user has becomes `(H, W, 3)` uint8 sRGB, upright; what is no photo is refused.

Decoding is bounded: the size in the header is checked before any pixel is decoded, and only plain picture formats
are opened (none that would start another program, as EPS does).
"""

import math
import os
import stat
import sys
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import ExifTags, Image, ImageCms

from likeness.errors import ImageError, InputError

if TYPE_CHECKING:
    import torch

ImageSource: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor"

MAX_PIXELS = 178_956_970
"""Largest photo that is decoded (about 13,000 × 13,000 pixels): where Pillow, too, speaks of a decompression bomb."""

BACKGROUND = 128
"""Gray (8-bit sRGB) seen through transparent pixels: neither dark hair nor a white collar melts into it."""

# fmt: off
PHOTO_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif",
    ".avif", ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".tga",
})
# fmt: on
"""What a folder is searched for."""

_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "TGA", "HEIF")
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_ORIENTATION_TAG = 0x0112
_FULL_FRAME_DIAGONAL_MM = math.hypot(36, 24)


def read_image(source: ImageSource) -> UInt8[np.ndarray, "H W 3"]:
    """The first frame of a photo as upright 8-bit sRGB, from a path, a PIL image, an array or a tensor.

    Files and PIL images: EXIF orientation applied, embedded colour profiles converted to sRGB, palettes, grayscale,
    CMYK and 16-bit brought to 8-bit RGB, transparency laid over mid-gray (`BACKGROUND`).
    Arrays: `(H, W)` or `(H, W, C)` with C = 1 gray, 2 gray + alpha, 3 RGB or 4 RGBA; uint8, uint16, or float in [0, 1].
    Tensors: the same values as `(C, H, W)` or `(1, C, H, W)`.

    Raises `ImageError` for files that are missing, damaged, too large or no photo; `InputError` for other values.
    """
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source))
    if isinstance(source, Image.Image):
        return _decode(source, getattr(source, "filename", "") or "the image")
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source, "the image array")
    if (torch := sys.modules.get("torch")) is not None and isinstance(source, torch.Tensor):
        return _tensor_to_rgb(source)
    raise InputError(
        f"An image cannot be a {type(source).__name__}; give a path, a PIL image, a numpy array or a torch tensor."
    )


def find_photos(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """The photos meant by files and folders: a folder stands for the photos directly in it, sorted by name.

    Files are taken as they are, even missing ones, so that each is reported in its own turn; no photo comes twice.
    Raises `ImageError` for a folder without photos.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        found.update(dict.fromkeys(_photos_in(path) if path.is_dir() else [path]))
    return list(found)


def read_focal_px(source: str | os.PathLike | Image.Image) -> float | None:
    """The focal length in pixels that a photo's EXIF data claims, or None where they say nothing or contradict it.

    `FocalLengthIn35mmFilm` is read as CIPA DC-008 defines it, by equal *diagonal* angles of view
    (43.27 mm is the diagonal of 36 × 24 mm); else `FocalLength` over the focal plane's pixel pitch. Turning the
    photo upright does not change the value. None, too, if the photo was cropped after it was taken (its aspect is
    not the recorded one): its diagonal is then no longer the sensor's. Raises `ImageError` as `read_image` does.
    """
    if isinstance(source, Image.Image):
        return _focal_px(source, "the image")
    with open_image(source) as image:
        return _focal_px(image, str(source))


def open_image(path: str | os.PathLike) -> Image.Image:
    """A photo's header (size, EXIF) without its pixels; close it after use. Raises `ImageError`."""
    path = Path(path)
    _refuse_unreadable(path)
    formats = _known_formats(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns at half the size at which it refuses; MAX_PIXELS is the bound here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=formats)
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: more than {_too_large()}") from None
    except Exception as error:  # decoders fail on hostile headers with nearly every type there is
        raise ImageError(
            f"{path}: not a photo that can be read (its content is no known picture format or its header is "
            "damaged); save it again as JPEG or PNG."
        ) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ImageError(f"{path}: {image.width} × {image.height} pixels, more than {_too_large()}")
    return image


def _read_file(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    with open_image(path) as image:
        return _decode(image, str(path))


def _photos_in(folder: Path) -> list[Path]:
    photos = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
    if not photos:
        raise ImageError(f"{folder}: a folder without photos; give photos, or a folder with JPEG or PNG files in it.")
    return photos


def _refuse_unreadable(path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path}: a folder, not a photo; give the photos in it.")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could keep us waiting for ever
            raise ImageError(f"{path}: not a regular file; give a photo.")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the name.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: cannot be opened ({reason}); check its name and permissions.") from error
    if status.st_size == 0:
        raise ImageError(f"{path}: an empty file; copy the photo again.")


def _known_formats(path: Path) -> list[str]:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        _register_heic(path)
    Image.init()
    # TGA has no signature: anything could pass for one, so only the name decides.
    return [f for f in _FORMATS if f in Image.OPEN and (f != "TGA" or path.suffix.lower() == ".tga")]


def _register_heic(path: Path) -> None:
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImageError(
            f'{path}: a HEIC photo needs an extra package; run pip install "likeness[heic]", or save it as JPEG.'
        ) from None
    pillow_heif.register_heif_opener()


def _too_large() -> str:
    return f"the {MAX_PIXELS:,} that are decoded; save a smaller version of it."


def _decode(image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{name}: {image.width} × {image.height} pixels, more than {_too_large()}")
    try:
        image.load()
        pixels = _pixels(image, name)
        # Asked for after loading: Pillow turns TIFF files itself and then drops the tag.
        return np.ascontiguousarray(_upright(pixels, _exif(image, name).get(_ORIENTATION_TAG, 1)))
    except (ImageError, InputError):
        raise
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory for this photo; save a smaller version of it.") from error
    except Exception as error:  # as in open_image
        raise ImageError(
            f"{name}: damaged or cut short ({error}); copy it again from the camera or save it again as JPEG or PNG."
        ) from error


def _pixels(image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """8-bit sRGB, not yet turned upright."""
    if image.mode.startswith("I;16"):
        return _array_to_rgb(np.asarray(image).astype(np.uint16), name)
    if image.mode in ("I", "F"):
        return _wide_to_rgb(np.asarray(image), image.mode, name)
    if image.mode == "P" or "transparency" in image.info:
        image = _keeping_profile(image, "RGBA")
    elif image.mode in ("1", "YCbCr", "HSV"):
        image = _keeping_profile(image, "L" if image.mode == "1" else "RGB")
    image = _to_srgb(image, name)
    if image.has_transparency_data:
        return _over_background(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _keeping_profile(image: Image.Image, mode: str) -> Image.Image:
    converted = image.convert(mode)
    if "icc_profile" in image.info:
        converted.info["icc_profile"] = image.info["icc_profile"]
    return converted


def _wide_to_rgb(values: np.ndarray, mode: str, name: str) -> UInt8[np.ndarray, "H W 3"]:
    limit = 65535 if mode == "I" else 1.0
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= limit):  # also refuses NaN
        raise ImageError(
            f"{name}: {'32-bit' if mode == 'I' else 'float'} values from {low:g} to {high:g}, expected 0 to {limit:g}; "
            "save it as 8-bit JPEG or PNG."
        )
    return _array_to_rgb(values.astype(np.uint16 if mode == "I" else np.float32), name)


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    data = image.info.get("icc_profile")
    if not data or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        return image
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
        if image.mode.startswith("RGB") and "srgb" in ImageCms.getProfileDescription(profile).lower():
            return image
        if image.mode == "LA":  # Little CMS knows no gray with alpha
            gray = ImageCms.profileToProfile(image.getchannel("L"), profile, _srgb(), outputMode="RGB")
            assert gray is not None
            gray.putalpha(image.getchannel("A"))
            return gray
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, profile, _srgb(), outputMode=mode)
        assert converted is not None
        return converted
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        # Browsers, too, show such a picture as if it were sRGB.
        warnings.warn(f"{name}: its colour profile is damaged ({error}); read as sRGB.", stacklevel=2)
        return image


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _over_background(rgba: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "H W 3"]:
    """Straight alpha, blended in sRGB values as browsers do; in integers, 255·255 fits in 16 bits."""
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = rgba[..., :3] * alpha + BACKGROUND * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def _exif(image: Image.Image, name: str) -> Image.Exif:
    try:
        return image.getexif()
    except Exception as error:  # cameras and editors write much that is no EXIF; the pixels are still good
        warnings.warn(f"{name}: its EXIF data are damaged ({error}) and not used.", stacklevel=2)
        return Image.Exif()


def _focal_px(image: Image.Image, name: str) -> float | None:
    exif = _exif(image, name)
    try:
        tags = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception as error:  # as in _exif
        warnings.warn(f"{name}: its EXIF data are damaged ({error}) and not used.", stacklevel=2)
        return None
    width, height = image.size
    recorded = [_positive(tags.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    if recorded[0] and recorded[1] and _is_cropped((width, height), (recorded[0], recorded[1])):
        return None
    if focal_35mm := _positive(tags.get(ExifTags.Base.FocalLengthIn35mmFilm)):
        focal_px = focal_35mm / _FULL_FRAME_DIAGONAL_MM * math.hypot(width, height)
    else:
        # The pitch belongs to the recorded size; resizing keeps the ratio of focal length to image size.
        shrink = max(width, height) / max(recorded[0], recorded[1]) if recorded[0] and recorded[1] else 1.0
        focal_px = _positive(tags.get(ExifTags.Base.FocalLength)) * _pixels_per_mm(tags) * shrink
    # From a fisheye's 120° to a 2-metre telephoto lens; anything else is a slip of the pen.
    return focal_px if 0.25 < focal_px / math.hypot(width, height) < 50 else None


def _pixels_per_mm(tags: dict) -> float:
    mm_per_unit = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}.get(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2), 0.0)
    resolution = _positive(tags.get(ExifTags.Base.FocalPlaneXResolution))
    return resolution / mm_per_unit if mm_per_unit else 0.0


def _is_cropped(size: tuple[int, int], recorded: tuple[float, float]) -> bool:
    """Aspects further apart than resizing's rounding can bring them; the recorded size may lie on its side."""
    aspect, recorded_aspect = max(size) / min(size), max(recorded) / min(recorded)
    return abs(aspect / recorded_aspect - 1) > 0.02


def _positive(value: Any) -> float:
    """A finite positive EXIF number, or 0: rationals with a zero denominator and text occur."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0
    return number if 0 < number < math.inf else 0.0


def _upright(pixels: UInt8[np.ndarray, "H W 3"], orientation: Any) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Undo the EXIF orientation (Exif 2.3, tag 0x0112: where the stored row 0 and column 0 are seen)."""
    if orientation in (5, 6, 7, 8):  # stored rows are seen as columns
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _tensor_to_rgb(tensor: "torch.Tensor") -> UInt8[np.ndarray, "H W 3"]:
    shape = tuple(tensor.shape)
    if tensor.ndim == 4 and shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 2, 3, 4):
        raise InputError(f"The image tensor has shape {shape}, expected (3, H, W) or (1, 3, H, W); pass one at a time.")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy knows no bfloat16
    return _array_to_rgb(tensor.permute(1, 2, 0).numpy(), "the image tensor")


def _array_to_rgb(array: np.ndarray, name: str) -> UInt8[np.ndarray, "H W 3"]:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise InputError(
            f"{name}: shape {array.shape}, expected (H, W), (H, W, 3) or (H, W, 4) with at least one pixel."
        )
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(f"{name}: {array.shape[1]} × {array.shape[0]} pixels, more than {_too_large()}")
    pixels = _to_uint8(array, name)
    n_channels = pixels.shape[2]
    if n_channels < 3:
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], axis=2)
    if n_channels in (2, 4):
        return _over_background(pixels)
    return np.array(pixels, order="C")  # a copy: the caller's array may change later


def _to_uint8(array: Float[np.ndarray, "H W C"] | np.ndarray, name: str) -> UInt8[np.ndarray, "H W C"]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name}: values of type {array.dtype}, expected uint8, uint16, or float in [0, 1].")
    low, high = float(array.min()), float(array.max())
    # The slack forgives rounding and the overshoot of common resizing filters, not the range [0, 255].
    if not (low >= -0.5 and high <= 1.5):
        raise InputError(
            f"{name}: float values from {low:g} to {high:g}, expected [0, 1]; divide by 255 or convert to uint8."
        )
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
