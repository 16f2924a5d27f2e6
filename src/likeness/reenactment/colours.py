"""Colours the photo does not show: hidden skin and lips, the rest of an eyeball, the inside of a mouth.

Hidden texels of skin and lips are filled from the visible ones of the same part. Eyeballs take the mean colours of
what is seen of sclera and iris. Teeth, tongue and gums are usually all hidden; they get the colours such things have,
under as much light as falls on the face, darker the farther they lie behind the lips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.face import Face
from likeness.filters import smoothstep
from likeness.lighting import linear_to_srgb, srgb_to_linear
from likeness.meshes import vertex_normals
from likeness.push_pull import fill_holes
from likeness.reenactment.parts import INSIDE_MOUTH, OUTSIDE, HeadParts, Part
from likeness.reenactment.sight import Pixels, Sight
from likeness.reenactment.slits import Slits
from likeness.render import interpolate, rasterize_uv, sample_texture
from likeness.render.rasterization import Fragments

_TEXELS = 1024
# Cosines to the camera: what is seen at a lower one smears, at a higher one is sharp.
_GRAZING = (0.1, 0.4)
# How far the other side of the face is believed where this one is not seen.
_OTHER_SIDE = 0.7

# Linear albedos, from photographs of mouths and eyes.
_ALBEDO = {
    Part.CAVITY: (0.17, 0.050, 0.045),
    Part.UPPER_TEETH: (0.52, 0.445, 0.35),
    Part.LOWER_TEETH: (0.45, 0.385, 0.30),
    Part.TONGUE: (0.30, 0.095, 0.088),
}
_EYE_ALBEDO = {"sclera": (0.55, 0.51, 0.48), "iris": (0.12, 0.075, 0.05), "pupil": (0.008, 0.008, 0.008)}
_LUMINANCE = (0.2126, 0.7152, 0.0722)
# The brightest tenth of a face under light 1 has about this luminance.
_BRIGHT_SKIN = 0.42
_LEAST_LIGHT, _MOST_LIGHT = 0.10, 1.1
# How light dies away behind the lips (mm), where that begins, and what is left deep inside.
_FALLOFF_MM, _LIPS_MM, _DEEPEST = 8.0, 7.0, 0.05
# What is left right under the upper lip, and how far (in mouth widths) its shadow reaches at least.
_UNDER_LIP, _SHADOW_REACH = 0.22, 0.10
# Widths of the upper teeth from the middle outwards, mm, and how dark and wide the gaps between them are.
_TOOTH_EDGES = (0.0, 8.6, 15.3, 22.8, 29.8, 36.0)
_GAP, _GAP_MM = 0.28, 0.55
# The front teeth, up to the canines, lie in the light; cheeks keep it from the others.
_FRONT_MM = 19.0
_ENOUGH_TEXELS = 100.0


@dataclass(frozen=True, eq=False)
class HiddenColours:
    """``texture`` (3, T, T) sRGB in the head's chart, complete; ``light`` linear RGB that falls on the face."""

    texture: Float[Tensor, "3 T T"]
    uv: Float[Tensor, "U 2"]
    uv_triangles: Int[Tensor, "T 3"]
    light: Float[Tensor, "3"]
    average: Float[Tensor, "V 3"]
    lips: Bool[Tensor, " V"]
    teeth: Float[Tensor, "3"] | None
    """What the photo's own teeth look like on the average, sRGB; None where it shows none."""

    def at(self, sight: Sight, slits: Slits, triangles: Int[Tensor, "T 3"]) -> Float[Tensor, "3 h w"]:
        """Colours of what a sight sees, as if it were all hidden in the photo."""
        uv = interpolate(self.uv[None], self.uv_triangles, sight.fragments)
        colour = sample_texture(self.texture[None], uv)[0].permute(2, 0, 1)
        inside = torch.zeros_like(sight.covered)
        for part in INSIDE_MOUTH:
            inside |= sight.parts == part
        if not bool(inside.any()):
            return colour
        row, column = inside.nonzero(as_tuple=True)
        colour[:, row, column] = self._mouth(sight, slits, triangles, row, column).T
        return colour

    def _mouth(
        self, sight: Sight, slits: Slits, triangles: Tensor, row: Tensor, column: Tensor
    ) -> Float[Tensor, "P 3"]:
        parts = sight.parts[row, column]
        colour = self.light.new_zeros(len(parts), 3)
        for part, albedo in _ALBEDO.items():
            colour[parts == part] = self.light.new_tensor(albedo) * self.light
        shadow = _below_the_upper_lip(sight, slits, parts, row, column)
        if self.teeth is not None:  # they are seen in their own light and shadow
            teeth = _are_teeth(parts)
            colour[teeth], shadow[teeth] = srgb_to_linear(self.teeth), 1.0
        place = sight.interpolate(self.average, triangles)[row, column]
        behind = self.average[self.lips, 2].mean() - place[:, 2] - _LIPS_MM
        left = shadow * (_DEEPEST + (1 - _DEEPEST) * torch.exp(-behind.clamp_min(0) / _FALLOFF_MM))
        left = left * torch.where(_are_teeth(parts), _along_the_teeth(place), 1.0)
        return linear_to_srgb((colour * left[:, None]).clamp(0, 1))


