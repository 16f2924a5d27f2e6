"""Painted renders of the baked head: real enough that a landmark detector sees a face, with every pixel's place known.

Skin, lips, brows, lash lines, eyes, nostrils, mouth and hair are painted per pixel in the coordinates of the mean
head, so the paint sits on the same anatomy for every identity and expression.
"""

from dataclasses import dataclass

import numpy as np
import torch

from likeness.heads.open_head import OpenHead
from likeness.meshes import vertex_normals
from likeness.render import rasterize
from open_head.nostrils import NOSTRIL_RADII, from_nostril, nose_tip_of
from open_head.regions import brow_paint
from open_head.topology import IRIS_DEGREES, PUPIL_DEGREES

SUPERSAMPLE = 2
SKIN_TONES = np.array(
    [
        *([0.93, 0.76, 0.68], [0.88, 0.69, 0.58], [0.78, 0.58, 0.46]),
        *([0.62, 0.43, 0.32], [0.45, 0.30, 0.22], [0.32, 0.21, 0.16]),
    ]
)
HAIR_TONES = np.array(
    [[0.06, 0.05, 0.04], [0.16, 0.10, 0.06], [0.30, 0.19, 0.10], [0.55, 0.42, 0.25], [0.35, 0.34, 0.33]]
)
IRIS_TONES = np.array(
    [[0.25, 0.14, 0.07], [0.35, 0.22, 0.10], [0.30, 0.42, 0.30], [0.35, 0.50, 0.65], [0.15, 0.09, 0.06]]
)


