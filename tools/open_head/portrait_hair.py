"""Hair of a portrait, strand by strand: on the scalp in a few styles, in the brows, along the lids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from open_head.painting import Painter, smoothstep
from open_head.regions import brow_paint

HairKind = Literal["bald", "buzz", "short", "long", "up", "fringe"]
SHARE_OF_KIND = (0.08, 0.17, 0.3, 0.27, 0.1, 0.08)
N_ROOTS = {"bald": 0, "buzz": 5000, "short": 3500, "long": 3000, "up": 3500, "fringe": 3500}
N_POINTS = {"buzz": 5, "short": 9, "long": 14, "up": 9, "fringe": 9}
# Lengths of one head's hair, as shares of the style's.
LENGTHS = {"buzz": (0.7, 1.2), "short": (0.6, 1.2), "long": (0.85, 1.1), "up": (0.8, 1.2), "fringe": (0.85, 1.1)}
# How much a strand turns down at each step, and how straight it stands off the skin at its root.
GRAVITY = {"buzz": 0.0, "short": 0.12, "long": 0.9, "up": 0.0, "fringe": 0.3}
LIFT = {"buzz": 1.0, "long": 0.15, "up": 0.05, "fringe": 0.25}
FRINGE_DEPTH_MM = 55.0
LASH_RADIUS_MM, BROW_RADIUS_MM = 0.14, 0.13


@dataclass(frozen=True)
class HairStyle:
    """What a barber would ask."""

    kind: HairKind
    hairline: float  # in (0, 1): hair grows where the head's hair mask exceeds it
    length_mm: float
    fringe_mm: float
    lift: float  # of 1: straight off the skin at the root; 0: combed flat
    comb: np.ndarray  # (3,) head frame, for short hair
    parting_mm: float  # x of the parting of long hair
    backwards: float  # how much long hair is combed back
    radius_mm: float
    curl: float  # how much a strand wanders at each step


@dataclass(frozen=True)
class Brow:
    """How one person's brows differ from the mean head's: moved and bent in mm, ``width`` as a factor."""

    up: float
    out: float
    tilt: float
    arch: float
    width: float
    strength: float  # of the paint under the hairs
    n_hairs: int
    hair_mm: float

    def depth(self, place: np.ndarray, eye: np.ndarray) -> np.ndarray:
        """How deep (N) places on the mean head (N, 3) lie inside: 1 on the middle line, 0 at the edge."""
        return brow_paint(place, eye, width=self.width, outwards=self.out, bend=self._rise)

    def _rise(self, outward: np.ndarray) -> np.ndarray:
        return self.up + self.tilt * (outward - 30) + self.arch * (8 - np.abs(outward - 34))


@dataclass(frozen=True)
class Strands:
    """``points`` (N, K, 3) in mm from root to tip, ``radius_mm`` (N) at the root."""

    points: np.ndarray
    radius_mm: np.ndarray


@dataclass(frozen=True)
class Ellipsoid:
    """About the skull, so that hair lies on the head and not in it."""

    centre: np.ndarray
    radii: np.ndarray

    @classmethod
    def of_scalp(cls, scalp: np.ndarray) -> Ellipsoid:
        """Through the top and the sides of scalp vertices (N, 3); the height, which they do not tell, is a mean one."""
        low, high = scalp.min(0), scalp.max(0)
        middle, half = (low + high) / 2, (high - low) / 2
        return cls(np.array([middle[0], high[1] - 105, middle[2]]), np.array([half[0] + 1, 107, half[2] + 2]))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(N): 1 on the surface, less inside."""
        return np.linalg.norm((points - self.centre) / self.radii, axis=1)

    def push_out(self, points: np.ndarray, margin: np.ndarray) -> np.ndarray:
        """Points (N, 3), those that are nearer than ``margin`` (N) moved away from the centre to it."""
        distance = self.distance(points)
        factor = np.where(distance < margin, margin / distance, 1)
        return self.centre + (points - self.centre) * factor[:, None]


def draw_hair_style(rng: np.random.Generator) -> HairStyle:
    """A random style."""
    kind: HairKind = rng.choice(get_args(HairKind), p=SHARE_OF_KIND)
    clipped, long, up = rng.uniform(12, 50), rng.uniform(90, 320), 70.0
    aside = rng.uniform(-1.2, 1.2)
    forwards = rng.choice([-1, -1, 1])
    thickness = {"long": 1.7, "buzz": 0.6}.get(kind, 1.0)
    return HairStyle(
        kind=kind,
        hairline=rng.uniform(0.25, 0.75),
        length_mm={"buzz": 0.12 * clipped, "long": long, "up": up}.get(kind, clipped),
        fringe_mm=rng.uniform(30, 75),
        lift=LIFT.get(kind, rng.uniform(0.15, 0.8)),
        comb=np.array([np.sin(aside), 0.3, forwards * np.cos(aside)]),
        parting_mm=rng.choice([0, rng.uniform(-30, 30)]),
        backwards=rng.uniform(-0.2, 1.2),
        radius_mm=thickness * rng.uniform(0.25, 0.6),
        curl=rng.choice([0.03, 0.1, 0.3]),
    )


