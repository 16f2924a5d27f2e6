"""What of a head a photo shows: the head's buffers in a work window of that photo, and the photo's own pixels."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from likeness.cameras import Pinhole, Similarity, WeakPerspective
from likeness.filters import smoothstep
from likeness.reenactment.parts import Part
from likeness.reenactment.slits import Slits
from likeness.render import interpolate, rasterize
from likeness.render.rasterization import Fragments

# The window's longer side, in its own pixels: small faces are drawn finer than their photo, huge ones coarser.
_FINER_BELOW, _COARSER_ABOVE = 560, 1800
# A point so many mm behind what the photo shows there begins to be, and is, hidden.
_HIDDEN_MM = (1.5, 4.0)


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a photo, ``left``, ``top``, ``width``, ``height`` in its pixels, drawn at ``scale`` (a power of two)
    times its resolution."""

    left: int
    top: int
    width: int
    height: int
    scale: float

    @classmethod
    def about(cls, points_px: Float[Tensor, "N 2"], margins: tuple[float, float, float, float], size: tuple[int, int]):
        """The window that holds the points with margins (left, top, right, bottom) in parts of their box's height,
        within a photo of (height, width)."""
        low, high = points_px.amin(0), points_px.amax(0)
        unit = float(high[1] - low[1])
        edges = [low[0] - margins[0] * unit, low[1] - margins[1] * unit]
        ends = [high[0] + margins[2] * unit, high[1] + margins[3] * unit]
        longest = max(float(end - edge) for edge, end in zip(edges, ends, strict=True))
        scale = 1.0
        while longest * scale < _FINER_BELOW and scale < 4:
            scale *= 2
        while longest * scale > _COARSER_ABOVE:
            scale /= 2
        # Whole blocks of pixels, so that shrinking and enlarging move nothing.
        block = max(1, round(1 / scale))
        left, top = (max(0, math.floor(float(edge) / block) * block) for edge in edges)
        right, bottom = (
            min(limit, math.ceil(float(end) / block) * block) for end, limit in zip(ends, size[::-1], strict=True)
        )
        return cls(left, top, max(block, right - left), max(block, bottom - top), scale)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what is drawn."""
        return math.ceil(self.height * self.scale), math.ceil(self.width * self.scale)

    def at_most(self, n_pixels: int) -> Window:
        """The same part of the photo at its resolution, or a whole fraction of it that has so few pixels."""
        scale = 1.0
        while self.width * self.height * scale**2 > n_pixels:
            scale /= 2
        return replace(self, scale=scale)

    @property
    def similarity(self) -> Similarity:
        """Photo to window."""
        shift = torch.tensor([[-self.left * self.scale, -self.top * self.scale]])
        return Similarity(torch.tensor([self.scale]), torch.zeros(1), shift)

    def centres(self) -> Float[Tensor, "h w 2"]:
        """The window's pixel centres, in its own pixels."""
        height, width = self.size
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        return torch.stack([x, y], -1)

    def edge_fade(self, size: tuple[int, int], width: float) -> Float[Tensor, "h w"]:
        """1 inside, 0 at those borders of the window that are not borders of the photo (height, width)."""
        height, columns = self.size
        y, x = torch.arange(height) + 0.5, torch.arange(columns) + 0.5
        far = torch.full((1,), 1e6)
        left = x if self.left > 0 else far.expand_as(x)
        right = columns - x if self.left + self.width < size[1] else far.expand_as(x)
        top = y if self.top > 0 else far.expand_as(y)
        bottom = height - y if self.top + self.height < size[0] else far.expand_as(y)
        nearest = torch.minimum(torch.minimum(left, right)[None], torch.minimum(top, bottom)[:, None])
        return smoothstep(nearest, 0.0, width)


