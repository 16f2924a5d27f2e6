"""The smooth skin of the open head whose shading tells its shape: places, normals, and how both follow the identity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.heads import load_head

# Where light goes to and fro, or hair, lashes and paint make the colour: nothing is read there.
_LEFT_OUT = ("brows", "lips", "eyelids", "nostrils", "inner_mouth", "eye_cavity", "scalp", "ears", "neck")
# Albedo waves: cosines across (symmetric) and down the face, and half the face's width and height, mm.
_WAVES = (7, 10)
_HALF_SIZE_MM = (75.0, 100.0)


@dataclass(frozen=True, eq=False)
class SkinSurface:
    """N vertices that are looked at (``seen``) and the ring about them that their normals need: U in all.

    ``vertices`` are their numbers in the head, ``triangles`` and ``seen`` numbers among the U. ``mean``, ``identity``
    and ``expression`` are the head's own, mm; ``waves`` are the values of the albedo's waves.
    """

    vertices: Int[Tensor, " U"]
    triangles: Int[Tensor, "T 3"]
    seen: Int[Tensor, " N"]
    mean: Float[Tensor, "U 3"]
    identity: Float[Tensor, "U 3 I"]
    expression: Float[Tensor, "U 3 E"]
    waves: Float[Tensor, "N K"]

    def points(self, rest: Float[Tensor, "U 3"], identity: Float[Tensor, " I"]) -> Float[Tensor, "U 3"]:
        """Where the vertices are for an identity; ``rest`` is the average person with this expression."""
        return rest + self.identity @ identity

    def normals(self, points: Float[Tensor, "U 3"]) -> Float[Tensor, "N 3"]:
        """Unit normals of the seen vertices."""
        return torch.nn.functional.normalize(self._area_vectors(points)[0], dim=1)

    def normals_with_slopes(self, points: Float[Tensor, "U 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3 I"]]:
        """Unit normals of the seen vertices, and how they change with the identity."""
        sums, first, second = self._area_vectors(points)
        by_first, by_second = self._edge_slopes
        change = torch.linalg.cross(by_first, second[..., None].expand_as(by_first), dim=1)
        change += torch.linalg.cross(first[..., None].expand_as(by_second), by_second, dim=1)
        total = change.new_zeros(len(points), *change.shape[1:])
        total = total.index_add_(0, self.triangles.flatten(), change.repeat_interleave(3, 0))[self.seen]
        length = sums.norm(dim=1, keepdim=True)
        normal = sums / length
        along = normal[..., None] * (normal[..., None] * total).sum(1, keepdim=True)
        return normal, (total - along) / length[..., None]

    def _area_vectors(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Summed over the triangles at each seen vertex, and the two edges of each triangle."""
        corners = points[self.triangles]
        first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        total = torch.zeros_like(points)
        total.index_add_(0, self.triangles.flatten(), torch.linalg.cross(first, second).repeat_interleave(3, 0))
        return total[self.seen], first, second

    @cached_property
    def _edge_slopes(self) -> tuple[Tensor, Tensor]:
        """How the two edges of each triangle change with the identity."""
        corners = self.identity[self.triangles]
        return corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]


@cache
def skin_surface() -> SkinSurface:
    """That of the open head."""
    head = load_head("open")
    region, triangles = head.topology.region, head.topology.triangles
    smooth = region("face") & region("skin") & ~np.logical_or.reduce([region(name) for name in _LEFT_OUT])
    around = torch.from_numpy(triangles[smooth[triangles].any(axis=1)].astype("int64"))
    vertices = torch.unique(around)
    local = torch.full((len(smooth),), -1)
    local[vertices] = torch.arange(len(vertices))
    rest = head.vertices(torch.zeros(1, head.n_identity))
    identity = head.vertices(torch.eye(head.n_identity)) - rest
    no_one = torch.zeros(head.n_expression, head.n_identity)
    expression = head.vertices(no_one, torch.eye(head.n_expression)) - rest
    seen = torch.from_numpy(np.flatnonzero(smooth))
    return SkinSurface(
        vertices=vertices,
        triangles=local[around],
        seen=local[seen],
        mean=rest[0, vertices],
        identity=identity[:, vertices].permute(1, 2, 0).contiguous(),
        expression=expression[:, vertices].permute(1, 2, 0).contiguous(),
        waves=_waves(rest[0, seen]),
    )


def _waves(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N K"]:
    across, down = points[:, 0].abs() / _HALF_SIZE_MM[0], (points[:, 1] / _HALF_SIZE_MM[1] + 1) / 2
    pairs = [(i, j) for i in range(_WAVES[0]) for j in range(_WAVES[1]) if i + j]
    return torch.stack([torch.cos(math.pi * i * across) * torch.cos(math.pi * j * down) for i, j in pairs], 1)