def draw_brow(rng: np.random.Generator) -> Brow:
    """A random pair of brows, one in five of paint alone."""
    return Brow(
        up=rng.normal(0, 2.0),
        out=rng.normal(0, 1.5),
        tilt=rng.normal(0, 0.05),
        arch=rng.normal(0, 0.08),
        width=np.exp(rng.normal(0, 0.25)),
        strength=rng.uniform(0.15, 0.9),
        n_hairs=int(rng.uniform(0, 500)) if rng.random() < 0.8 else 0,
        hair_mm=rng.uniform(5, 9),
    )


class Groomer:
    """Grows hair on any shape of the painter's head; built once."""

    def __init__(self, painter: Painter) -> None:
        self.mean, self.eye, self.hair = painter.mean, painter.eyes["left"], painter.attributes[:, 2]
        region = painter.head.topology.region
        self.scalp = region("scalp")
        triangles = painter.triangles.numpy()[painter.part == "skin"]
        # The rim of the eyes has no face paint and so counts as scalp, but no hair grows there.
        eyes = (region("eye_cavity") | region("eyelids"))[triangles].any(axis=1)
        self.scalp_pool = _Pool.of_area(self.mean, triangles[(self.hair[triangles].max(axis=1) > 0.05) & ~eyes])
        centre = self.mean[triangles].mean(axis=1) - self.eye
        wide = np.abs(centre[:, 0] + self.eye[0]) < 62
        near = (centre[:, 1] > 2) & (centre[:, 1] < 30) & wide & (centre[:, 2] > -12)
        self.brow_pool = _Pool.of_area(self.mean, triangles[near])
        self.rims = _eye_rims(painter)

    def hairs(
        self, vertices: np.ndarray, normals: np.ndarray, style: HairStyle, rng: np.random.Generator
    ) -> Strands | None:
        """The hair of a head with these vertices and normals (V, 3); None where it is bald."""
        if style.kind == "bald":
            return None
        roots = self.scalp_pool.draw(N_ROOTS[style.kind], rng)
        mean = roots.of(self.mean)
        waves = [np.sin(mean @ rng.normal(0, 0.05, 3) + rng.uniform(0, 6.3)) for _ in range(4)]
        uneven = 0.08 * np.sum(waves, axis=0) + rng.normal(0, 0.06, len(mean))
        grows = roots.of(self.hair) + uneven > style.hairline
        roots, mean = roots[grows], mean[grows]
        start, normal = roots.of(vertices), _unit(roots.of(normals))
        length = _lengths(style, mean, rng)
        comb = _comb(style, mean) + rng.normal(0, 0.12, mean.shape)
        direction = _unit(normal * style.lift + comb * (1 - style.lift) * 0.9)
        points = _trace(start, direction, length, style, Ellipsoid.of_scalp(vertices[self.scalp]), rng)
        return Strands(points, style.radius_mm * rng.uniform(0.7, 1.3, len(mean)))

    def brow_hairs(
        self, vertices: np.ndarray, normals: np.ndarray, brow: Brow, rng: np.random.Generator
    ) -> Strands | None:
        """Short arcs: up at the nose, outwards and down at the temple; None where there are none."""
        roots = self.brow_pool.draw(8 * brow.n_hairs, rng)
        inside = brow.depth(roots.of(self.mean), self.eye) > rng.uniform(0, 0.5, 8 * brow.n_hairs)
        roots = roots[np.flatnonzero(inside)[: 2 * brow.n_hairs]]
        mean, start, normal = (roots.of(values) for values in (self.mean, vertices, normals))
        if not len(mean):
            return None
        out = np.abs(mean[:, 0])
        sideways, upwards = (
            np.sign(mean[:, 0]) * np.clip((out - 6) / 14, 0.2, 1),
            np.clip(1.1 - (out - 10) / 22, -0.5, 1),
        )
        along = np.stack([sideways, upwards, 0 * out], 1) + rng.normal(0, 0.15, mean.shape)
        along = _unit(along - normal * (along * normal).sum(1, keepdims=True))
        share = np.linspace(0, 1, 5)[:, None]
        length = brow.hair_mm * rng.uniform(0.6, 1.1, len(mean))
        points = start[:, None] + along[:, None] * length[:, None, None] * share
        points = points + normal[:, None] * 0.9 * np.sin(np.pi * share)
        return Strands(points, np.full(len(mean), BROW_RADIUS_MM))

    def lashes(self, vertices: np.ndarray, rng: np.random.Generator) -> list[Strands]:
        """Those of the four lids."""
        return [_lashes(vertices[rim], upper, rng) for upper, rim in self.rims]


@dataclass(frozen=True)
class _Roots:
    """Points on the surface: the corners (N, 3) of their triangles and their barycentric weights (N, 3)."""

    corners: np.ndarray
    weights: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """What vertices have (V) or (V, C), there."""
        return np.einsum("nk,nk...->n...", self.weights, values[self.corners])

    def __getitem__(self, chosen: np.ndarray) -> _Roots:
        return _Roots(self.corners[chosen], self.weights[chosen])


