"""Points of the mean head where landmarks may sit: a left half, its exact mirror image, and the midline."""

from dataclasses import dataclass

import numpy as np

from likeness.heads.open_head import OpenHead

SPACING_MM = 1.0
FRONT_MM = -75.0  # no landmark of a face sits farther back than this
LID_MM = 3.5  # the lid's edge reaches this far over the skin
LID_INSIDE_MM = 1.5  # and this far in
IRIS_LAYER_MM = 8.5


@dataclass(frozen=True)
class SurfaceSet:
    """S points on the surface: triangle (S,), barycentric (S, 3), place on the mean head (S, 3), layer (S,)."""

    triangle: np.ndarray
    barycentric: np.ndarray
    place: np.ndarray
    layer: np.ndarray

    def __len__(self) -> int:
        return len(self.triangle)

    def take(self, rows: np.ndarray) -> "SurfaceSet":
        return SurfaceSet(self.triangle[rows], self.barycentric[rows], self.place[rows], self.layer[rows])


class Surface:
    """The mean head with the layers that landmarks are told apart by."""

    def __init__(self, head: OpenHead, mean: np.ndarray) -> None:
        self.triangles = head.topology.triangles
        self.mean = mean
        self.mirror = head.topology.mirror
        self.layer = _layers(head, mean)
        self.mirrored_triangle = _mirrored(self.triangles, self.mirror)

    def left(self) -> SurfaceSet:
        """Points about `SPACING_MM` apart on the left half (x > 0), of all layers."""
        centre = self.mean[self.triangles].mean(axis=1)
        chosen = np.flatnonzero((self.layer != "") & (centre[:, 0] > 0) & (centre[:, 2] > FRONT_MM))
        return self.sample(chosen, np.random.default_rng(0), SPACING_MM)

    def sample(self, triangles: np.ndarray, rng: np.random.Generator, spacing: float) -> SurfaceSet:
        """Random points of some triangles, one in `spacing`² of area."""
        corner = self.mean[self.triangles[triangles]]
        area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 2
        count = np.maximum(1, np.round(area / spacing**2)).astype(int)
        row = np.repeat(triangles, count)
        root, second = np.sqrt(rng.uniform(size=len(row))), rng.uniform(size=len(row))
        barycentric = np.stack([1 - root, root * (1 - second), root * second], axis=1)
        return self.at(row, barycentric)

    def midline(self) -> SurfaceSet:
        """Points of the edges that lie in the plane of symmetry."""
        edges = [(t, k) for t, tri in enumerate(self.triangles) for k in range(3) if self._central(t, tri, k)]
        rows, weights = [], []
        for triangle, k in edges:
            a, b = self.triangles[triangle][[k, (k + 1) % 3]]
            steps = max(2, int(np.linalg.norm(self.mean[a] - self.mean[b]) / (SPACING_MM / 4)))
            for share in (np.arange(steps) + 0.5) / steps:
                weight = np.zeros(3)
                weight[k], weight[(k + 1) % 3] = 1 - share, share
                rows.append(triangle)
                weights.append(weight)
        return self.at(np.array(rows), np.array(weights))

    def _central(self, triangle: int, corners: np.ndarray, k: int) -> bool:
        ends = self.mean[corners[[k, (k + 1) % 3]]]
        on_left = self.mean[corners, 0].mean() > 0
        in_front = ends[:, 2].min() > FRONT_MM
        return bool(self.layer[triangle] != "" and on_left and in_front and np.abs(ends[:, 0]).max() < 1e-6)

    def at(self, triangle: np.ndarray, barycentric: np.ndarray) -> SurfaceSet:
        place = np.einsum("sk,skc->sc", barycentric, self.mean[self.triangles[triangle]])
        return SurfaceSet(triangle, barycentric, place, self.layer[triangle])

    def mirrored(self, points: SurfaceSet) -> SurfaceSet:
        """The same points on the other half."""
        twin = self.mirrored_triangle[points.triangle]
        images = self.mirror[self.triangles[points.triangle]]
        order = (self.triangles[twin][:, :, None] == images[:, None, :]).argmax(axis=2)
        return self.at(twin, np.take_along_axis(points.barycentric, order, axis=1))


def _layers(head: OpenHead, mean: np.ndarray) -> np.ndarray:
    """(T,) "skin", "lid", "lip_upper", "lip_lower", "eye" or "" (no landmark there)."""
    region, triangles = head.topology.region, head.topology.triangles
    layer = np.full(len(triangles), "", dtype="<U9")
    layer[(region("skin") & ~region("ears") & ~region("nostrils"))[triangles].all(axis=1)] = "skin"
    for lip in ("lip_upper", "lip_lower"):
        layer[region(lip)[triangles].all(axis=1)] = lip
    rim = region("skin") & region("eye_cavity")
    away = np.sqrt(((mean[:, None] - mean[rim][None]) ** 2).sum(axis=2)).min(axis=1)
    lid = (region("skin") & (away < LID_MM)) | (region("eye_cavity") & (away < LID_INSIDE_MM))
    # Some of the lower lid's triangles are longer than its edge is wide.
    at_edge = (away[triangles] < 1e-6).any(axis=1) & region("skin")[triangles].all(axis=1)
    layer[lid[triangles].all(axis=1) | at_edge] = "lid"
    for side in ("left", "right"):
        ball = region(f"eyeball_{side}")
        pupil = mean[ball][mean[ball, 2].argmax()]
        front = ball & (np.linalg.norm(mean - pupil, axis=1) < IRIS_LAYER_MM)
        layer[front[triangles].all(axis=1)] = "eye"
    return layer


def _mirrored(triangles: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    number = {tuple(sorted(tri)): t for t, tri in enumerate(triangles.tolist())}
    return np.array([number[tuple(sorted(mirror[tri].tolist()))] for tri in triangles])
