"""The UV chart of the descent: where each vertex lies in a square map, and which vertices each texel sees.

The chart is the published BFM layout stretched so that the middle of the face gets more room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from likeness.render import rasterize

# Within so many texels of the map's edge the official rasteriser takes a triangle's whole bounding box.
_BORDER = 2


@dataclass(frozen=True, eq=False)
class UVTable:
    """A square map of side ``size`` and the mesh: texel ↔ vertices.

    ``vertices`` (U,) are the mesh vertices any texel needs; ``corners`` (S·S, 3) index into them and ``weights``
    (S·S, 3) mix them (zero where no triangle covers a texel). ``grid`` (1, V, 1, 2) is where each mesh vertex lies,
    in [-1, 1] between the centres of the outer texels.
    """

    size: int
    vertices: Int[Tensor, " U"]
    corners: Int[Tensor, "S2 3"]
    weights: Float[Tensor, "S2 3"]
    grid: Float[Tensor, "1 V 1 2"]

    def scatter(self, features: Float[Tensor, "B U C"]) -> Float[Tensor, "B C S S"]:
        """Features at `vertices` → maps."""
        maps = [
            F.embedding_bag(self.corners, each, per_sample_weights=self.weights.to(each), mode="sum").T
            for each in features
        ]
        return torch.stack(maps).unflatten(-1, (self.size, self.size))

    def gather(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B V C"]:
        """Maps → values at every mesh vertex, bilinear, zero outside the map."""
        grid = self.grid.expand(len(maps), -1, -1, -1)
        return F.grid_sample(maps, grid, align_corners=True)[..., 0].mT

    def to(self, device: torch.device | str) -> UVTable:
        moved = (t.to(device) for t in (self.vertices, self.corners, self.weights, self.grid))
        return UVTable(self.size, *moved)


def stretched_uv(uv: Float[np.ndarray, "V 2"]) -> Float[np.ndarray, "V 2"]:
    """The published layout → the descent's: wider around the middle, cut to the face. In double precision throughout,
    because which texel a triangle covers hangs on the last digit."""
    u, v = np.asarray(uv, np.float64).T
    side, spread = np.sign(u - 0.5), 1.8 * np.abs(u - 0.5)
    below, above = np.maximum(0.555 - v, 0), np.maximum(v - 0.555, 0)
    lower = spread**0.7 * (1 + 0.85 * np.minimum(below, 0.5))
    upper = spread ** np.minimum(1.25 * above + 0.7, 1.25) * (1 + 0.95 * np.minimum(above, 0.5))
    across = 0.5 + side * np.where(v < 0.555, lower, upper) / 2
    up = (v - 0.105 - 0.5) * 4 / 3 + 0.5
    return np.stack([(across - 0.5) * 1.25 + 0.5, up], 1)


def uv_to_texels(uv: Float[np.ndarray, "V 2"], size: int) -> Float[np.ndarray, "V 2"]:
    """Stretched UV → (column, row) of a map, whole numbers at texel centres, row 0 at v = 1."""
    return np.stack([uv[:, 0] * (size - 1), size - uv[:, 1] * (size - 1) - 1], 1).astype(np.float32)


def build_table(uv: Float[np.ndarray, "V 2"], triangles: Int[np.ndarray, "T 3"], size: int) -> UVTable:
    """The table for a map of side ``size`` over stretched UV coordinates."""
    texels = uv_to_texels(uv, size)
    winner, weights = _covering_triangles(texels, triangles, size)
    corners = triangles[np.maximum(winner, 0)].reshape(-1, 3).astype(np.int64)
    weights = np.where(winner.reshape(-1, 1) >= 0, weights.reshape(-1, 3), 0).astype(np.float32)
    vertices, compact = np.unique(corners, return_inverse=True)
    grid = (2 * texels / np.float32(size - 1) - 1)[None, :, None]
    return UVTable(
        size,
        torch.from_numpy(vertices),
        torch.from_numpy(compact.reshape(-1, 3).astype(np.int64)),
        torch.from_numpy(weights),
        torch.from_numpy(np.ascontiguousarray(grid, np.float32)),
    )


def _covering_triangles(
    texels: np.ndarray, triangles: np.ndarray, size: int
) -> tuple[Int[np.ndarray, "S S"], Float[np.ndarray, "S S 3"]]:
    """The first triangle covering each texel (-1: none) and the weights of its corners."""
    points = torch.from_numpy(np.concatenate([texels + np.float32(0.5), np.zeros_like(texels[:, :1])], 1))
    seen = rasterize(points[None], torch.from_numpy(triangles.astype(np.int64)), (size, size), perspective=False)
    winner = seen.triangle[0].numpy().astype(np.int64)
    rows, columns = np.nonzero(_is_border(size))
    winner[rows, columns] = _first_box(texels, triangles, size, columns, rows)
    rows, columns = np.nonzero(winner >= 0)
    weights = np.zeros((size, size, 3), np.float32)
    weights[rows, columns] = _barycentric(texels[triangles[winner[rows, columns]]], np.stack([columns, rows], 1))
    return winner, weights


def _is_border(size: int) -> np.ndarray:
    inner = slice(_BORDER, size - _BORDER)
    border = np.ones((size, size), bool)
    border[inner, inner] = False
    return border


def _first_box(texels: np.ndarray, triangles: np.ndarray, size: int, columns: np.ndarray, rows: np.ndarray):
    """Per border texel the first triangle whose bounding box, in whole texels, holds it; -1 where none does."""
    corners = texels[triangles]
    low = np.maximum(np.ceil(corners.min(1)), 0)
    high = np.minimum(np.floor(corners.max(1)), size - 1)
    near = (low <= high).all(1) & ((low < _BORDER) | (high > size - 1 - _BORDER)).any(1)
    index = np.nonzero(near)[0]
    first = np.full(len(columns), -1, np.int64)
    for start in range(0, len(index), 4096):  # bounds the memory of the comparison
        chunk = index[start : start + 4096]
        at = np.stack([columns, rows], 1)[:, None]
        inside = ((at >= low[chunk]) & (at <= high[chunk])).all(-1)
        found = inside.any(1) & (first < 0)
        first[found] = chunk[inside[found].argmax(1)]
    return first


def _barycentric(corners: Float[np.ndarray, "N 3 2"], points: np.ndarray) -> Float[np.ndarray, "N 3"]:
    """Weights of p0, p1, p2 at points of their plane; a triangle without area gives its first corner everything."""
    a, c = corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 0]
    q = points.astype(np.float32) - corners[:, 0]
    aa, cc, ac = (a * a).sum(-1), (c * c).sum(-1), (a * c).sum(-1)
    aq, cq = (a * q).sum(-1), (c * q).sum(-1)
    area = aa * cc - ac * ac
    scale = np.divide(1, area, out=np.zeros_like(area), where=area != 0)
    beta, gamma = (cc * aq - ac * cq) * scale, (aa * cq - ac * aq) * scale
    return np.stack([1 - beta - gamma, gamma, beta], -1).astype(np.float32)
