"""Where on a head are brows, lips, cheeks, beard …: soft maps, drawn on the average head between its landmarks.

A place on a head is named by its rest point: where it lies on the neutral average head, mm. So the same paint sits on
the same anatomy whatever the identity and the expression, and every head with 68 landmarks has it; regions of the
head's own (scalp, ears, eyeballs, mouth) are used where it has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.filters import smoothstep
from likeness.heads.protocol import Head

# The distance between the outer corners of the eyes on which the sizes below were drawn, mm.
_EYES_APART_MM = 88.0

PARTS = ("skin", "eyeball_left", "eyeball_right", "eye_cavity", "inner_mouth", "teeth", "tongue")
"""What a triangle is made of, by `Anatomy.parts`; heads without these regions are all skin."""


@dataclass(frozen=True, eq=False)
class Zones:
    """Soft maps in [0, 1], (N,) each, of N places of the skin."""

    brows: Float[Tensor, " N"]
    lips: Float[Tensor, " N"]
    lids: Float[Tensor, " N"]
    cheeks: Float[Tensor, " N"]
    nose: Float[Tensor, " N"]
    beard: Float[Tensor, " N"]
    safe: Float[Tensor, " N"]
    """Cheeks, nose and the middle of the forehead: seen bare on nearly everybody."""
    centre: Float[Tensor, " N"]
    """1 in the middle of the face, 0 at temples, scalp, jaw's edge and neck."""
    eyes: Float[Tensor, " N"]
    """Between the lids."""


class Anatomy:
    """Rest points, parts and zones of one head model."""

    def __init__(self, head: Head) -> None:
        identity = torch.zeros(1, head.n_identity)
        self.rest: Float[Tensor, "V 3"] = head.vertices(identity)[0]
        self.topology = head.topology
        self.marks: Float[Tensor, "68 3"] = head.embeddings["ibug68"].points(self.rest)
        self.unit = float((self.marks[45] - self.marks[36]).norm()) / _EYES_APART_MM

    @cached_property
    def parts(self) -> Int[Tensor, " T"]:
        """The index in `PARTS` of each triangle."""
        part = np.zeros(len(self.topology.triangles), np.int64)
        for index, name in enumerate(PARTS[1:], 1):
            if name in self.topology.regions:
                part[self.topology.region(name)[self.topology.triangles].all(1)] = index
        return torch.from_numpy(part)

    def region(self, name: str) -> Float[Tensor, " V"]:
        """A vertex mask of the head's own as 0 and 1; all 0 where it has none of that name."""
        mask = self.topology.regions.get(name)
        return torch.zeros(len(self.rest)) if mask is None else torch.from_numpy(np.asarray(mask)).float()

    def zones(self, points: Float[Tensor, "N 3"]) -> Zones:
        """The zones at rest points."""
        marks, unit = self.marks, self.unit
        front = smoothstep(points[:, 2] - marks[27, 2], -45 * unit, -25 * unit)
        brows = _near(points, [marks[17:22], marks[22:27]], 3.0 * unit, 6.0 * unit)
        lips = _inside(points, marks[48:60], 1.0 * unit) * front
        to_eyes = torch.maximum(_inside_mm(points, marks[36:42]), _inside_mm(points, marks[42:48])) / unit
        lids = smoothstep(to_eyes, -9.0, -4.0) * front
        cheeks = _blob(points, self._cheek(-1), 17 * unit) + _blob(points, self._cheek(1), 17 * unit)
        nose = _blob(points, marks[30] - torch.tensor([0.0, 2.0, 4.0]) * unit, 13 * unit)
        forehead = _blob(points, marks[27] + torch.tensor([0.0, 38.0, -4.0]) * unit, 17 * unit)
        return Zones(
            brows=brows,
            lips=lips,
            lids=lids * (1 - brows),
            cheeks=cheeks.clamp_max(1.0),
            nose=nose,
            beard=self._beard(points) * (1 - lips),
            safe=(cheeks + nose + 0.7 * forehead).clamp_max(1.0) * (1 - lips) * (1 - lids),
            centre=self._centre(points),
            eyes=smoothstep(to_eyes, -0.5, 0.5) * front,
        )

    def _cheek(self, side: int) -> Float[Tensor, " 3"]:
        eye, mouth = (self.marks[46], self.marks[54]) if side > 0 else (self.marks[41], self.marks[48])
        outwards = torch.tensor([13.0, 0.0, -6.0]) * self.unit
        return 0.55 * eye + 0.45 * mouth + outwards * torch.tensor([torch.sign(mouth[0]), 1.0, 1.0])

    def _beard(self, points: Tensor) -> Float[Tensor, " N"]:
        """Below a line from the nose's base over the cheeks to the ears' lower end, above the throat, in front."""
        marks, unit = self.marks, self.unit
        x, y, z = ((points - marks[33]) / unit).unbind(-1)
        chin = float((marks[8, 1] - marks[33, 1]) / unit)
        below = smoothstep(y + 14.0 * torch.exp(-(((x.abs() - 32) / 16) ** 2)), 5.0, -9.0)
        throat = smoothstep(y, chin - 30, chin - 8)
        return below * throat * smoothstep(z, -85.0, -60.0)

    def _centre(self, points: Tensor) -> Float[Tensor, " N"]:
        marks, unit = self.marks, self.unit
        middle = (marks[27] + marks[33]) / 2
        x, y, _ = ((points - middle) / unit).unbind(-1)
        up = torch.where(y > 0, y / 62.0, y / 75.0)
        return smoothstep(torch.sqrt((x / 58.0) ** 2 + up**2), 1.15, 0.6) * smoothstep(
            (points - marks[30])[:, 2], -75.0, -50.0
        )


