"""Light, skin and mask of one photo, together.

    appearance = read_appearance(face, pixels)
    appearance.light       (9, 3)  for Face.light: spherical harmonics in the camera frame, linear colours
    appearance.skin        the few numbers of the skin's colour (`appearance.skin.Skin`)
    appearance.mask        (S, S)  confidence that a pixel of `face.view` shows skin (lips, brows, stubble included)
    appearance.shading     (P, 3)  light on each of the P pixels of the view that show the mesh
    appearance.albedo      (P, 3)  linear albedo the photo shows there: colour over light
    appearance.expected    (P, 3)  linear albedo by the skin model
    appearance.glasses     whether they wear glasses
    appearance.view        the pixels: `where` (S, S), `uv`, `facing`, `zones` … (`appearance.photo_view.PhotoView`);
                           `view.image(values)` lays P values out as a picture, `face.view.crop` carries photo to view

The model of a pixel's linear colour is c = a(place) · Σ_i T_i(place) L_i, a the skin of `appearance.skin`, T the
shadowed irradiance basis (`appearance.self_shadowing`), L the light. Alternately, three times: L in closed form (the
uniform part not negative) given a; the zones of a in closed form given L; the mask by what is left. The light's
variation is fitted to brightness first and its colour held near one tint, so that a red cheek or a blue chin does not
become red or blue light. At the end `split_light_and_skin` says how much of the common factor is light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.appearance.glasses import wears_glasses
from likeness.appearance.openings import dark_features, eye_openings, lips_seen, openings
from likeness.appearance.photo_view import PhotoView, view_photo
from likeness.appearance.skin import Skin, WhiteClue, average_zones, fit_zones, split_light_and_skin
from likeness.appearance.skin_mask import skin_mask, weighted_median
from likeness.devices import one_thread
from likeness.face import Face
from likeness.filters import smoothstep
from likeness.lighting import N_COEFFICIENTS, fit_light, light_on_facing, srgb_to_linear

_ROUNDS = 3
# Linear colour below which logs are noise.
_NOISE = 0.004
# Of the light on a ball: less is never divided by.
_DARKEST = 0.12
_RIDGE, _TINT_RIDGE = 1e-3, 8e-3
# Cosines between normal and view: too foreshortened to be trusted, and trusted.
_GRAZING, _FACING = 0.15, 0.45
# A pixel that strays this far (of the mean brightness) from the model has half of its weight in the light's fit.
_OUTLIER = 0.15
_EVERY = 3


@dataclass(frozen=True, eq=False)
class Appearance:
    """See the module."""

    view: PhotoView
    light: Float[Tensor, "9 3"]
    skin: Skin
    confidence: Float[Tensor, " P"]
    glasses: bool

    @property
    def mask(self) -> Float[Tensor, "S S"]:
        return self.view.image(self.confidence[:, None])[0]

    @cached_property
    def shading(self) -> Float[Tensor, "P 3"]:
        return bounded_shading(self.view.basis @ self.light, self.light)

    @cached_property
    def albedo(self) -> Float[Tensor, "P 3"]:
        return self.view.colour / self.shading

    @cached_property
    def expected(self) -> Float[Tensor, "P 3"]:
        return self.skin.albedo(self.view.zones)


def read_appearance(face: Face, pixels: UInt8[np.ndarray, "H W 3"]) -> Appearance:
    """What of the photo is light, what is skin, and where skin is seen. Raises InputError for a head without UVs."""
    # On one thread: sums come out the same whatever the number of cores, and on a busy machine sooner.
    with one_thread():
        return _appearance_of(view_photo(face, pixels))


def _appearance_of(view: PhotoView) -> Appearance:
    may_be = _may_be_skin(view)
    glasses = False
    lips = lips_seen(view)[view.where]
    confidence = may_be * (0.03 + view.zones.safe)
    skin = Skin(torch.ones(3), average_zones())
    light = torch.zeros(N_COEFFICIENTS, 3)
    for n in range(_ROUNDS):
        dark = dark_features(view, glasses=glasses)[view.where]
        even = confidence * (1 - dark)
        light = _fit_light(view, skin, even, light if n else None)
        shading = bounded_shading(view.basis @ light, light)
        residual = _log(view.colour) - _log(shading)
        skin = replace(skin, zones=fit_zones(*_thinned(view, residual, even)))
        confidence = skin_mask(
            view, residual - skin.relative(view.zones).log(), may_be, confidence, dark, lips, glasses=glasses
        )
        glasses = wears_glasses(view, confidence)
    light, base = _split(view, light * _typical(view, light, skin, confidence))
    return Appearance(view, light, replace(skin, base=base), confidence, glasses)


def bounded_shading(shading: Float[Tensor, "P 3"], light: Float[Tensor, "9 3"]) -> Float[Tensor, "P 3"]:
    """Never less than a share of what the light does to a ball, whatever its darkest side; without a kink."""
    least = _DARKEST * light_on_facing(light).clamp_min(1e-4)
    return torch.where(shading > 2 * least, shading, least * (1 + (shading / (2 * least)).clamp(0, 1).square()))


def _may_be_skin(view: PhotoView) -> Float[Tensor, " P"]:
    facing = smoothstep(view.facing, _GRAZING, _FACING)
    clipped = ((1.0 - view.srgb[view.where].amin(-1)) / 0.04).clamp(0, 1)
    skin = (view.part == 0) & view.shown & ~openings(view)[view.where]
    return facing * clipped * skin * (1 - view.zones.eyes)


def _fit_light(view: PhotoView, skin: Skin, confidence: Tensor, last: Tensor | None) -> Float[Tensor, "9 3"]:
    """One tint first, then each channel near it. All in units of the skin's own colour."""
    few = slice(None, None, _EVERY)
    basis, weights, colour = view.basis[few], confidence[few], view.colour[few]
    relative = skin.relative(view.zones)[few]
    mean = torch.tensor([weighted_median(colour[:, c] / relative[:, c], weights) for c in range(3)]).clamp_min(1e-4)
    if last is not None:
        strays = ((colour / relative - basis @ last) / mean).mean(-1) / _OUTLIER
        weights = weights / (1 + strays.square())
    normals = torch.zeros(1, len(basis), 3)
    options = {"weights": weights[None], "basis": basis[None]}
    gray = fit_light(
        normals, relative.mean(-1)[None, :, None], (colour / mean).mean(-1)[None, :, None], ridge=_RIDGE, **options
    )
    tinted = fit_light(
        normals, relative[None], (colour / mean)[None], ridge=_TINT_RIDGE, towards=gray.expand(-1, -1, 3), **options
    )
    return tinted[0] * mean


