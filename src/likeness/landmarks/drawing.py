"""Landmarks drawn on a picture."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

_GREEN, _RED, _WHITE = (0, 255, 0), (255, 0, 0), (255, 255, 255)
# The last points of iBUG's chains: jaw, brows, nose, eyes, lips.
_CHAIN_ENDS = frozenset({16, 21, 26, 30, 35, 41, 47, 67})


def draw_landmarks(
    picture: UInt8[np.ndarray, "H W 3"], points_px: Float[np.ndarray, "68 2"], visible: Bool[np.ndarray, "68"]
) -> UInt8[np.ndarray, "H W 3"]:
    """iBUG's landmarks on a picture: white chains, green dots, red ones where hidden."""
    image = Image.fromarray(picture)
    draw, width = ImageDraw.Draw(image), max(min(picture.shape[:2]) // 200, 1)
    radius = 1.5 * width
    for index in range(len(points_px) - 1):
        if index not in _CHAIN_ENDS:
            draw.line([tuple(points_px[index]), tuple(points_px[index + 1])], fill=_WHITE, width=width)
    for (x, y), seen in zip(points_px, visible, strict=True):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_GREEN if seen else _RED)
    return np.array(image)