def _blob(points: Tensor, centre: Tensor, radius: float) -> Tensor:
    return torch.exp(-((points - centre) / radius).square().sum(-1))


def _near(points: Tensor, lines: list[Tensor], inner: float, outer: float) -> Tensor:
    distance = torch.stack([_to_segments(points, line[:-1], line[1:]).amin(0) for line in lines]).amin(0)
    return smoothstep(distance, outer, inner)


def _to_segments(points: Float[Tensor, "N D"], a: Float[Tensor, "S D"], b: Float[Tensor, "S D"]) -> Tensor:
    """(S, N) distances of points from segments. Axis by axis: torch is slow at sums over an axis of three."""
    along = b - a
    offsets = [points[None, :, axis] - a[:, None, axis] for axis in range(points.shape[1])]
    length2 = along.square().sum(-1, keepdim=True)
    t = (sum(o * along[:, axis, None] for axis, o in enumerate(offsets)) / length2).clamp(0, 1)
    return torch.stack([o - t * along[:, axis, None] for axis, o in enumerate(offsets)]).square().sum(0).sqrt()


def _inside(points: Tensor, outline: Tensor, soft: float) -> Tensor:
    return smoothstep(_inside_mm(points, outline), -soft, soft)


def _inside_mm(points: Float[Tensor, "N 3"], outline: Float[Tensor, "M 3"]) -> Float[Tensor, " N"]:
    """How deep points lie inside an outline, seen from the front; negative outside."""
    p, a = points[:, :2], outline[:, :2]
    b = a.roll(-1, 0)
    distance = _to_segments(p, a, b).amin(0)
    rise = torch.where((b - a)[:, 1].abs() > 1e-9, (b - a)[:, 1], 1e-9)
    y = p[None, :, 1]
    above = (a[:, 1:] > y) != (b[:, 1:] > y)
    crossing = a[:, :1] + (y - a[:, 1:]) * ((b - a)[:, 0] / rise)[:, None]
    odd = (above & (p[None, :, 0] < crossing)).sum(0) % 2 == 1
    return torch.where(odd, distance, -distance)
