"""Displacement maps: from a generator's output to millimetres, to 16 bit, and onto a mesh.

A 16-bit value p stands for (p − 32768)/32768 · 0.914 mm along the outward normal. The constant is the authors', for a
face whose inner eye corners are 40 mm apart, which is the unit of their model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt16
from torch import Tensor
from torch.nn.functional import interpolate

from likeness.heads.facescape_files import FaceScapeTables
from likeness.meshes import face_normals
from likeness.methods.facescape.network_input import COLUMNS, ROWS, WINDOW
from likeness.methods.facescape.texture import SIZE
from likeness.subdivision import subdivide

REACH_MM = 0.914
ZERO = 32768
STEP_MM = REACH_MM / ZERO
"""Millimetres a step of the 16-bit maps."""


def output_to_map(output: Float[Tensor, "H W"]) -> UInt16[np.ndarray, "4096 4096"]:
    """A generator's output in (−1, 1) as the release's 16-bit map: 32768 outside the face's window.

    An output of 0 becomes 32767, a step below zero displacement; that is the release's, and repeated.
    """
    resized = interpolate(output[None, None].float(), size=(WINDOW, WINDOW), mode="bilinear", align_corners=False)[0, 0]
    canvas = np.full((SIZE, SIZE), ZERO, np.uint16)
    canvas[ROWS, COLUMNS] = to_steps(resized)
    return canvas


def to_steps(output: Float[Tensor, "H W"]) -> UInt16[np.ndarray, "H W"]:
    """(−1, 1) → 0 … 65535, cut to whole numbers."""
    return ((output.cpu().numpy() + 1) / 2 * 65535).clip(0, 65535).astype(np.uint16)


def steps_to_mm(steps: UInt16[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """16-bit map → mm."""
    return ((steps.astype(np.float32) - ZERO) * np.float32(STEP_MM)).astype(np.float32)


def output_to_mm(output: Float[Tensor, "H W"], size: int = SIZE) -> Float[Tensor, "size size"]:
    """A generator's output as a displacement map in mm, without the steps of 16 bit; 0 outside the window.

    The window keeps its place in the chart at any ``size``: it is sampled at texel centres.
    """
    canvas = torch.zeros(size, size)
    scale = size / SIZE
    rows, columns = (slice(round(s.start * scale), round(s.stop * scale)) for s in (ROWS, COLUMNS))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    small = interpolate(
        output[None, None].float().cpu(),
        size=(height, width),
        mode="bilinear",
        align_corners=False,
        antialias=height < len(output),
    )
    canvas[rows, columns] = ((small[0, 0] + 1) / 2 * 65535 - ZERO) * STEP_MM
    return canvas


@dataclass(frozen=True, eq=False)
class DetailedMesh:
    """The front surface, subdivided and displaced; ``uv`` (V, 2) is one texture coordinate a vertex."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "T 3"]
    uv: Float[np.ndarray, "V 2"]


def detailed_mesh(
    vertices: Float[np.ndarray, "F 3"],
    tables: FaceScapeTables,
    displacement_mm: Float[np.ndarray, "4096 4096"],
    *,
    n_subdivisions: int = 3,
    scale: float = 1.0,
) -> DetailedMesh:
    """The front vertices' surface, each triangle cut into 4ⁿ, moved along its normals by the map times ``scale``.

    Original vertices come first. Midpoints are plain averages; normals are sums of unit triangle normals, taken
    before the displacement; the map's nearest texel counts: column ⌊4096 u⌋, row 4096 − ⌊4096 v⌋, as in the release.
    """
    positions, uv = torch.from_numpy(np.asarray(vertices, np.float64)), torch.from_numpy(vertex_uv(tables))
    triangles = torch.from_numpy(tables.front_triangles)
    for _ in range(n_subdivisions):
        finer = subdivide(triangles, len(positions), scheme="midpoint")
        positions, uv, triangles = finer.apply(positions), finer.apply(uv), finer.triangles
    length = sample_nearest(displacement_mm, uv.numpy()) * scale
    moved = positions + mean_face_normals(positions, triangles) * torch.from_numpy(length)[:, None]
    return DetailedMesh(moved.numpy(), triangles.numpy(), uv.numpy())


def vertex_uv(tables: FaceScapeTables) -> Float[np.ndarray, "F 2"]:
    """One texture coordinate for each front vertex: where a seam gives two, that of the last corner."""
    uv = np.zeros((len(tables.front_vertices), 2))
    uv[tables.front_triangles.ravel()] = tables.front_uv[tables.front_uv_triangles.ravel()]
    return uv


def sample_nearest(values: Float[np.ndarray, "S S"], uv: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"]:
    size = len(values)
    columns = np.floor(size * uv[:, 0]).astype(np.int64).clip(0, size - 1)
    rows = (size - np.floor(size * uv[:, 1]).astype(np.int64)).clip(0, size - 1)
    return values[rows, columns].astype(np.float64)


def mean_face_normals(vertices: Float[Tensor, "V 3"], triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "V 3"]:
    """Unit sums of *unit* triangle normals: large triangles count no more than small ones."""
    normals = face_normals(vertices, triangles)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(0, triangles[:, corner], normals)
    return torch.nn.functional.normalize(total, dim=-1)
