"""The two surfaces of a registration: the open head as a template, and the head it is bent onto."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from likeness.heads.nearest import SurfaceIndex, triangles_within, vertex_normals
from likeness.heads.open_head import OpenHead, load_open_head
from likeness.heads.protocol import Embedding
from likeness.meshes import boundary_edges, connected_components

# iBUG's points about each eye; how far their polygon is drawn in, and how deep an eye's front reaches, mm.
_EYES, _DRAWN_IN, _EYE_DEPTH_MM = (np.arange(36, 42), np.arange(42, 48)), 0.9, 15.0


@dataclass(frozen=True, eq=False)
class Template:
    """The open head's average: ``eyeball``, ``loose`` (teeth and tongue), ``hidden`` (the mouth's inside and the
    sockets) and ``ears`` are vertex masks."""

    head: OpenHead
    vertices: Float[np.ndarray, "N 3"]
    triangles: Int[np.ndarray, "T 3"]
    eyeball: Bool[np.ndarray, " N"]
    loose: Bool[np.ndarray, " N"]
    hidden: Bool[np.ndarray, " N"]
    ears: Bool[np.ndarray, " N"]

    @staticmethod
    @cache
    def of_open_head() -> Template:
        head = load_open_head()
        vertices = head.vertices(torch.zeros(1, head.n_identity))[0].double().numpy()
        region = head.topology.region
        loose = region("teeth") | region("tongue")
        hidden = (region("inner_mouth") | region("eye_cavity")) & ~region("face")
        eyeballs = region("eyeball_left") | region("eyeball_right")
        triangles = head.topology.triangles.astype(np.int64)
        return Template(head, vertices, triangles, eyeballs, loose, hidden, region("ears"))


@dataclass(frozen=True, eq=False)
class Target:
    """The other head: average vertices, triangles; ``eyeball``: vertices of separate eyeballs; ``opening``: where the
    eyes' surface is one with the lids', vertices between the lids; ``border``: vertices where the surface ends."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "T 3"]
    normals: Float[np.ndarray, "V 3"]
    eyeball: Bool[np.ndarray, " V"]
    opening: Bool[np.ndarray, " V"]
    border: Bool[np.ndarray, " V"]

    @classmethod
    def of(
        cls, vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "T 3"], landmarks: Mapping[str, Embedding]
    ) -> Target:
        tensor = torch.from_numpy(np.ascontiguousarray(triangles, np.int64))
        border = np.zeros(len(vertices), bool)
        border[boundary_edges(tensor).numpy()] = True
        balls = _separate_balls(vertices, connected_components(tensor, len(vertices)).numpy())
        opening = np.zeros_like(balls) if balls.any() else _between_lids(vertices, ibug68_of(landmarks, vertices))
        normals = vertex_normals(vertices, triangles)
        return cls(vertices, triangles.astype(np.int64), normals, balls, opening, border)

    def index(self, part: Bool[np.ndarray, " V"]) -> SurfaceIndex:
        """A part, ready to be searched."""
        return SurfaceIndex(self.vertices, self.triangles, among=triangles_within(part, self.triangles))


def _separate_balls(vertices: Float[np.ndarray, "V 3"], component: Int[np.ndarray, " V"]) -> Bool[np.ndarray, " V"]:
    """Vertices of parts that are balls of an eye's size."""
    found = np.zeros(len(vertices), bool)
    for label, count in zip(*np.unique(component, return_counts=True), strict=True):
        part = component == label
        if 20 <= count < len(vertices) / 3:
            centre, radius = fit_sphere(vertices[part])
            stray = np.abs(np.linalg.norm(vertices[part] - centre, axis=1) - radius)
            if 6 < radius < 25 and np.percentile(stray, 90) < 0.12 * radius:
                found |= part
    return found


def _between_lids(vertices: Float[np.ndarray, "V 3"], ibug68: Float[np.ndarray, "68 3"]) -> Bool[np.ndarray, " V"]:
    """Vertices in front, within the polygon of an eye's landmarks drawn in a little."""
    found = np.zeros(len(vertices), bool)
    for eye in _EYES:
        corners = ibug68[eye]
        centre = corners.mean(0)
        outline = centre + _DRAWN_IN * (corners - centre)
        following = np.roll(outline, -1, 0)
        along, towards = following - outline, vertices[:, None] - outline
        side = along[:, 0] * towards[..., 1] - along[:, 1] * towards[..., 0]
        within = np.logical_and.reduce(side > 0, axis=1) | np.logical_and.reduce(side < 0, axis=1)
        found |= within & (np.abs(vertices[:, 2] - centre[2]) < _EYE_DEPTH_MM)
    return found


def fit_sphere(points: Float[np.ndarray, "N 3"]) -> tuple[Float[np.ndarray, " 3"], float]:
    """Centre and radius of the sphere nearest to points, by linear least squares."""
    system = np.hstack([2 * points, np.ones((len(points), 1))])
    solution = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    centre = solution[:3]
    return centre, float(np.sqrt(max(solution[3] + centre @ centre, 0)))


def similarity(
    source: Float[np.ndarray, "L 3"], target: Float[np.ndarray, "L 3"], weights: Float[np.ndarray, " L"]
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Scale, rotation and shift that bring source nearest to target, weighted (Umeyama 1991)."""
    share = (weights / weights.sum())[:, None]
    a, b = (source * share).sum(0), (target * share).sum(0)
    x, y = source - a, target - b
    u, singular, v = np.linalg.svd((y * share).T @ x)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    turn = (u * sign) @ v
    scale = float((singular * sign).sum() / (x**2 * share).sum())
    return scale, turn, b - scale * turn @ a


def ibug68_of(landmarks: Mapping[str, Embedding], vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "68 3"]:
    return points_of(landmarks["ibug68"], vertices)


def points_of(embedding: Embedding, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "L 3"]:
    corners, weights = embedding.corners.cpu().numpy(), embedding.barycentric.cpu().numpy().astype(np.float64)
    return (vertices[corners] * weights[..., None]).sum(1)
