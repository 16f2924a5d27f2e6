"""Where lids and lips touch: pairs of points of the open head that an expression brings or keeps together.

Transfer by gradients carries how skin stretches, and a gap that closes on one face stays ajar or overshoots on another.
These pairs are what is closed exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse

from likeness.heads.nearest import MeshPoints, nearest_barycentric, triangles_within
from likeness.heads.open_head import OpenHead, load_open_head

# Points so near touch, mm; lids that close come from at least so far; lips that rest are so near.
TOUCH_MM = 1.0
_LIDS_APART_MM, _LIPS_AT_REST_MM = 1.5, 1.6


@dataclass(frozen=True, eq=False)
class Contacts:
    """P pairs: a vertex of the upper lid or lip and a point of the lower one, of the open head's mesh."""

    upper: Int[np.ndarray, " P"]
    lower: MeshPoints
    triangles: Int[np.ndarray, "T 3"]

    def rows(self, n_vertices: int) -> sparse.csr_array:
        """(P, N): upper less lower, for values at the open head's vertices."""
        n = len(self.upper)
        pair = np.concatenate([np.arange(n), np.repeat(np.arange(n), 3)])
        column = np.concatenate([self.upper, self.triangles[self.lower.triangle].ravel()])
        value = np.concatenate([np.ones(n), -self.lower.barycentric.ravel()])
        return sparse.csr_array((value, (pair, column)), shape=(n, n_vertices))


@cache
def open_contacts() -> Contacts:
    """The open head's: lids where they meet in a blink, lips where they rest on each other."""
    head = load_open_head()
    with torch.no_grad():
        shapes = head.vertices(torch.zeros(52, head.n_identity), torch.eye(52)).double().numpy()
        rest = head.vertices(torch.zeros(1, head.n_identity))[0].double().numpy()
    pairs = []
    for side in ("left", "right"):
        blink = shapes[head.expression_names.index(f"eyeBlink{side.capitalize()}")]
        parts = (f"eyelid_upper_{side}", f"eyelid_lower_{side}")
        pairs.append(_touching(head, blink, rest, parts, TOUCH_MM, _LIDS_APART_MM))
    pairs.append(_touching(head, rest, rest, ("lip_upper", "lip_lower"), _LIPS_AT_REST_MM, 0.0))
    upper, triangle, barycentric = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return Contacts(upper, MeshPoints(triangle, barycentric), head.topology.triangles.astype(np.int64))


def _touching(
    head: OpenHead,
    closed: Float[np.ndarray, "N 3"],
    rest: Float[np.ndarray, "N 3"],
    parts: tuple[str, str],
    touch_mm: float,
    apart_mm: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of the first part within ``touch_mm`` of the second when closed, and ``apart_mm`` from there at rest."""
    upper, lower = (head.topology.region(name) for name in parts)
    triangles = head.topology.triangles.astype(np.int64)
    own = np.flatnonzero(upper)
    found = _nearest_of(closed[own], closed, triangles, triangles_within(lower, triangles))
    distance = np.linalg.norm(found.of(closed, triangles) - closed[own], axis=1)
    before = np.linalg.norm(found.of(rest, triangles) - rest[own], axis=1)
    good = (distance < touch_mm) & (before >= apart_mm)
    return own[good], found.triangle[good], found.barycentric[good]


def _nearest_of(
    points: Float[np.ndarray, "P 3"],
    vertices: Float[np.ndarray, "N 3"],
    triangles: Int[np.ndarray, "T 3"],
    among: Bool[np.ndarray, " T"],
) -> MeshPoints:
    """The nearest points of a few triangles, whichever way they face: edges that touch face each other."""
    own = np.flatnonzero(among)
    corners = np.broadcast_to(vertices[triangles[own]], (len(points), len(own), 3, 3))
    barycentric = nearest_barycentric(np.broadcast_to(points[:, None], (*corners.shape[:2], 3)), corners)
    squared = (((corners * barycentric[..., None]).sum(-2) - points[:, None]) ** 2).sum(-1)
    best, rows = squared.argmin(1), np.arange(len(points))
    return MeshPoints(own[best], barycentric[rows, best])
