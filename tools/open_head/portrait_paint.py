"""The look of a portrait: colours drawn at random, and painted on the open head's atlas as linear albedo.

Beside `painting`, which paints per pixel of a picture: here light, shadow, gloss and hair are the path tracer's, so the
paint is albedo alone, and skin has the blotches and pores that photographs show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from likeness.render import rasterize
from open_head.nostrils import from_nose, from_nostril
from open_head.painting import HAIR_TONES, IRIS_TONES, SKIN_TONES, Painter, blend, nostril_paint, smoothstep
from open_head.portrait_hair import Brow, HairStyle, draw_brow, draw_hair_style
from open_head.topology import IRIS_DEGREES, PUPIL_DEGREES

# (waves per mm, strength) of a skin's slow changes in tone.
NOISE_LEVELS = ((0.03, 0.05), (0.1, 0.05), (0.3, 0.025))
TONGUE, TEETH, MOUTH = (0.38, 0.09, 0.09), (0.60, 0.55, 0.46), (0.16, 0.03, 0.03)
SCLERA, PUPIL = (0.62, 0.56, 0.53), (0.004, 0.004, 0.004)


@dataclass(frozen=True)
class Noise:
    """A mean of sines over the mean head: ``waves`` (n, 3) per mm, ``phases`` (n)."""

    waves: np.ndarray
    phases: np.ndarray
    strength: float

    def at(self, place: np.ndarray) -> np.ndarray:
        """(N) at places (N, 3) in mm."""
        return self.strength * 2.8 * np.sin(place @ self.waves.T + self.phases).mean(axis=1)


@dataclass(frozen=True)
class PortraitLook:
    """One person's colours (linear, (3,)), skin and hair."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    lip_strength: float
    brow: Brow
    noise: tuple[Noise, ...]
    redness: float  # of nose and cheeks
    shade_of_socket: float
    beard: float  # stubble; 0 for none
    freckles: float  # 0 for none
    lash_strength: float  # of the paint under the lashes
    has_lashes: bool
    roughness: float
    specular: float
    hair_style: HairStyle


def draw_portrait_look(rng: np.random.Generator) -> PortraitLook:
    """A random look."""
    skin = _draw_skin(rng)
    return PortraitLook(
        skin=skin,
        hair=(HAIR_TONES[rng.integers(len(HAIR_TONES))] * np.exp(rng.normal(0, 0.15, 3))) ** 1.8,
        iris=IRIS_TONES[rng.integers(len(IRIS_TONES))] ** 2.2 * np.exp(rng.normal(0, 0.2, 3)),
        lips=_draw_lips(skin, rng),
        lip_strength=rng.uniform(0.4, 1),
        brow=draw_brow(rng),
        noise=tuple(_draw_noise(waves, strength, rng) for waves, strength in NOISE_LEVELS),
        redness=rng.uniform(0, 1.6),
        shade_of_socket=rng.uniform(0, 0.3),
        beard=rng.uniform(0.1, 0.6) if rng.random() < 0.35 else 0.0,
        freckles=rng.uniform(0, 0.35) if rng.random() < 0.2 else 0.0,
        lash_strength=rng.uniform(0, 0.8),
        has_lashes=rng.random() < 0.85,
        roughness=rng.uniform(0.3, 0.6),
        specular=rng.uniform(0.2, 0.6),
        hair_style=draw_hair_style(rng),
    )


