"""From the texture to what the generators take: the face's window, brought to the colours they were trained on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from likeness.errors import InputError

ROWS, COLUMNS = slice(600, 2500), slice(1100, 3000)
"""The face's window in the 4096² map."""
WINDOW = 1900
NETWORK_SIZE = 1024

# Mean and deviation of L, a, b over the training textures' faces, in 8-bit Lab (the release's constants).
_MEAN = np.array([145.32921, 143.36488, 147.16614])
_DEVIATION = np.array([22.719374, 2.6790402, 2.9267197])

# sRGB primaries to CIE XYZ over the D65 white point (IEC 61966-2-1).
_RGB_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_RGB_TO_XYZ_OVER_WHITE = _RGB_TO_XYZ / np.array([[0.950456], [1.0], [1.088754]])
_EPSILON, _KAPPA = 0.008856, 903.3


def _linear(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _lab_f(t: np.ndarray) -> np.ndarray:
    return np.where(t < 216 / 24389, t * 841 / 108 + 16 / 116, np.cbrt(t))


# Linear light in 2040 steps, XYZ factors over 4096, f in steps of 1/32768, as OpenCV's integer tables have them.
_LINEAR_2040 = np.rint(2040 * _linear(np.arange(256) / 255)).astype(np.int64)
_XYZ_4096 = np.rint(4096 * _RGB_TO_XYZ_OVER_WHITE).astype(np.int64)
_F_32768 = np.rint(32768 * _lab_f(np.arange(3072) / 2040)).astype(np.int64)
_L_FACTOR, _L_SHIFT = (116 * 255 + 50) // 100, (16 * 255 * 32768 + 50) // 100


def network_image(
    texture: UInt8[np.ndarray, "4096 4096 3"], face_mask: Bool[np.ndarray, "1024 1024"]
) -> UInt8[np.ndarray, "1024 1024 3"]:
    """The RGB picture the networks see. Raises InputError for a face of one flat colour."""
    return match_colours(crop_window(texture), face_mask)


def crop_window(texture: UInt8[np.ndarray, "4096 4096 3"]) -> UInt8[np.ndarray, "1024 1024 3"]:
    """The window, bilinearly at the networks' size, cut to whole numbers."""
    window = torch.from_numpy(np.ascontiguousarray(texture[ROWS, COLUMNS])).permute(2, 0, 1)[None].double()
    small = interpolate(window, size=(NETWORK_SIZE, NETWORK_SIZE), mode="bilinear", align_corners=False)
    # A hair above, as sums that should be whole come out a rounding error below.
    return (small[0].permute(1, 2, 0) + 1e-9).to(torch.uint8).numpy()


def match_colours(rgb: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Shift and stretch the masked pixels in Lab so that their mean and deviation are the training set's (Reinhard et
    al., 2001); all others stay.

    Raises InputError where a channel does not vary, which has no deviation to stretch.
    """
    lab = rgb_to_lab(rgb[mask]).astype(np.float64)
    mean, deviation = lab.mean(0), lab.std(0)
    if not (deviation > 0).all():
        raise InputError(
            "the face has no colour to match to FaceScape's training photos (a grey or flat picture); use a photo in "
            "colour."
        )
    moved = (lab - mean) * (_DEVIATION / deviation) + _MEAN
    result = rgb.copy()
    result[mask] = lab_to_rgb(moved.clip(0, 255).astype(np.uint8))
    return result


def to_tensor(rgb: UInt8[np.ndarray, "H W 3"]) -> Float[Tensor, "1 3 H W"]:
    """In [−1, 1]."""
    return torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


def rgb_to_lab(rgb: UInt8[np.ndarray, "*N 3"]) -> UInt8[np.ndarray, "*N 3"]:
    """sRGB → CIE L*a*b* in 8 bit: L · 255/100, a + 128, b + 128.

    In the fixed-point arithmetic of OpenCV's 8-bit conversion, whose rounded factors shift L by an eighth of a level:
    the training statistics were measured with it.
    """
    linear = _LINEAR_2040[rgb].astype(np.int64)
    fx, fy, fz = np.moveaxis(_F_32768[_descale(linear @ _XYZ_4096.T, 12)], -1, 0)
    lightness = _descale(_L_FACTOR * fy - _L_SHIFT, 15)
    chroma = [
        _descale(factor * difference + (128 << 15), 15) for factor, difference in ((500, fx - fy), (200, fy - fz))
    ]
    return np.stack([lightness, *chroma], -1).clip(0, 255).astype(np.uint8)


def lab_to_rgb(lab: UInt8[np.ndarray, "*N 3"]) -> UInt8[np.ndarray, "*N 3"]:
    """8-bit Lab → sRGB; colours beyond it are cut."""
    lightness, a, b = np.moveaxis(lab.astype(np.float64), -1, 0)
    fy = (lightness / 2.55 + 16) / 116
    f = np.stack([fy + (a - 128) / 500, fy, fy - (b - 128) / 200], -1)
    xyz = np.where(f**3 > _EPSILON, f**3, (116 * f - 16) / _KAPPA)
    linear = (xyz @ np.linalg.inv(_RGB_TO_XYZ_OVER_WHITE).T).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return _bytes(encoded * 255)


def _descale(values: np.ndarray, bits: int) -> np.ndarray:
    return (values + (1 << (bits - 1))) >> bits


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