def _thinned(view: PhotoView, residual: Tensor, confidence: Tensor) -> tuple:
    few = slice(None, None, _EVERY)
    zones = type(view.zones)(**{name: value[few] for name, value in vars(view.zones).items()})
    plain = torch.tensor([weighted_median(residual[:, c], _plain(view, confidence)) for c in range(3)])
    return zones, residual[few] - plain, confidence[few]


def _typical(view: PhotoView, light: Tensor, skin: Skin, confidence: Tensor) -> Float[Tensor, " 3"]:
    """How much brighter the plain skin of the face is than the model: that is light, too."""
    excess = view.colour / (bounded_shading(view.basis @ light, light) * skin.relative(view.zones)).clamp_min(1e-6)
    weights = _plain(view, confidence)
    return torch.tensor([weighted_median(excess[:, c], weights) or 1.0 for c in range(3)]).clamp(0.5, 2.0)


def _plain(view: PhotoView, confidence: Tensor) -> Float[Tensor, " P"]:
    """Where plain skin is seen, neither lips nor lids nor a beard's place, nor the reddest of cheeks and nose."""
    zones = view.zones
    return confidence * zones.centre * (1 - zones.lips) * (1 - zones.lids) * (1 - zones.beard) * (1 - zones.nose)


def _split(view: PhotoView, light: Tensor) -> tuple[Float[Tensor, "9 3"], Float[Tensor, " 3"]]:
    """The light without the skin's colour in it, and that colour."""
    base, _ = split_light_and_skin(light_on_facing(light).clamp_min(1e-4), _white_clue(view))
    return light / base, base


def _white_clue(view: PhotoView) -> WhiteClue | None:
    """The brighter pixels between the lids; None where too few are seen."""
    seen = [mask & view.in_photo for mask in eye_openings(view)]
    pixels = [view.srgb[mask] for mask in seen if int(mask.sum()) > 60]
    if not pixels:
        return None
    colours = srgb_to_linear(torch.cat(pixels))
    bright = colours.mean(-1)
    upper = (bright >= bright.quantile(0.75)) & (bright <= bright.quantile(0.95))
    return WhiteClue(colours[upper].median(0).values)


def _log(colour: Tensor) -> Tensor:
    return (colour + _NOISE).log()