class AtlasPainter:
    """Paints looks on one head's atlas of ``size`` texels; built once."""

    def __init__(self, painter: Painter, size: int = 512) -> None:
        self.size, self.eyes, self.nose_tip = size, painter.eyes, painter.nose_tip
        triangle, weights = _rasterize_atlas(painter, size)
        self.covered = triangle >= 0
        # Texels outside the charts take the nearest one inside, so that no background bleeds in at the seams.
        self.nearest = np.asarray(distance_transform_edt(~self.covered, return_distances=False, return_indices=True))
        corners = painter.triangles.numpy()[triangle[self.covered]]
        self.part = painter.part[triangle[self.covered]]
        values = np.einsum("pk,pkc->pc", weights[self.covered], painter.attributes[corners])
        self.in_lips, self.to_eye_rim, self.in_hair, _, self.red, self.upper_lid, in_nostrils = values.T
        self.place = np.einsum("pk,pkc->pc", weights[self.covered], painter.mean[corners])
        self.from_nose = from_nose(self.place, self.nose_tip)
        self.nostrils = nostril_paint(from_nostril(self.place, self.nose_tip), in_nostrils)

    def paint(self, look: PortraitLook, rng: np.random.Generator) -> np.ndarray:
        """(size, size, 3) float32 linear albedo in [0.002, 0.95]; the first row is the top of the atlas."""
        tone = np.sum([noise.at(self.place) for noise in look.noise], axis=0)
        tone = tone + self._pores(1.3, rng) * rng.uniform(0.05, 0.3)
        colour = self._skin(look, tone)
        colour = self._stubble(colour, look, rng)
        colour = self._freckles(colour, look, rng)
        lips = smoothstep(0.3, 0.65, self.in_lips) * look.lip_strength
        colour = blend(colour, look.lips * np.exp(2 * tone)[:, None], lips)
        colour = self._brows(colour, look, tone, rng)
        colour = self._lids_nostrils_scalp(colour, look)
        colour = self._inner_parts(colour, look, lips)
        image = np.zeros((self.size, self.size, 3), np.float32)
        image[self.covered] = colour.clip(0.002, 0.95)
        return image[self.nearest[0], self.nearest[1]]

    def _pores(self, width: float, rng: np.random.Generator) -> np.ndarray:
        """(P) white noise, blurred by ``width`` texels."""
        return gaussian_filter(rng.standard_normal((self.size, self.size)), width, mode="wrap")[self.covered]

    def _skin(self, look: PortraitLook, tone: np.ndarray) -> np.ndarray:
        flush = np.sum([noise.at(self.place + 100) for noise in look.noise[:2]], axis=0)
        colour = look.skin * np.exp(tone[:, None] + flush[:, None] * [0, 0.7, 0.9])
        colour = colour * np.exp(-look.redness * self.red[:, None] * [0.02, 0.25, 0.25])
        eye = self.eyes["left"]
        out, up = np.abs(self.place[:, 0]) - eye[0], self.place[:, 1] - eye[1]
        socket = np.exp(-((out / 20) ** 2 + ((up + 3) / 13) ** 2)) * (self.place[:, 2] > eye[2] - 10)
        return colour * np.exp(-look.shade_of_socket * socket[:, None] * [0.8, 1, 0.9])

    def _stubble(self, colour: np.ndarray, look: PortraitLook, rng: np.random.Generator) -> np.ndarray:
        """From below the nose to under the chin, and back to the jaw's angle."""
        if not look.beard:
            return colour
        _, up, forwards = self.from_nose.T
        grows = (
            smoothstep(-44, -56, up)
            * smoothstep(62, 50, -forwards)
            * smoothstep(-95, -70, up)
            * (1 - smoothstep(0.2, 0.5, self.in_lips))
        )
        share = grows * look.beard * (0.8 + 0.4 * rng.random(len(grows)))
        return blend(colour, 0.35 * look.skin + 0.3 * look.hair, share)

    def _freckles(self, colour: np.ndarray, look: PortraitLook, rng: np.random.Generator) -> np.ndarray:
        if not look.freckles:
            return colour
        spots = smoothstep(1.2, 2.2, 4.2 * self._pores(1.2, rng))
        return blend(colour, look.skin * [0.6, 0.45, 0.35], 2 * look.freckles * spots)

    def _brows(self, colour: np.ndarray, look: PortraitLook, tone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        lines = np.sin(self.place[:, 0] * 4 + self.place[:, 1] * 2 + 6 * tone)
        strands = np.clip(0.7 + 0.5 * lines + 0.3 * rng.standard_normal(len(lines)), 0, 1)
        inside = smoothstep(0, 0.6, look.brow.depth(self.place, self.eyes["left"]))
        return blend(colour, 1.2 * look.hair, inside * strands * look.brow.strength)

    def _lids_nostrils_scalp(self, colour: np.ndarray, look: PortraitLook) -> np.ndarray:
        upper, lower = smoothstep(1.6, 0.5, self.to_eye_rim), smoothstep(1.1, 0.3, self.to_eye_rim)
        lashes = self.upper_lid * upper + 0.4 * (1 - self.upper_lid) * lower
        colour = blend(colour, 0.3 * look.hair + 0.005, lashes * look.lash_strength)
        colour = blend(colour, look.skin * [0.25, 0.12, 0.1], 0.9 * self.nostrils)
        if look.hair_style.kind == "bald":
            return blend(colour, 0.75 * look.skin + 0.1 * look.hair, 0.25 * smoothstep(0.3, 0.7, self.in_hair))
        return blend(colour, 0.2 * look.skin + 0.6 * look.hair, 0.9 * smoothstep(0.35, 0.75, self.in_hair))

    def _inner_parts(self, colour: np.ndarray, look: PortraitLook, lips: np.ndarray) -> np.ndarray:
        colour = colour.copy()
        for side in ("left", "right"):
            ball = self.part == f"eyeball_{side}"
            colour[ball] = _eyeball(self.place[ball] - self.eyes[side], look.iris)
        colour[self.part == "eye_cavity"] = look.skin * [0.8, 0.4, 0.38]
        # The lips' paint goes on over the edge of the lining.
        colour[(self.part == "inner_mouth") & (lips <= 0.3)] = MOUTH
        colour[self.part == "tongue"] = TONGUE
        colour[self.part == "teeth"] = TEETH
        return colour


def _draw_skin(rng: np.random.Generator) -> np.ndarray:
    """More often light, as the tones of the table are closer to each other there."""
    tone = rng.uniform() ** 1.5 * (len(SKIN_TONES) - 1)
    skin = np.array([np.interp(tone, range(len(SKIN_TONES)), channel) for channel in SKIN_TONES.T])
    return skin**2.0 * np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.04, 3))