def hidden_colours(face: Face, parts: HeadParts, sight: Sight, slits: Slits, pixels: Pixels) -> HiddenColours:
    """Complete what a photo shows of a Face."""
    topology, triangles = face.head.topology, face.head.topology.triangles_tensor
    uv, uv_triangles = torch.from_numpy(topology.uv), torch.from_numpy(topology.uv_triangles)
    chart = rasterize_uv(uv, uv_triangles, (_TEXELS, _TEXELS))
    light = _light_on(parts, sight, pixels, triangles)
    own = parts.triangles[chart.triangle[0].clamp_min(0).long()]
    values = torch.cat([sight.carrier(), facing_camera(face)[:, None]], 1)

    def look(values: Float[Tensor, "V 4"]) -> tuple[Float[Tensor, "3 T T"], Float[Tensor, "T T"]]:
        at = interpolate(values[None], triangles, chart)[0]
        places = sight.placed(at[..., :3])
        seen = sight.shows(places, own, slits) * smoothstep(at[..., 3], *_GRAZING) * chart.mask[0]
        return pixels.at(places[..., :2]), seen

    colour, seen = look(values)
    if topology.mirror is not None:  # skin that only the other side shows
        other, there = look(values[torch.from_numpy(topology.mirror.astype(np.int64))])
        there = there * (1 - seen) * (own == Part.SKIN) * _OTHER_SIDE
        colour = (colour * seen + other * there) / (seen + there).clamp_min(1e-6)
        filled = seen + there
    else:
        filled = seen
    texture = torch.zeros_like(colour)
    for part in (*OUTSIDE, Part.EYE):
        where = (own == part) & chart.mask[0]
        if not bool(where.any()):
            continue
        weight = filled * where
        if part == Part.EYE and "iris_left" in topology.regions:
            complete = colour * weight + _eye_colours(face, chart, colour, weight, light) * (1 - weight)
        elif float(weight.sum()) > 0:
            complete = fill_holes(colour, weight)
        else:
            continue
        texture = torch.where(where, complete, texture)
    texture = fill_holes(texture, (texture.sum(0) > 0).float())
    whole = seen * (own == Part.UPPER_TEETH)
    teeth = (colour * whole).sum((1, 2)) / whole.sum() if float(whole.sum()) > _ENOUGH_TEXELS else None
    lips = torch.from_numpy(topology.regions["lips"]) if "lips" in topology.regions else parts.face > 0.5
    average = face.head.vertices(torch.zeros(1, face.head.n_identity))[0]
    return HiddenColours(texture, uv, uv_triangles, light, average, lips, teeth)


