"""One picture of an expression transfer: the photos above, the person wearing each expression below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from likeness.displaced import displaced_surface
from likeness.face import Face
from likeness.render.pictures import over, portrait_camera, shaded_view, to_uint8

_PANEL = 288
_VIEWS = (0.0, 40.0)
_GREY = 236


def transfer_sheet(
    photo: UInt8[np.ndarray, "H W 3"],
    source: Face,
    steps: Sequence[tuple[UInt8[np.ndarray, "H2 W2 3"], Face]],
    *,
    size: int = _PANEL,
) -> UInt8[np.ndarray, "h w 3"]:
    """The source in the first column, then a column for each expression photo with the Face `transfer` made of it.

    Rows: the photo; clay with its wrinkles from the front; the same turned.
    """
    columns = [_column(pixels, face, source, size) for pixels, face in ((photo, source), *steps)]
    return np.concatenate(columns, 1)


def clay_picture(face: Face, like: Face, *, size: int = _PANEL, yaw: float = 0.0) -> UInt8[np.ndarray, "size size 3"]:
    """A Face in clay with its displacement, seen by a camera that shows the whole of ``like``.

    One ``like`` for many pictures keeps the camera still.
    """
    surface = displaced_surface(face)
    camera = portrait_camera(like.vertices[None], (size, size), yaw=yaw)
    layer = shaded_view(surface.vertices[None], surface.triangles, camera, (size, size))
    return to_uint8(over(layer))


def _column(pixels: np.ndarray, face: Face, like: Face, size: int) -> np.ndarray:
    views = (clay_picture(face, like, size=size, yaw=yaw) for yaw in _VIEWS)
    return np.concatenate([_fitted(pixels, size), *views])


def _fitted(pixels: UInt8[np.ndarray, "H W 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A photo within a square."""
    image = Image.fromarray(pixels)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (size, size), (_GREY,) * 3)
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(square)
