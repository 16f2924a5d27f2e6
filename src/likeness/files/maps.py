"""Pictures and maps: 8-bit PNG, 16-bit PNG that stands for millimetres, and float EXR. Sizes are checked unread."""

import io
import os
import re
from pathlib import Path

import numpy as np
import OpenEXR
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from likeness.atomic import atomic_path, write_bytes
from likeness.errors import FileFormatError, InputError, OutputError
from likeness.images import open_image

MAX_EXR_BYTES = 1 << 30
"""Largest EXR image, decoded."""


# --- 8-bit ----------------------------------------------------------------------------------------------------------


def write_image(path: str | os.PathLike, pixels: UInt8[np.ndarray, "H W C"]) -> None:
    """Write `(H, W)` gray, `(H, W, 3)` RGB or `(H, W, 4)` RGBA as 8-bit PNG. Raises `InputError`, `OutputError`."""
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not is_picture or 0 in pixels.shape:
        raise InputError(
            f"{Path(path).name}: cannot be made from {pixels.shape} {pixels.dtype}, expected uint8 (H, W), (H, W, 3) "
            "or (H, W, 4)."
        )
    _write_png(path, pixels)


# --- 16-bit ---------------------------------------------------------------------------------------------------------


def write_depth(path: str | os.PathLike, depth_mm: Float[np.ndarray, "H W"], *, scale: float) -> None:
    """Write depth as 16-bit PNG: value × `scale` is millimetres, and 0 is "nothing seen" (also NaN and infinity).

    Raises `InputError` for depths that are negative or beyond 65535 × `scale`, and `OutputError`.
    """
    steps = np.where(np.isfinite(depth_mm), depth_mm, 0) / scale
    # What is seen never becomes 0, which would mean nothing; and what is behind the camera is never rounded to it.
    steps = np.where(steps > 0, np.maximum(np.rint(steps), 1), np.floor(steps))
    _write_steps(path, steps, f"depths from 0 to {65535 * scale:g} mm at a scale of {scale:g} mm")


def read_depth(path: str | os.PathLike, *, scale: float) -> Float32[np.ndarray, "H W"]:
    """Depth in mm from a 16-bit PNG; NaN where nothing was seen. Raises `ImageError`, `FileFormatError`."""
    steps = _read_steps(path)
    return np.where(steps == 0, np.nan, steps * scale).astype(np.float32)


def write_displacement(
    path: str | os.PathLike, displacement_mm: Float[np.ndarray, "H W"], *, scale: float, offset: float
) -> None:
    """Write displacement as 16-bit PNG: value × `scale` + `offset` is millimetres.

    Raises `InputError` for values beyond that range or not finite, and `OutputError`.
    """
    write_bytes(path, displacement_png(displacement_mm, scale=scale, offset=offset, name=Path(path).name))


def displacement_png(
    displacement_mm: Float[np.ndarray, "H W"], *, scale: float, offset: float, name: str = "displacement"
) -> bytes:
    """The content of such a file. Raises `InputError` as `write_displacement` does, calling the map ``name``."""
    steps = np.rint((displacement_mm - offset) / scale)
    return _steps_png(name, steps, f"displacements from {offset:g} to {offset + 65535 * scale:g} mm")


def read_displacement(path: str | os.PathLike, *, scale: float, offset: float) -> Float32[np.ndarray, "H W"]:
    """Displacement in mm from a 16-bit PNG. Raises `ImageError`, `FileFormatError`."""
    return (_read_steps(path) * scale + offset).astype(np.float32)


def _write_steps(path: str | os.PathLike, steps: np.ndarray, reach: str) -> None:
    write_bytes(path, _steps_png(Path(path).name, steps, reach))


def _steps_png(name: str, steps: np.ndarray, reach: str) -> bytes:
    if steps.ndim != 2 or 0 in steps.shape:
        raise InputError(f"{name}: a map of shape {steps.shape} cannot be written, expected (H, W).")
    if not (steps.min() >= 0 and steps.max() <= 65535):  # also refuses NaN
        raise InputError(f"{name}: 16 bit hold {reach}, and the values reach further; choose another scale.")
    return _png(steps.astype(np.uint16))


