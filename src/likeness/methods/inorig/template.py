"""Everything the descent needs of the face model, made once: mean face, bases, face region, UV tables.

Coordinates are the model's own, micrometres with +y up and +z out of the face, shifted by `DEPTH_SHIFT` in z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.heads.bfm_face3d import Face3dModel
from likeness.methods.inorig.uv_layout import UVTable, build_table, stretched_uv

DEPTH_SHIFT = 7.5e4
N_SHAPE = 80
N_EXPRESSION = 32


@dataclass(frozen=True, eq=False)
class Template:
    """The face model as tensors.

    ``mean`` (V, 3) µm, shifted. ``shape_basis`` and ``expression_basis`` give µm per standard deviation.
    ``albedo`` (V, 3) in [0, 1]. ``triangles`` (T, 3) wind counter-clockwise from outside, ``vertex_triangles`` (V, N)
    are those about each vertex, padded with T. ``landmarks`` (68,) are vertices. ``face_region`` (V,) is the tight
    region all energies look at, ``region`` its indices. ``tables`` hold the UV tables by map size.
    """

    mean: Float[Tensor, "V 3"]
    shape_basis: Float[Tensor, "V3 80"]
    expression_basis: Float[Tensor, "E3 32"]
    albedo: Float[Tensor, "V 3"]
    triangles: Int[Tensor, "T 3"]
    vertex_triangles: Int[Tensor, "V N"]
    landmarks: Int[Tensor, " 68"]
    face_region: Bool[Tensor, " V"]
    region: Int[Tensor, " R"]
    uv: Float[Tensor, "V 2"]
    tables: Mapping[int, UVTable]

    def to(self, device: torch.device | str) -> Template:
        """This template with its tensors on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "tables"}
        return replace(self, **moved, tables={size: table.to(device) for size, table in self.tables.items()})


def build_template(model: Face3dModel, sizes: tuple[int, ...] = (32, 64, 128)) -> Template:
    """The template of a face model with UV tables of the given map sizes."""
    # The files' triangles wind the other way round; everything here has outward normals.
    outward = np.ascontiguousarray(model.triangles[:, ::-1], np.int64)
    region = face_region(model.mean, model.landmarks)
    uv = stretched_uv(model.uv)
    return Template(
        mean=_tensor(model.mean) - torch.tensor([0.0, 0.0, DEPTH_SHIFT]),
        shape_basis=_scaled_basis(model.shape_basis, model.shape_deviation, N_SHAPE),
        expression_basis=_scaled_basis(model.expression_basis, model.expression_deviation, N_EXPRESSION),
        albedo=_tensor(model.albedo) / 255,
        triangles=torch.from_numpy(outward),
        vertex_triangles=torch.from_numpy(vertex_triangles(model.triangles, len(model.mean))),
        landmarks=torch.from_numpy(np.asarray(model.landmarks, np.int64)),
        face_region=torch.from_numpy(region),
        region=torch.from_numpy(np.nonzero(region)[0]),
        uv=_tensor(uv),
        tables={size: build_table(uv, model.triangles, size) for size in sizes},
    )


def face_region(mean: Float[np.ndarray, "V 3"], landmarks: Int[np.ndarray, " 68"]) -> Bool[np.ndarray, " V"]:
    """The tight face region: between three bodies placed by the eyes' outer corners and the tip of the nose."""
    outer_left, outer_right, nose = mean[landmarks[36]], mean[landmarks[45]], mean[landmarks[30]]
    between = (mean[landmarks[39]] + mean[landmarks[42]]) / 2
    r = 1.5 * (np.linalg.norm(outer_left - outer_right) + np.linalg.norm(between - nose)) / 2
    x, y, z = ((mean - between) / r).T
    ball = (x / 1.2) ** 2 + (y / 1.075) ** 2 + (z / 0.65) ** 2 <= 1
    forehead = x**2 + (y / 0.5) ** 2 + (z / 0.75) ** 2 <= 1
    jaw = np.abs(x / 1.5) ** 4 + np.abs((y + 0.4) / 0.85) ** 1.2 + np.abs(z / 0.6) <= 1
    return ball & ((y < 0) | ((y > 0) & forehead)) & ((y <= -0.3) | (z >= 0.025) | jaw)


def vertex_triangles(triangles: Int[np.ndarray, "T 3"], n_vertices: int) -> Int[np.ndarray, "V N"]:
    """The triangles about each vertex in rising order, padded with T."""
    vertex = triangles.T.reshape(-1)
    triangle = np.tile(np.arange(len(triangles)), 3)
    order = np.lexsort((triangle, vertex))
    vertex, triangle = vertex[order], triangle[order]
    count = np.bincount(vertex, minlength=n_vertices)
    slot = np.arange(len(vertex)) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((n_vertices, count.max()), len(triangles), np.int64)
    table[vertex, slot] = triangle
    return table


def _scaled_basis(basis: np.ndarray, deviation: np.ndarray, n_kept: int) -> Float[Tensor, "V3 K"]:
    kept = np.asarray(basis[..., :n_kept], np.float32).reshape(-1, n_kept)
    return torch.from_numpy(kept * np.asarray(deviation[:n_kept], np.float32))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))
