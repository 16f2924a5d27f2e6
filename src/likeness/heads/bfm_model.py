"""The numbers of a Basel face model, whichever file they came from: mean, bases, triangles, landmarks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class BfmModel:
    """A linear face model in the unit of its file.

    ``mean`` (V, 3), +x to the subject's left, +y up, +z out of the face; ``millimetres`` make one unit of it.
    The bases give displacement per standard deviation. ``mean_albedo`` and ``albedo_basis`` are RGB, 0 to 255.
    ``triangles`` (T, 3) are 0-based and wind counter-clockwise from outside. ``landmarks`` (68,) are the vertices of
    the iBUG points, where the file tells them all; ``anchors`` are those it tells where it tells some. ``uv`` (V, 2),
    where there is one, has (0, 0) at the bottom left.
    """

    name: str
    mean: Float[np.ndarray, "V 3"]
    identity_basis: Float[np.ndarray, "V 3 I"]
    expression_basis: Float[np.ndarray, "V 3 E"]
    mean_albedo: Float[np.ndarray, "V 3"]
    albedo_basis: Float[np.ndarray, "V 3 A"]
    triangles: Int[np.ndarray, "T 3"]
    millimetres: float
    landmarks: Int[np.ndarray, " 68"] | None = None
    uv: Float[np.ndarray, "V 2"] | None = None
    anchors: Mapping[int, int] = field(default_factory=dict)
    regions: Mapping[str, Bool[np.ndarray, " V"]] = field(default_factory=dict)

    @cached_property
    def centre(self) -> Float[np.ndarray, "3"]:
        """The centroid of the mean's vertices, in the model's unit: where the head frame has its origin.

        In the precision of the mean, as in the official code, where float32 costs 6e-6 dm.
        """
        return self.mean.mean(0)

    @cached_property
    def version(self) -> str:
        """A digest of the numbers."""
        digest = hashlib.sha256(repr(self.millimetres).encode())
        for array in (self.mean, self.identity_basis, self.expression_basis, self.mean_albedo, self.triangles):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


def wound_outward(vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "T 3"]) -> Int[np.ndarray, "T 3"]:
    """The triangles, all turned over if most of the surface's normals point towards its centre."""
    a, b, c = (vertices[triangles[:, k]].astype(np.float64) for k in range(3))
    normals = np.cross(b - a, c - a)
    outward = np.einsum("td,td->", normals, (a + b + c) / 3 - vertices.mean(0, dtype=np.float64))
    return triangles if outward >= 0 else np.ascontiguousarray(triangles[:, ::-1])