@dataclass(frozen=True)
class _Pool:
    """Triangles (T, 3) from which roots are drawn, by their share of the area (T)."""

    triangles: np.ndarray
    share: np.ndarray

    @classmethod
    def of_area(cls, vertices: np.ndarray, triangles: np.ndarray) -> _Pool:
        a, b, c = (vertices[triangles[:, k]] for k in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1).astype(float)
        return cls(triangles, area / area.sum())

    def draw(self, n: int, rng: np.random.Generator) -> _Roots:
        chosen = rng.choice(len(self.triangles), n, p=self.share)
        return _Roots(self.triangles[chosen], rng.dirichlet(np.ones(3), n))


def _lengths(style: HairStyle, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N) mm for roots at ``mean`` (N, 3) on the mean head."""
    whole = np.full(len(mean), style.length_mm)
    if style.kind == "fringe":
        whole = np.where(_in_front(mean), style.fringe_mm, whole)
    return whole * rng.uniform(*LENGTHS[style.kind], len(mean))


def _comb(style: HairStyle, mean: np.ndarray) -> np.ndarray:
    """(N, 3) which way the hair at ``mean`` (N, 3) on the mean head is combed; head frame, not of unit length."""
    side, zero = np.sign(mean[:, 0]), np.zeros(len(mean))
    if style.kind == "buzz":
        return np.zeros(mean.shape)
    if style.kind == "short":
        return np.broadcast_to(style.comb, mean.shape)
    if style.kind == "up":
        return np.broadcast_to([0, 0.35, -1.0], mean.shape)
    if style.kind == "fringe":
        return np.where(_in_front(mean)[:, None], [0, 0.2, 1.0], np.stack([side, zero - 0.3, zero], 1))
    # Long hair leaves the forehead free.
    backwards = style.backwards + 1.5 * smoothstep(-70, -20, mean[:, 2] - mean[:, 2].max())
    return np.stack([np.sign(mean[:, 0] - style.parting_mm), zero - 0.1, -backwards], 1)


def _in_front(mean: np.ndarray) -> np.ndarray:
    return mean[:, 2] > mean[:, 2].max() - FRINGE_DEPTH_MM


def _trace(
    start: np.ndarray,
    direction: np.ndarray,
    length: np.ndarray,
    style: HairStyle,
    skull: Ellipsoid,
    rng: np.random.Generator,
) -> np.ndarray:
    """(N, K, 3): from ``start`` step by step, each turned down and astray a little, along the skull and not into it."""
    n_steps = N_POINTS[style.kind] - 1
    step_mm = (length / n_steps)[:, None]
    layer = rng.uniform(0, 0.10, len(start)) * (0.3 if style.kind == "up" else 1)
    curl = rng.normal(0, style.curl, (n_steps + 1, *start.shape))
    points = [start]
    for step in range(n_steps):
        aim = points[-1] + step_mm * direction
        if style.kind != "buzz":
            aim = skull.push_out(aim, 1.02 + layer)
        direction = _unit(aim - points[-1])
        points.append(points[-1] + step_mm * direction)
        direction = _unit(direction + GRAVITY[style.kind] * np.array([0, -1.0, 0]) + curl[step])
    return np.stack(points, 1)


def _eye_rims(painter: Painter) -> list[tuple[bool, np.ndarray]]:
    """For each of the four lids whether it is an upper one, and its edge's vertices from right to left."""
    region, x = painter.head.topology.region, painter.mean[:, 0]
    rim, upper = region("skin") & region("eye_cavity"), painter.attributes[:, 5] > 0.5
    lids = [(is_upper, np.flatnonzero(rim & (np.sign(x) == side) & (upper == is_upper))) for side, is_upper in _LIDS]
    return [(is_upper, ids[np.argsort(x[ids])]) for is_upper, ids in lids]


_LIDS = ((1, True), (1, False), (-1, True), (-1, False))


def _lashes(rim: np.ndarray, upper: bool, rng: np.random.Generator) -> Strands:
    """Forwards from an edge (N, 3), bent up on the upper lid and down on the lower, spread like a fan."""
    n = int(rng.uniform(30, 60))
    along = rng.uniform(0.04, 0.96, n) * (len(rim) - 1)
    before, part = along.astype(int), (along % 1)[:, None]
    base = rim[before] * (1 - part) + rim[before + 1] * part
    side = np.clip((base[:, 0] - rim[:, 0].mean()) / 14, -1, 1)
    up, zero = (1.0 if upper else -1.0), np.zeros(n)
    length = rng.uniform(*((6, 10) if upper else (3, 5))) * rng.uniform(0.7, 1.1, n)
    forwards = np.stack([side * 0.5 + rng.normal(0, 0.12, n), zero + 0.1 * up, zero + 1], 1)
    bent = np.stack([side * 0.3, zero + up, zero + 0.2], 1)
    share = np.linspace(0, 1, 5)[:, None]
    points = base[:, None] + length[:, None, None] * (forwards[:, None] * 0.8 * share + bent[:, None] * 0.6 * share**2)
    return Strands(points, np.full(n, LASH_RADIUS_MM))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)