def _read_steps(path: str | os.PathLike) -> Float[np.ndarray, "H W"]:
    with open_image(path) as image:
        if image.mode not in ("I;16", "I;16B", "I"):
            raise FileFormatError(f"{path}: not a 16-bit gray PNG; give the file as it was written.")
        try:
            return np.asarray(image).astype(np.float64)
        except Exception as error:  # decoders fail on hostile data with nearly every type there is
            raise FileFormatError(f"{path}: damaged or cut short ({error}); write it again.") from error


def _write_png(path: str | os.PathLike, pixels: np.ndarray) -> None:
    write_bytes(path, _png(pixels))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    # The level is named so that the bytes do not depend on a default.
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


# --- EXR ------------------------------------------------------------------------------------------------------------


def write_exr(path: str | os.PathLike, pixels: Float[np.ndarray, "H W C"]) -> None:
    """Write `(H, W)` as channel Y or `(H, W, 3)` as RGB, 32-bit float, losslessly compressed.

    Raises `InputError`, `OutputError`.
    """
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if not np.issubdtype(pixels.dtype, np.floating) or not is_picture or 0 in pixels.shape:
        raise InputError(
            f"{Path(path).name}: cannot be made from {pixels.shape} {pixels.dtype}, expected float (H, W) or (H, W, 3)."
        )
    channels = {"Y" if pixels.ndim == 2 else "RGB": np.ascontiguousarray(pixels, np.float32)}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with atomic_path(path) as temporary:
        try:
            OpenEXR.File(header, channels).write(str(temporary))
        except RuntimeError as error:  # the library's word for every failed write
            raise OutputError(
                f"{Path(path).name} cannot be written into the folder {Path(path).parent} ({_short(error)}); free "
                "some space or choose another folder."
            ) from error


def read_exr(path: str | os.PathLike) -> Float32[np.ndarray, "H W C"]:
    """An EXR image with channels R, G, B as `(H, W, 3)`, or with a single channel as `(H, W)`.

    Raises `FileFormatError` for a file that is damaged, too large once decoded, or of other channels.
    """
    path = Path(path)
    _check_exr_size(path)
    try:
        channels = OpenEXR.File(str(path), separate_channels=True).channels()
        pixels = {name: channel.pixels for name, channel in channels.items()}
    except Exception as error:  # as in _read_steps
        raise FileFormatError(f"{path}: damaged or cut short ({_short(error)}); write it again.") from error
    if {"R", "G", "B"} <= pixels.keys():
        return np.stack([pixels[name] for name in "RGB"], axis=-1).astype(np.float32)
    if len(pixels) == 1:
        return next(iter(pixels.values())).astype(np.float32)
    raise FileFormatError(f"{path}: has channels {', '.join(sorted(pixels)):.100}, expected R, G, B or a single one.")


def _check_exr_size(path: Path) -> None:
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file; check the name.")
    try:
        parts = OpenEXR.File(str(path), header_only=True).parts
        header = parts[0].header
        (left, top), (right, bottom) = header["dataWindow"]
        size = (int(right) - int(left) + 1, int(bottom) - int(top) + 1)
        n_channels = len(header["channels"])
    except Exception as error:  # as in _read_steps
        raise FileFormatError(
            f"{path}: not an EXR image that can be read ({_short(error)}); write it again."
        ) from error
    if len(parts) > 1 or header.get("type") not in (None, OpenEXR.scanlineimage, OpenEXR.tiledimage):
        raise FileFormatError(f"{path}: has several parts or is a deep image; save it as a single flat image.")
    if size[0] * size[1] * n_channels * 4 > MAX_EXR_BYTES:
        raise FileFormatError(
            f"{path}: {size[0]} × {size[1]} pixels of {n_channels} channels, more than the {MAX_EXR_BYTES:,} bytes "
            "that are decoded; save a smaller version of it."
        )


def _short(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:200]
