"""Where each landmark sits: the surface point that lands closest to the detections over all pictures.

Hidden points, open mouths and closed eyes need no special case: a candidate on the wrong lip or lid lands far from the
detections as soon as the mouth opens or the eye closes. A landmark and its mirror image are placed together.
"""

from dataclasses import dataclass

import numpy as np
import torch

from likeness.heads.open_head import OpenHead
from likeness.landmarks.conventions import (
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    MIRROR,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from likeness.meshes import vertex_normals
from open_head.candidates import Surface, SurfaceSet
from open_head.scenes import Scenes

ROBUST_MM = 2.0  # residuals beyond this count linearly
SEARCH_MM = 12.0
REFINE_MM, REFINED_SPACING_MM = 1.0, 0.2
N_FRONTAL = 24  # pictures that a landmark is first looked for in
FACING = 0.15  # cosine at the surface above which a detection of skin is believed
MIRROR_OF = MIRROR["mediapipe478"]
_UPPER_INNER = LIPS_INNER[1:10]
_LOWER_INNER = LIPS_INNER[11:20]


@dataclass(frozen=True)
class Placed:
    """478 landmarks on the surface and their residuals."""

    triangle: np.ndarray  # (478,)
    barycentric: np.ndarray  # (478, 3)
    residual: np.ndarray  # (N, 478, 2) mm at the face, detected minus projected; axes right and up of the upright head
    facing: np.ndarray  # (N, 478) bool; lips, lids and irises always count


class Evidence:
    """The pictures, ready to tell how far surface points land from detections."""

    def __init__(self, head: OpenHead, scenes: Scenes) -> None:
        self.camera = scenes.cameras()
        vertices = [
            head.vertices(torch.from_numpy(i).float(), torch.from_numpy(e).float())
            for i, e in zip(np.array_split(scenes.identity, 10), np.array_split(scenes.expression, 10), strict=True)
        ]
        self.vertices = torch.cat(vertices)
        self.triangles = head.topology.triangles_tensor
        normals = torch.stack([vertex_normals(v, self.triangles) for v in self.vertices])
        self.cosine = (normals * self.camera.towards(self.vertices)).sum(-1)  # (N, V)
        self.pixels = self.camera.project(self.vertices)
        self.mm_per_px = torch.from_numpy(scenes.translation[:, 2] / scenes.focal).float()
        self.detected = torch.from_numpy(scenes.detected).float()
        self.yaw = np.degrees(np.arcsin(np.clip(scenes.rotation[:, 2, 0], -1, 1)))

    def project(self, points: SurfaceSet, rows: torch.Tensor) -> torch.Tensor:
        """(n, S, 2) pixels. The affine mean of projected corners: exact to far less than a pixel on small triangles."""
        corners = self.triangles[points.triangle]
        weights = torch.from_numpy(points.barycentric).float()
        return sum(self.pixels[rows][:, corners[:, k]] * weights[:, k, None] for k in range(3))  # type: ignore[return-value]

    def facing(self, points: SurfaceSet) -> torch.Tensor:
        """(N, S) cosine between the surface and the line of sight."""
        corners = self.triangles[points.triangle]
        weights = torch.from_numpy(points.barycentric).float()
        return sum(self.cosine[:, corners[:, k]] * weights[:, k] for k in range(3))  # type: ignore[return-value]

    def cost(self, landmark: int, points: SurfaceSet, rows: torch.Tensor) -> torch.Tensor:
        """(S,) mean robust distance in mm over some pictures."""
        return self.cost_of(landmark, self.project(points, rows), rows)

    def cost_of(self, landmark: int, pixels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The same of projected points (n, S, 2)."""
        away = pixels - self.detected[rows, landmark, None]
        squared = (away**2).sum(-1) * self.mm_per_px[rows, None] ** 2
        return (torch.sqrt(1 + squared / ROBUST_MM**2) - 1).mean(0)


def place_landmarks(head: OpenHead, scenes: Scenes) -> Placed:
    """Find all 478."""
    mean = head.vertices(torch.zeros(1, head.n_identity))[0].numpy().astype(np.float64)
    surface, evidence = Surface(head, mean), Evidence(head, scenes)
    left, middle = surface.left(), surface.midline()
    right = surface.mirrored(left)
    frontal = torch.from_numpy(np.flatnonzero(np.abs(evidence.yaw) < 15)[:N_FRONTAL])
    coarse = [evidence.project(points, frontal) for points in (left, right)]
    coarse_middle = [evidence.project(middle, frontal)]
    triangle, barycentric = np.zeros(478, dtype=np.int64), np.zeros((478, 3))
    for landmark in range(478):
        twin = int(MIRROR_OF[landmark])
        if twin == landmark:
            start = _start([landmark], coarse_middle, middle, evidence, frontal)
            found = _place([landmark], [middle], start, evidence)
        elif _is_left(landmark):
            start = _start([landmark, twin], coarse, left, evidence, frontal)
            found = _place_pair(landmark, twin, start, left, surface, evidence)
            image = surface.mirrored(found)
            triangle[twin], barycentric[twin] = image.triangle[0], image.barycentric[0]
        else:
            continue
        triangle[landmark], barycentric[landmark] = found.triangle[0], found.barycentric[0]
    return measure(head, scenes, triangle, barycentric)


def measure(head: OpenHead, scenes: Scenes, triangle: np.ndarray, barycentric: np.ndarray) -> Placed:
    """Residuals of a given embedding over some pictures."""
    mean = head.vertices(torch.zeros(1, head.n_identity))[0].numpy().astype(np.float64)
    evidence = Evidence(head, scenes)
    points = Surface(head, mean).at(triangle, barycentric)
    everything = torch.arange(len(scenes.focal))
    away = (evidence.detected - evidence.project(points, everything)) * evidence.mm_per_px[:, None, None]
    up = -evidence.camera.rotation[:, :2, 1]
    up = up / up.norm(dim=1, keepdim=True)
    # In the picture y points down; (right, up) of the head as it is rolled.
    right = torch.stack([up[:, 1], -up[:, 0]], dim=1)
    axes = torch.stack([right, -up], dim=1)
    residual = torch.einsum("nac,nlc->nla", axes, away)
    seen = (evidence.facing(points) > FACING).numpy() | (points.layer != "skin")
    return Placed(triangle, barycentric, residual.numpy(), seen)


def _is_left(landmark: int) -> bool:
    return landmark in LEFT_IRIS or 248 <= landmark < 468


def _layers_for(landmark: int) -> tuple[str, ...]:
    if landmark in (*LEFT_IRIS, *RIGHT_IRIS):
        return ("eye",)
    if landmark in (*LEFT_EYE, *RIGHT_EYE):
        return ("lid",)
    if landmark in _UPPER_INNER:
        return ("lip_upper",)
    if landmark in _LOWER_INNER:
        return ("lip_lower",)
    return ("skin", "lid", "lip_upper", "lip_lower")


def _start(
    landmarks: list[int], pixels: list[torch.Tensor], points: SurfaceSet, evidence: Evidence, rows: torch.Tensor
) -> np.ndarray:
    """(3,) the candidate of an allowed layer that lands closest in frontal pictures."""
    total = sum(evidence.cost_of(one, seen, rows) for one, seen in zip(landmarks, pixels, strict=True))
    allowed = np.isin(points.layer, _layers_for(landmarks[0]))
    return points.place[np.where(allowed, np.asarray(total), np.inf).argmin()]


def _place_pair(
    landmark: int, twin: int, start: np.ndarray, left: SurfaceSet, surface: Surface, evidence: Evidence
) -> SurfaceSet:
    near = np.linalg.norm(left.place - start, axis=1) < SEARCH_MM
    nearby = left.take(near & np.isin(left.layer, _layers_for(landmark)))
    found = _place([landmark, twin], [nearby, surface.mirrored(nearby)], start, evidence)
    close = np.linalg.norm(left.place - found.place, axis=1) < REFINE_MM
    triangles = np.unique(left.triangle[close & (left.layer == found.layer[0])])
    fine = surface.sample(triangles, np.random.default_rng(landmark), REFINED_SPACING_MM)
    fine = fine.take(np.linalg.norm(fine.place - found.place, axis=1) < REFINE_MM)
    return _place([landmark, twin], [fine, surface.mirrored(fine)], found.place[0], evidence)


def _place(landmarks: list[int], sets: list[SurfaceSet], start: np.ndarray, evidence: Evidence) -> SurfaceSet:
    """The candidate of least cost near the start, over the pictures that see the start."""
    away = np.linalg.norm(sets[0].place - start, axis=1)
    near, guess = np.flatnonzero(away < SEARCH_MM), np.array([away.argmin()])
    total = torch.zeros(len(near))
    for one, points in zip(landmarks, sets, strict=True):
        seen = torch.arange(len(evidence.detected))
        if points.layer[guess[0]] == "skin":
            seen = seen[evidence.facing(points.take(guess))[:, 0] > FACING]
        total += evidence.cost(one, points.take(near), seen)
    return sets[0].take(near[[int(total.argmin())]])