@dataclass(frozen=True, eq=False)
class Sight:
    """A posed head in a window: ``vertices_px`` (x, y in the window, depth mm) and what each pixel sees of it."""

    window: Window
    vertices_px: Float[Tensor, "V 3"]
    fragments: Fragments
    parts: Int[Tensor, "h w"]
    perspective: bool

    @property
    def covered(self) -> Tensor:
        """Pixels that see the head."""
        return self.fragments.mask[0]

    def interpolate(self, values: Float[Tensor, "V C"], triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "h w C"]:
        """Values given at vertices, in every pixel; zero where there is no head."""
        return interpolate(values[None], triangles, self.fragments)[0]

    def carrier(self) -> Float[Tensor, "V 3"]:
        """The vertices as values that may be mixed linearly over the surface, wherever that is drawn: `placed` makes
        places in this window of the mixtures. Pixels themselves may not be, under perspective."""
        if not self.perspective:
            return self.vertices_px
        return torch.cat([self.vertices_px[:, :2] * self.vertices_px[:, 2:], self.vertices_px[:, 2:]], 1)

    def placed(self, mixed: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3"]:
        """Mixtures of `carrier` → x, y in this window and depth."""
        if not self.perspective:
            return mixed
        return torch.cat([mixed[..., :2] / mixed[..., 2:].clamp_min(1e-3), mixed[..., 2:]], -1)

    def shows(self, points: Float[Tensor, "*N 3"], parts: Int[Tensor, "*N"], slits: Slits) -> Float[Tensor, "*N"]:
        """How far points (window x, y, depth mm) of these parts are in sight: 1 is fully, 0 where something nearer, or
        another part of the head, is seen in their place, or where lips and lids say otherwise."""
        height, width = self.window.size
        x, y = points[..., 0], points[..., 1]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        column, row = x.floor().clamp(0, width - 1).long(), y.floor().clamp(0, height - 1).long()
        behind = points[..., 2] - self.fragments.depth[0][row, column]
        # Of the lips only the slit is believed: the mesh's own contact lies a little beside the photo's.
        same = (self.parts[row, column] == parts) | (_is_lip(parts) & _is_lip(self.parts[row, column]))
        return (1 - smoothstep(behind, *_HIDDEN_MM)) * (inside & same & slits.allow(points[..., :2], parts))


def see(
    vertices_px: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    parts: Int[Tensor, " T"],
    window: Window,
    camera: Pinhole | WeakPerspective,
) -> Sight:
    """Rasterise a head in a window; pixels without a head have part -1."""
    fragments = rasterize(vertices_px[None], triangles, window.size, perspective=camera.perspective)
    seen = parts[fragments.triangle[0].clamp_min(0).long()]
    return Sight(window, vertices_px, fragments, torch.where(fragments.mask[0], seen, -1), camera.perspective)


def _is_lip(parts: Int[Tensor, "*N"]) -> Bool[Tensor, "*N"]:
    return (parts == Part.UPPER_LIP) | (parts == Part.LOWER_LIP)


class Pixels:
    """A photo to sample at places of a window."""

    def __init__(self, pixels: UInt8[np.ndarray, "H W 3"], window: Window) -> None:
        self.window = window
        self.size = pixels.shape[:2]
        # A rim of the photo about the window: motion reaches beyond it.
        rim = max(window.width, window.height) // 2
        self._left, self._top = max(0, window.left - rim), max(0, window.top - rim)
        right, bottom = window.left + window.width + rim, window.top + window.height + rim
        cut = np.array(pixels[self._top : bottom, self._left : right])
        self._image = torch.from_numpy(cut).permute(2, 0, 1)[None].float() / 255

    def at(self, places: Float[Tensor, "h w 2"]) -> Float[Tensor, "3 h w"]:
        """Colours at places of the window (its pixels), bicubic; the photo's edge goes on beyond it."""
        height, width = self._image.shape[-2:]
        origin = places.new_tensor([self.window.left - self._left, self.window.top - self._top])
        photo = places / self.window.scale + origin
        grid = 2 * photo / photo.new_tensor([width, height]) - 1
        found = functional.grid_sample(
            self._image, grid[None], mode="bicubic", padding_mode="border", align_corners=False
        )
        return found[0].clamp(0, 1)

    def resized(self, window: Window) -> Pixels:
        """The same photo, to be sampled at places of a window drawn at another scale."""
        other = copy.copy(self)
        other.window = window
        return other

    def in_window(self) -> Float[Tensor, "3 H W"]:
        """The window's own pixels, at the photo's resolution."""
        top, left = self.window.top - self._top, self.window.left - self._left
        return self._image[0, :, top : top + self.window.height, left : left + self.window.width]
