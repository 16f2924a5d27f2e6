"""Square windows on a picture: where a network looks, and the pixels that it sees there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

# Sampling positions are rounded to this fraction of a pixel, as in OpenCV's warps, which MediaPipe uses: the pixels
# then agree with MediaPipe's, and integers are faster.
SUBPIXEL_BITS = 5
SUBPIXELS = 1 << SUBPIXEL_BITS
FRACTION = SUBPIXELS - 1
FAR = 2.0**29
# Rows that are sampled together: few enough for the temporaries to stay in the cache.
N_ROWS = 32


@dataclass(frozen=True)
class Window:
    """A square of `side` pixels around `(x, y)`, turned by `angle` radians from the x axis towards the y axis."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_image(self, n_pixels: int) -> Float[np.ndarray, "2 3"]:
        """Affine from pixels of the window, sampled at `n_pixels` a side, to pixels of the picture."""
        scale = self.side / n_pixels
        cos, sin = np.cos(self.angle) * scale, np.sin(self.angle) * scale
        linear = np.array([[cos, -sin], [sin, cos]])
        origin = np.array([self.x, self.y]) - linear @ np.full(2, n_pixels / 2)
        return np.column_stack([linear, origin])


def sample_window(
    image: UInt8[np.ndarray, "H W 3"], window: Window, n_pixels: int, *, outside: Literal["edge", "black"]
) -> UInt8[np.ndarray, "n n 3"]:
    """The window's content at `n_pixels` a side, bilinear; `outside` says what lies beyond the picture.

    Pixel (i, j) is read where the corner (i, j) of the window's grid falls, taken as an index of pixel *centres* of the
    picture. That is half a window pixel (less half a picture pixel) off what the conventions ask for, and meant: it is
    how MediaPipe reads, and its networks answer for it: judged by 69 photos and their mirror images, the points have
    a bias of 0.01 window pixels with these positions, and of 0.2 with sampling at pixel centres. Averaging areas before
    shrinking made the points no steadier.

    The time depends on `n_pixels`, not on the size of the picture.
    """
    height, width = image.shape[:2]
    pixels = image.reshape(-1, 3)
    affine = window.to_image(n_pixels)
    steps = np.arange(n_pixels)
    # Far outside, any place is as good as another: keeps the subpixels within 32 bits.
    positions = [((a * steps).clip(-FAR, FAR), (b * steps + c).clip(-FAR, FAR)) for a, b, c in affine * SUBPIXELS]
    corners = [p[0][[0, 0, -1, -1]] + p[1][[0, -1, 0, -1]] for p in positions]
    is_inside = all(
        at.min() >= SUBPIXELS and at.max() < (extent - 2) * SUBPIXELS
        for at, extent in zip(corners, (width, height), strict=True)
    )
    read = _read_inside if is_inside else partial(_read_anywhere, height=height, black=outside == "black")
    sampled = np.empty((n_pixels, n_pixels, 3), np.uint8)
    for begin in range(0, n_pixels, N_ROWS):
        x, y = (
            np.rint(along_x + along_y[begin : begin + N_ROWS, None]).astype(np.int32).ravel()
            for along_x, along_y in positions
        )
        rows = read(pixels, x, y, width)
        sampled[begin : begin + N_ROWS] = rows.reshape(-1, n_pixels, 3)
    return sampled


def _read_inside(pixels: np.ndarray, x: np.ndarray, y: np.ndarray, width: int) -> np.ndarray:
    """Bilinear reading at positions in subpixels that have all four neighbours in the picture."""
    right, below = x & FRACTION, y & FRACTION
    corner = ((y >> SUBPIXEL_BITS).astype(np.intp)) * width + (x >> SUBPIXEL_BITS)
    indices = (corner, corner + 1, corner + width, corner + width + 1)
    return _blend(pixels, indices, (SUBPIXELS - right, right), (SUBPIXELS - below, below))


def _read_anywhere(
    pixels: np.ndarray, x: np.ndarray, y: np.ndarray, width: int, *, height: int, black: bool
) -> np.ndarray:
    """As `_read_inside`; neighbours beyond the picture are black, or the nearest pixel of its border."""
    columns, rows = ((at >> SUBPIXEL_BITS, (at >> SUBPIXEL_BITS) + 1) for at in (x, y))
    x_weights, y_weights = ((SUBPIXELS - (at & FRACTION), at & FRACTION) for at in (x, y))
    if black:
        x_weights = tuple(w * ((c >= 0) & (c < width)) for w, c in zip(x_weights, columns, strict=True))
        y_weights = tuple(w * ((r >= 0) & (r < height)) for w, r in zip(y_weights, rows, strict=True))
    left, right = (c.clip(0, width - 1) for c in columns)
    top, bottom = (r.clip(0, height - 1).astype(np.intp) * width for r in rows)
    indices = (top + left, top + right, bottom + left, bottom + right)
    return _blend(pixels, indices, x_weights, y_weights)


def _blend(
    pixels: np.ndarray, indices: tuple[np.ndarray, ...], x_weights: tuple[np.ndarray, ...], y_weights: tuple
) -> np.ndarray:
    """Weighted sum of four pixels each, rounded to nearest."""
    total = np.full((len(indices[0]), 3), 1 << (2 * SUBPIXEL_BITS - 1), np.int32)
    for corner, index in enumerate(indices):
        weight = y_weights[corner // 2] * x_weights[corner % 2]
        total += pixels.take(index, axis=0, mode="clip") * weight[:, None]
    return total >> 2 * SUBPIXEL_BITS