@dataclass(frozen=True)
class Look:
    """One person's colours and the light on them."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lip_strength: float
    brow_strength: float
    brow_width: float
    lash_strength: float
    hair_mm: float
    light: np.ndarray  # towards the light, camera axes (+x right, +y up, +z to the camera)
    ambient: float
    blotches: np.ndarray  # (n, 4) wave vectors and phases
    background: np.ndarray  # (2, 3) colours above and below


def draw_look(rng: np.random.Generator) -> Look:
    """A random look."""
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    low = int(tone)
    skin = SKIN_TONES[low] + (tone - low) * (SKIN_TONES[min(low + 1, len(SKIN_TONES) - 1)] - SKIN_TONES[low])
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.0, 0.9), rng.uniform(0.6, 1.2)])
    return Look(
        skin=skin * rng.uniform(0.92, 1.05, 3),
        hair=HAIR_TONES[rng.integers(len(HAIR_TONES))],
        iris=IRIS_TONES[rng.integers(len(IRIS_TONES))],
        lip_strength=rng.uniform(0.45, 0.95),
        brow_strength=rng.uniform(0.6, 0.95),
        brow_width=rng.uniform(0.8, 1.15),
        lash_strength=rng.uniform(0.5, 0.95),
        hair_mm=rng.choice([1.0, 5.0, 12.0]),
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.35, 0.65),
        blotches=np.concatenate([rng.normal(0, 0.12, (12, 3)), rng.uniform(0, 6.3, (12, 1))], axis=1),
        background=rng.uniform(0.15, 0.85, (2, 3)),
    )


class Painter:
    """Renders one open head; `paint` holds MakeHuman's masks by vertex (`masks.painted_masks`)."""

    def __init__(self, head: OpenHead, paint: dict[str, np.ndarray]) -> None:
        self.head = head
        self.triangles = head.topology.triangles_tensor
        self.mean = head.vertices(torch.zeros(1, head.n_identity))[0].numpy()
        region = head.topology.region
        centres = head.joint_positions(torch.zeros(1, head.n_identity))[0].numpy()
        self.eyes = {side: centres[head.joint_names.index(f"eye{side.title()}")] for side in ("left", "right")}
        self.nose_tip = nose_tip_of(self.mean, region("skin"))
        self.part = self._triangle_parts()
        self.attributes = self._vertex_attributes(paint)

    def render(self, vertices: np.ndarray, camera, size: int, look: Look) -> np.ndarray:
        """(size, size, 3) uint8 of posed vertices (V, 3), head frame, under a camera of `size` pixels."""
        points = torch.from_numpy(vertices.astype(np.float32))[None]
        normals = vertex_normals(points[0], self.triangles)
        hair = torch.from_numpy(self.attributes[:, 2].astype(np.float32))
        points = points + (normals * (hair * look.hair_mm)[:, None])[None]
        pixels = camera.project_with_depth(points) * torch.tensor([SUPERSAMPLE, SUPERSAMPLE, 1.0])
        fragments = rasterize(pixels, self.triangles, (size * SUPERSAMPLE,) * 2, perspective=True)
        seen = fragments.triangle[0].numpy()
        image = self._background(size * SUPERSAMPLE, look)
        inside = seen >= 0
        weights = fragments.barycentric[0].numpy()[inside]
        corners = self.triangles.numpy()[seen[inside]]
        towards = (camera.rotation[0].numpy() * [[1.0], [-1.0], [-1.0]]).T  # camera axes (x right, y up, z to it)
        normal = np.einsum("pk,pkc->pc", weights, (normals.numpy() @ towards)[corners])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        values = np.einsum("pk,pkc->pc", weights, self.attributes[corners])
        place = np.einsum("pk,pkc->pc", weights, self.mean[corners])
        albedo = self._albedo(self.part[seen[inside]], place, values, look)
        image[inside] = self._shade(albedo, normal, values[:, 3], self.part[seen[inside]], look)
        image = image.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean(axis=(1, 3))
        return (np.clip(image, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)

    def _triangle_parts(self) -> np.ndarray:
        parts = np.full(len(self.triangles), "skin", dtype="<U14")
        for name in ("inner_mouth", "eye_cavity", "eyeball_left", "eyeball_right", "teeth", "tongue"):
            inside = self.head.topology.region(name)[self.triangles.numpy()].all(axis=1)
            parts[inside] = name
        return parts

    def _vertex_attributes(self, paint: dict[str, np.ndarray]) -> np.ndarray:
        """(V, 7): lips, distance from the eye's rim (mm), hair, occlusion, redness, is the rim the upper, nostrils."""
        region = self.head.topology.region
        rim = region("skin") & region("eye_cavity")
        near = np.abs(self.mean[:, None] - self.mean[rim][None])
        to_rim = np.sqrt((near**2).sum(axis=2))
        closest = np.flatnonzero(rim)[to_rim.argmin(axis=1)]
        upper = region("eyelid_upper_left") | region("eyelid_upper_right")
        hair = np.where(region("scalp"), 1 - paint["face"], 0.0) * (1 - paint["ears"])
        spots = [self.nose_tip, *(np.array([side * 45.0, -15.0, 10.0]) for side in (-1, 1))]
        red = sum(np.exp(-((self.mean - spot) ** 2).sum(axis=1) / (2 * 14.0**2)) for spot in spots)
        shade = self._occlusion()
        columns = [paint["lips"], to_rim.min(axis=1), hair, shade, red, upper[closest], region("nostrils")]
        return np.stack(columns, axis=1)

    def _occlusion(self) -> np.ndarray:
        """(V,) share of directions from the front half space from which each vertex is seen on the mean head."""
        rng = np.random.default_rng(0)
        total = np.zeros(len(self.mean))
        directions = rng.normal(size=(96, 3)) * [1.0, 1.0, 1.0]
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        for view in directions:
            total += self._seen_along(view)
        share = np.clip(total / (0.5 * len(directions)), 0.08, 1.0)
        # Closed lips hide the teeth and the tongue of the mean head, not those of an open mouth.
        inside = self.head.topology.region("teeth") | self.head.topology.region("tongue")
        return np.where(inside, 0.55, share)

    def _seen_along(self, view: np.ndarray) -> np.ndarray:
        side = np.cross(view, [0.3, 0.9, 0.2])
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(view, side), -view])
        local = self.mean @ axes.T
        pixels = np.concatenate([local[:, :2] * 1.4 + 256, local[:, 2:] + 1000], axis=1).astype(np.float32)
        drawn = rasterize(torch.from_numpy(pixels)[None], self.triangles, (512, 512), perspective=False)
        depth = drawn.depth[0].numpy()
        column, row = np.clip(pixels[:, 0].astype(int), 0, 511), np.clip(pixels[:, 1].astype(int), 0, 511)
        return pixels[:, 2] < depth[row, column] + 2.0

    def _background(self, size: int, look: Look) -> np.ndarray:
        rise = np.linspace(0, 1, size)[:, None, None]
        return np.broadcast_to(look.background[0] * (1 - rise) + look.background[1] * rise, (size, size, 3)).copy()

    def _albedo(self, part: np.ndarray, place: np.ndarray, values: np.ndarray, look: Look) -> np.ndarray:
        colour = self._skin(place, values, look)
        for side in ("left", "right"):
            ball = part == f"eyeball_{side}"
            colour[ball] = self._eyeball(place[ball] - self.eyes[side], look)
        cavity = part == "eye_cavity"
        colour[cavity] = look.skin * [0.85, 0.5, 0.48]
        depth = self.mean[self.head.topology.region("lips"), 2].max() - place[:, 2]
        lining = part == "inner_mouth"
        lips = smoothstep(0.3, 0.7, values[:, 0])
        flesh = np.array([0.42, 0.12, 0.12]) * np.exp(-np.clip(depth - 8.0, 0, 40) / 12.0)[:, None]
        colour[lining] = (flesh + lips[:, None] * (colour - flesh))[lining]
        colour[part == "tongue"] = [0.6, 0.28, 0.28]
        gap = 0.75 + 0.25 * np.abs(np.sin(np.pi * place[:, :1] / 7.5)) ** 0.3
        colour[part == "teeth"] = (np.array([0.82, 0.78, 0.70]) * gap)[part == "teeth"]
        return colour

    def _skin(self, place: np.ndarray, values: np.ndarray, look: Look) -> np.ndarray:
        blotch = np.sin(place @ look.blotches[:, :3].T + look.blotches[:, 3]).mean(axis=1)
        colour = look.skin * (1 + 0.12 * blotch[:, None])
        colour = colour * (1 - values[:, 4:5] * [0.03, 0.14, 0.13])
        lips = smoothstep(0.35, 0.65, values[:, 0]) * look.lip_strength
        colour = blend(colour, look.skin * [0.85, 0.42, 0.44], lips)
        brow = smoothstep(0.0, 0.45, brow_paint(place, self.eyes["left"], width=look.brow_width))
        strands = 0.75 + 0.25 * np.sin(place[:, 0] * 5.0 + place[:, 1] * 2.5)
        colour = blend(colour, look.hair * 0.8, brow * strands * look.brow_strength)
        upper, away = values[:, 5], values[:, 1]
        lash = upper * smoothstep(1.5, 0.5, away) + 0.5 * (1 - upper) * smoothstep(1.1, 0.3, away)
        colour = blend(colour, look.hair * 0.4, lash * look.lash_strength)
        nostril = nostril_paint(from_nostril(place, self.nose_tip), values[:, 6])
        colour = blend(colour, look.skin * [0.12, 0.06, 0.05], nostril)
        return blend(colour, look.hair, smoothstep(0.25, 0.75, values[:, 2]) * float(look.hair_mm > 0))

    def _eyeball(self, offset: np.ndarray, look: Look) -> np.ndarray:
        degrees = np.degrees(np.arctan2(np.linalg.norm(offset[:, :2], axis=1), offset[:, 2]))
        colour = np.tile([0.80, 0.77, 0.75], (len(offset), 1))
        spoke = 0.85 + 0.15 * np.sin(np.arctan2(offset[:, 1], offset[:, 0]) * 23)
        iris = look.iris[None] * spoke[:, None] * (1 - 0.5 * smoothstep(0.8, 1.0, degrees / IRIS_DEGREES))[:, None]
        colour = blend(colour, iris, smoothstep(IRIS_DEGREES + 1, IRIS_DEGREES - 1, degrees))
        return blend(colour, np.array([0.01, 0.01, 0.01]), smoothstep(PUPIL_DEGREES + 1, PUPIL_DEGREES - 1, degrees))

    def _shade(
        self, albedo: np.ndarray, normal: np.ndarray, occlusion: np.ndarray, part: np.ndarray, look: Look
    ) -> np.ndarray:
        lambert = np.clip((normal @ look.light + 0.25) / 1.25, 0, 1)
        sky = 0.75 + 0.25 * normal[:, 1]
        light = look.ambient * sky * occlusion**0.8 + (1.05 - look.ambient) * lambert * np.clip(occlusion * 1.6, 0, 1)
        half = look.light + np.array([0.0, 0.0, 1.0])
        half /= np.linalg.norm(half)
        eye = np.char.startswith(part, "eyeball")
        gloss = np.clip(normal @ half, 0, 1)
        shine = np.where(eye, 0.9 * gloss**300, 0.06 * gloss**12 * occlusion)
        return albedo**1.6 * light[:, None] * 1.25 + shine[:, None]


def nostril_paint(offset: np.ndarray, within: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1]: how much of a nostril's darkness points (N, 3) of `from_nostril` show.

    ``within`` (N,) is the interpolated nostril region: the hollow itself has left the dent's place.
    """
    dent = smoothstep(1.15, 0.8, np.linalg.norm(offset / NOSTRIL_RADII, axis=1))
    return np.maximum(dent, np.clip((offset[:, 1] - 1.0) / 2.0, 0, 1) * within)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blend(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return colour + share[:, None] * (other - colour)
