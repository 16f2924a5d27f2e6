"""The nearest point of a surface that also faces the same way.

Between lips, and between lids and eyes, the nearest point of all is often on the wrong side. So the distance here has
a second term, how far two normals differ; both sides of a thin gap face each other and are far apart by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

# How many millimetres two opposite normals count, halved: at a right angle this times the square root of two.
NORMAL_MM = 6.0
_CANDIDATES = 12


@dataclass(frozen=True, eq=False)
class MeshPoints:
    """Points of a mesh: the triangle each lies in, and its barycentric weights there."""

    triangle: Int[np.ndarray, " N"]
    barycentric: Float[np.ndarray, "N 3"]

    def of(self, values: Float[np.ndarray, "*B V C"], triangles: Int[np.ndarray, "T 3"]) -> Float[np.ndarray, "*B N C"]:
        """Values given at vertices (positions, displacements), at the points."""
        corners = triangles[self.triangle]
        total = values[..., corners[:, 0], :] * self.barycentric[:, 0, None].astype(values.dtype)
        for corner in (1, 2):
            total = total + values[..., corners[:, corner], :] * self.barycentric[:, corner, None].astype(values.dtype)
        return total

    def __getitem__(self, chosen: np.ndarray) -> MeshPoints:
        return MeshPoints(self.triangle[chosen], self.barycentric[chosen])


@dataclass(frozen=True, eq=False)
class Nearest:
    """What `SurfaceIndex.nearest` finds: ``points`` of the surface, the ``distance`` (N,) in mm, and the
    ``agreement`` (N,) of the normals, their cosine."""

    points: MeshPoints
    distance: Float[np.ndarray, " N"]
    agreement: Float[np.ndarray, " N"]


class SurfaceIndex:
    """A surface, or those of its triangles that ``among`` (T,) names, ready to be searched."""

    def __init__(
        self,
        vertices: Float[np.ndarray, "V 3"],
        triangles: Int[np.ndarray, "T 3"],
        *,
        among: Bool[np.ndarray, " T"] | None = None,
    ) -> None:
        self._own = np.arange(len(triangles)) if among is None else np.flatnonzero(among)
        self._corners = vertices[triangles[self._own]]
        self._normals = triangle_normals(self._corners)
        self._tree = KDTree(np.hstack([self._corners.mean(1), NORMAL_MM * self._normals])) if len(self._own) else None

    def __len__(self) -> int:
        return len(self._own)

    def nearest(self, points: Float[np.ndarray, "N 3"], normals: Float[np.ndarray, "N 3"]) -> Nearest:
        """For each point (mm) with its unit normal. The surface must have triangles."""
        assert self._tree is not None, "searched a surface without triangles"
        count = min(_CANDIDATES, len(self._own))
        _, candidates = self._tree.query(np.hstack([points, NORMAL_MM * normals]), k=count)
        candidates = candidates.reshape(len(points), count)
        corners = self._corners[candidates]
        barycentric = nearest_barycentric(points[:, None], corners)
        offset = (corners * barycentric[..., None]).sum(-2) - points[:, None]
        squared = (offset**2).sum(-1)
        turned = ((self._normals[candidates] - normals[:, None]) ** 2).sum(-1)
        best = (squared + NORMAL_MM**2 * turned).argmin(1)
        rows = np.arange(len(points))
        return Nearest(
            MeshPoints(self._own[candidates[rows, best]], barycentric[rows, best]),
            np.sqrt(squared[rows, best]),
            1 - turned[rows, best] / 2,
        )


def triangles_within(chosen: Bool[np.ndarray, " V"], triangles: Int[np.ndarray, "T 3"]) -> Bool[np.ndarray, " T"]:
    """Which triangles have all corners among the chosen vertices."""
    return np.logical_and.reduce(chosen[triangles], axis=1)


def triangle_normals(corners: Float[np.ndarray, "T 3 3"]) -> Float[np.ndarray, "T 3"]:
    """Unit normals; zero for a triangle without area."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals / np.where(length > 0, length, 1)


def vertex_normals(vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "T 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit normals, weighted by area; zero for a vertex without a triangle."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    areas = np.cross(b - a, c - a)
    total = np.stack(
        [sum(np.bincount(triangles[:, k], areas[:, d], len(vertices)) for k in range(3)) for d in range(3)]
    )
    length = np.linalg.norm(total, axis=0)
    return (total / np.where(length > 0, length, 1)).T


def nearest_barycentric(
    points: Float[np.ndarray, "*N 3"], corners: Float[np.ndarray, "*N 3 3"]
) -> Float[np.ndarray, "*N 3"]:
    """Barycentrics of the point of each triangle nearest to its point: of the plane's foot, or of the best edge."""
    a, b, c = (corners[..., k, :] for k in range(3))
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-12)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = np.stack([1 - v - w, v, w], -1)
    outside = (inside < 0).any(-1)
    if outside.any():
        p, t = np.broadcast_to(points, a.shape)[outside], np.stack([a, b, c], -2)[outside]
        inside[outside] = _on_edges(p, t)
    return inside


def _on_edges(points: Float[np.ndarray, "N 3"], corners: Float[np.ndarray, "N 3 3"]) -> Float[np.ndarray, "N 3"]:
    """Barycentrics of the nearest point of the three edges."""
    start, along = corners, np.roll(corners, -1, 1) - corners
    length = np.maximum((along**2).sum(-1), 1e-12)
    share = np.clip(((points[:, None] - start) * along).sum(-1) / length, 0, 1)
    squared = ((start + share[..., None] * along - points[:, None]) ** 2).sum(-1)
    edge, rows = squared.argmin(1), np.arange(len(points))
    found = np.zeros((len(points), 3))
    found[rows, edge] = 1 - share[rows, edge]
    found[rows, (edge + 1) % 3] = share[rows, edge]
    return found
