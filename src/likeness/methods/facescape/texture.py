"""The photo's colours in FaceScape's UV chart: what its networks look at.

As in the release there is no test of visibility: a hidden cheek takes the colours of whatever lies in front, which is
what the networks saw when they were trained. (`likeness.texture` makes the albedo that people see.) Texel (row,
column) of the 4096² map stands at u = column/4096, v = 1 − row/4096: at its index, not at its centre.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from likeness.errors import InputError
from likeness.heads.facescape_files import FaceScapeTables
from likeness.render import rasterize

SIZE = 4096
Sampling = Literal["exact", "official"]


def texture_from_photo(
    pixels: UInt8[np.ndarray, "H W 3"],
    projected: Float[np.ndarray, "V 2"],
    tables: FaceScapeTables,
    *,
    sampling: Sampling = "exact",
) -> UInt8[np.ndarray, "4096 4096 3"]:
    """The texture, black where no triangle is drawn. ``projected`` are the whole mesh's vertices as pixel indices of
    the photo (x right, y down, pixel centres at 0): an image-frame position minus one half.

    "official" repeats the release's truncation of corners to whole pixels, source and outline alike, so that each
    triangle is slightly sheared; "exact" does without. Where a corner lies outside the photo, "exact" repeats the
    photo's edge, and "official" refuses, as the release fails there.
    """
    if sampling == "official":
        projected = _truncated(projected, pixels.shape[0])
        _refuse_outside(projected[np.unique(tables.triangles[tables.texture_triangles])], pixels.shape[:2])
    triangles = tables.texture_triangles
    uv = tables.uv[tables.uv_triangles[triangles]]
    target = np.stack([SIZE * uv[..., 0], SIZE - SIZE * uv[..., 1]], -1)  # (S, 3, 2): column, row
    source = projected[tables.triangles[triangles]]
    owners = _interior_owners(np.trunc(target) if sampling == "official" else target)
    if sampling == "official":
        _draw_outlines(owners, np.trunc(target).astype(np.int64))
    rows, columns = np.nonzero(owners >= 0)
    owner = owners[rows, columns]
    source_xy = _affine_maps(target, source)[owner]
    position = source_xy[:, :, 0] * columns[:, None] + source_xy[:, :, 1] * rows[:, None] + source_xy[:, :, 2]
    if sampling == "official":
        low, high = source.min(1)[owner], source.max(1)[owner]
        # Corners that truncation has put in line leave the release's solver with a map of zeros.
        position = np.where(_in_line(source)[owner, None], low, _reflected(position, low, high))
    texture = np.zeros((SIZE, SIZE, 3), np.uint8)
    texture[rows, columns] = sample_pixels(pixels, position)
    return texture


def sample_pixels(pixels: UInt8[np.ndarray, "H W 3"], position: Float[np.ndarray, "N 2"]) -> UInt8[np.ndarray, "N 3"]:
    """Bilinear, at (x, y) in pixel indices; beyond the border its outermost pixels go on."""
    height, width = pixels.shape[:2]
    grid = torch.from_numpy((2 * position + 1) / np.array([width, height]) - 1).to(torch.float32)
    image = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    sampled = torch.nn.functional.grid_sample(image, grid[None, None], padding_mode="border", align_corners=False)
    return sampled[0, :, 0].T.add(0.5).clamp(0, 255).to(torch.uint8).numpy()


def _interior_owners(outline: Float[np.ndarray, "S 3 2"]) -> Int[np.ndarray, "4096 4096"]:
    """Which triangle each texel belongs to, -1 for none: the last of those that share an edge, as each overwrites the
    ones before.
    """
    low = np.floor(outline.min((0, 1))).astype(int)
    width, height = np.minimum(np.ceil(outline.max((0, 1))).astype(int) + 1, SIZE) - low
    # Texels stand at their indices, the rasteriser's pixels at their centres. It prefers low indices: draw in reverse.
    corners = torch.from_numpy(outline[::-1].reshape(-1, 2) - low + 0.5).float()
    vertices = torch.cat([corners, torch.zeros(len(corners), 1)], 1)[None]
    triangles = torch.arange(len(corners)).reshape(-1, 3)
    drawn = rasterize(vertices, triangles, (int(height), int(width)), perspective=False).triangle[0].numpy()
    owners = np.full((SIZE, SIZE), -1, np.int64)
    owners[low[1] : low[1] + height, low[0] : low[0] + width] = np.where(drawn >= 0, len(outline) - 1 - drawn, -1)
    return owners


def _draw_outlines(owners: Int[np.ndarray, "4096 4096"], corners: Int[np.ndarray, "S 3 2"]) -> None:
    """Give triangles the texels of their 8-connected outlines (Bresenham, from the left end), of which half lie
    outside; the last triangle wins here, too.
    """
    starts, ends = corners.reshape(-1, 2), np.roll(corners, -1, 1).reshape(-1, 2)
    swap = ends[:, 0] < starts[:, 0]
    starts, ends = np.where(swap[:, None], ends, starts), np.where(swap[:, None], starts, ends)
    step = ends - starts
    length = np.abs(step).max(1)
    line = np.repeat(np.arange(len(step)), length + 1)
    along = np.arange(len(line)) - np.repeat(np.cumsum(length + 1) - (length + 1), length + 1)
    # Ties of the minor axis stay: ⌈k m/n − ½⌉ in whole numbers.
    total = np.maximum(length, 1)[line, None]
    moved = -((total - 2 * along[:, None] * np.abs(step[line])) // (2 * total))
    at = starts[line] + np.sign(step[line]) * moved
    inside = ((at >= 0) & (at < SIZE)).all(1)
    np.maximum.at(owners, (at[inside, 1], at[inside, 0]), line[inside] // 3)


def _affine_maps(target: Float[np.ndarray, "S 3 2"], source: Float[np.ndarray, "S 3 2"]) -> Float[np.ndarray, "S 2 3"]:
    """(column, row, 1) of a texel → (x, y) of the photo, one map a triangle."""
    homogeneous = np.concatenate([target, np.ones((*target.shape[:2], 1))], -1)
    # A triangle without area draws no texel; any map will do for it.
    flat = np.abs(np.linalg.det(homogeneous)) < 1e-9
    homogeneous[flat] = np.eye(3)
    return np.linalg.solve(homogeneous, source).transpose(0, 2, 1)


def _truncated(projected: np.ndarray, height: int) -> np.ndarray:
    """Towards zero, in y-up coordinates, as the release cuts."""
    return np.stack([np.trunc(projected[:, 0]), height - np.trunc(height - projected[:, 1])], -1)


def _in_line(corners: Float[np.ndarray, "S 3 2"]) -> np.ndarray:
    (a, b), (c, d) = ((corners[:, i] - corners[:, 0]).T for i in (1, 2))
    return a * d == b * c


def _reflected(position: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Positions beyond a patch mirrored about its outermost pixels."""
    folded = np.where(position < low, 2 * low - position, position)
    return np.where(folded > high, 2 * high - folded, folded).clip(low, high)


def _refuse_outside(projected: np.ndarray, size: tuple[int, int]) -> None:
    height, width = size
    if (projected < 0).any() or (projected[:, 0] >= width).any() or (projected[:, 1] >= height).any():
        raise InputError(
            "the face reaches beyond the photo's border, where FaceScape's own texture step fails; use a photo with "
            "some room around the head, or leave out compat='official'."
        )