def _draw_lips(skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lipstick, or a redder skin."""
    if rng.random() < 0.25:
        return np.array([rng.uniform(0.2, 0.6), rng.uniform(0.02, 0.12), rng.uniform(0.04, 0.14)])
    return skin * np.array([rng.uniform(0.75, 1.0), rng.uniform(0.35, 0.65), rng.uniform(0.38, 0.68)])


def _draw_noise(waves_per_mm: float, strength: float, rng: np.random.Generator) -> Noise:
    return Noise(rng.normal(0, waves_per_mm, (8, 3)), rng.uniform(0, 6.3, 8), strength * rng.uniform(0.3, 1))


def _rasterize_atlas(painter: Painter, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangle (size, size), -1 between the charts, and barycentric weights (size, size, 3)."""
    topology = painter.head.topology
    assert topology.uv is not None and topology.uv_triangles is not None
    pixels = np.stack([topology.uv[:, 0] * size, (1 - topology.uv[:, 1]) * size, np.ones(len(topology.uv))], 1)
    corners = torch.from_numpy(topology.uv_triangles.astype(np.int32))
    drawn = rasterize(torch.from_numpy(pixels.astype(np.float32))[None], corners, (size, size), perspective=False)
    return drawn.triangle[0].numpy(), drawn.barycentric[0].numpy()


def _eyeball(offset: np.ndarray, iris: np.ndarray) -> np.ndarray:
    """Albedo (N, 3) at offsets (N, 3) from an eyeball's centre in mm; the gaze is along +z."""
    degrees = np.degrees(np.arctan2(np.linalg.norm(offset[:, :2], axis=1), offset[:, 2]))
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    redder = np.clip(degrees - 35, 0, 60)[:, None] / 60 * [0.1, 0.5, 0.5]
    colour = np.array(SCLERA) * np.exp(-redder)
    fibres = 0.85 + 0.2 * np.sin(angle * 23) * np.sin(angle * 7 + 1)
    limbus = 1 - 0.6 * smoothstep(0.8, 1, degrees / IRIS_DEGREES)
    colour = blend(
        colour, iris * (fibres * limbus)[:, None], smoothstep(IRIS_DEGREES + 1.5, IRIS_DEGREES - 1.5, degrees)
    )
    return blend(colour, np.array(PUPIL), smoothstep(PUPIL_DEGREES + 1, PUPIL_DEGREES - 1, degrees))