def facing_camera(face: Face) -> Float[Tensor, " V"]:
    """The cosine between each vertex's normal and the way to the camera."""
    normals = vertex_normals(face.vertices, face.head.topology.triangles_tensor)
    return (normals * face.camera.towards(face.vertices[None])[0]).sum(-1)


def _light_on(parts: HeadParts, sight: Sight, pixels: Pixels, triangles: Tensor) -> Float[Tensor, "3"]:
    """How much light falls on the face, from the brightness of its skin; half of the skin's tint is the light's."""
    face = sight.interpolate(parts.face[:, None], triangles)[..., 0] > 0.5
    row, column = (face & (sight.parts == Part.SKIN)).nonzero(as_tuple=True)
    if not len(row):
        return torch.ones(3)
    step = max(1, len(row) // 20000)
    places = sight.window.centres()[row[::step], column[::step]][None]
    skin = srgb_to_linear(pixels.at(places)[:, 0].T)
    luminance = skin @ skin.new_tensor(_LUMINANCE)
    strength = (torch.quantile(luminance, 0.9) / _BRIGHT_SKIN).clamp(_LEAST_LIGHT, _MOST_LIGHT)
    tint = skin.median(0).values / luminance.median().clamp_min(1e-4) / skin.new_tensor([1.42, 0.92, 0.68])
    return strength * tint.clamp(0.5, 2.0).sqrt()


def _eye_colours(
    face: Face, chart: Fragments, colour: Float[Tensor, "3 T T"], weight: Float[Tensor, "T T"], light: Tensor
) -> Float[Tensor, "3 T T"]:
    """For each ring of the eyeball the mean of what is seen of it, or what such rings usually look like."""
    found = torch.zeros_like(colour)
    regions, triangles = face.head.topology.regions, face.head.topology.triangles_tensor
    for name, albedo in _EYE_ALBEDO.items():
        vertices = torch.from_numpy(regions[f"{name}_left"] | regions[f"{name}_right"]).to(colour)
        ring = interpolate(vertices[None, :, None], triangles, chart)[0, ..., 0] > 0.5
        seen = weight * ring
        usual = linear_to_srgb((light.new_tensor(albedo) * light).clamp(0, 1))
        mean = (colour * seen).sum((1, 2)) / seen.sum().clamp_min(1e-6) if float(seen.sum()) > 30 else usual
        found = torch.where(ring, mean[:, None, None], found)
    return found


def _below_the_upper_lip(sight: Sight, slits: Slits, parts: Tensor, row: Tensor, column: Tensor) -> Float[Tensor, " P"]:
    """The upper lip's shadow: light comes from above, the tongue's tip lies in it, its root does not."""
    place = torch.stack([column, row], -1) + 0.5
    below, above, _ = slits.mouth.sides(place.to(torch.float32))
    depth = below.clamp_min(0) / (below + above).clamp_min(1e-3).clamp_min(_SHADOW_REACH)
    soft = torch.where(_are_teeth(parts), 0.55, _UNDER_LIP)
    return soft + (1 - soft) * smoothstep(depth, 0.0, 0.9)


def _are_teeth(parts: Int[Tensor, " P"]) -> Bool[Tensor, " P"]:
    return (parts == Part.UPPER_TEETH) | (parts == Part.LOWER_TEETH)


def _along_the_teeth(place: Float[Tensor, "P 3"]) -> Float[Tensor, " P"]:
    """Less light between two teeth and towards the molars, by where on the average head's row a point lies (mm)."""
    # Along the row, which bends backwards: the x coordinate stretched by the bend.
    along = place[:, 0].abs()
    along = torch.where(along > 18, 18 + (along - 18) * 1.35, along)
    gap = (along[:, None] - along.new_tensor(_TOOTH_EDGES)).abs().amin(1)
    between = 1 - _GAP * torch.exp(-((gap / _GAP_MM) ** 2))
    return between * torch.exp(-(along - _FRONT_MM).clamp_min(0) / _FALLOFF_MM)
