"""Albedo from photos: colours the camera saw less their light, in the head's UV chart, completed where it saw nothing.

Everything happens in the log of linear colour, as excess over what the skin model (`appearance.skin`) expects at a
place: light, tint and tone are then sums, and what a photo does not show is completed by the smoothest excess that
agrees with what it shows around (the expected albedo gives the detail, as in Poisson blending: Pérez, Gangnet and Blake
2003).

    excess = log colour - log light - log expected          (`appearance.unwrap`)
    … less the light that nine numbers cannot say            (`appearance.evening`)
    … several photos: broad colours averaged, fine ones from the best view
    … where unseen, the other side's                         (`appearance.chart_mirror`)
    … where neither is seen, filled from around              (`push_pull`)
    albedo = expected · exp excess; eyes and mouth painted   (`appearance.eyes_and_mouth`)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.nn.functional import interpolate as resize

from likeness.appearance.anatomy import Zones
from likeness.appearance.chart import ZONE_NAMES, chart_of, region_map, zone_maps
from likeness.appearance.chart_mirror import mirrored
from likeness.appearance.evening import left_over_light
from likeness.appearance.eyes_and_mouth import paint_parts
from likeness.appearance.hair import Hair, read_hair, strands
from likeness.appearance.read import Appearance, read_appearance
from likeness.appearance.skin import Skin, with_brows
from likeness.appearance.unwrap import COARSE, Unwrapped, unwrap
from likeness.devices import one_thread
from likeness.errors import InputError
from likeness.face import Face
from likeness.filters import smoothstep
from likeness.heads.protocol import Head
from likeness.lighting import linear_to_srgb
from likeness.push_pull import fill_holes

# Brighter or darker than expected by more than this (in logs) is no skin, whatever the mask says.
_EXCESS = (-3.2, 0.9)
# Less trust than this is none: far from all else, a little would count for all.
_LEAST = 0.1
_FADING = 0.08
# In logs: what is darker than the expected skin by this is something else, and all skin is lighter by the second.
_DARK, _DARK_WIDTH = -0.7, 0.35
# Of several photos, how much more the best seen counts for what is fine.
_FINE_CHOICE = 6.0
# Of the chart's width: what is broad.
_BROAD = 1 / 48


def albedo_from_photo(
    face: Face, pixels: UInt8[np.ndarray, "H W 3"], *, size: int = 1024
) -> Float[Tensor, "3 size size"]:
    """The head's albedo from one photo: `albedo_from_photos` of one."""
    return albedo_from_photos([face], [pixels], size=size)[0]


def albedo_from_photos(
    faces: Sequence[Face], photos: Sequence[UInt8[np.ndarray, "H W 3"]], *, size: int = 1024
) -> tuple[Float[Tensor, "3 size size"], list[Float[Tensor, "9 3"]]]:
    """The albedo map of one person (sRGB in [0, 1], row 0 at v = 1) from photos, and each photo's light.

    ``faces`` are the person in each of the ``photos``, on one head model. Lights are for `Face.light`.
    Raises InputError on no photos, on faces of different heads, and for a head without UVs.
    """
    if not faces or len(faces) != len(photos):
        raise InputError(f"{len(faces)} faces for {len(photos)} photos; give one face for each photo, at least one.")
    if len({id(face.head) for face in faces}) != 1:
        raise InputError("the faces are of different head models; reconstruct the photos with one method.")
    return paint_albedo([read_appearance(*each) for each in zip(faces, photos, strict=True)], photos, size=size)


def paint_albedo(
    appearances: Sequence[Appearance], photos: Sequence[UInt8[np.ndarray, "H W 3"]], *, size: int = 1024
) -> tuple[Float[Tensor, "3 size size"], list[Float[Tensor, "9 3"]]]:
    """`albedo_from_photos` when the photos' light and skin were already read."""
    appearances = _with_one_skin(appearances)
    # On one thread, as `read_appearance`.
    with one_thread():
        return _painted(appearances, photos, size), [a.light for a in appearances]


def _painted(
    appearances: Sequence[Appearance], photos: Sequence[UInt8[np.ndarray, "H W 3"]], size: int
) -> Float[Tensor, "3 size size"]:
    head = appearances[0].view.face.head
    expected = _expected_skin(head, appearances[0].skin, _hidden_brows(appearances), min(size, COARSE))
    layers = [unwrap(a, photo, expected, size=size) for a, photo in zip(appearances, photos, strict=True)]
    excess, weight, expected = _merged(head, layers, expected, size)
    excess, weight = _completed(head, excess, weight)
    log_albedo = _filled(excess, weight) + _enlarged(expected.log(), size)
    chart = chart_of(head, size)
    colour = paint_parts(log_albedo[:, chart.inside].exp().T, chart, head, appearances)
    image = chart.image(linear_to_srgb(colour.clamp(0, 1)))
    # Beyond the chart its nearest colours go on, for renderers that blur or shrink the texture.
    return fill_holes(image, chart.inside.float())


def _filled(excess: Float[Tensor, "3 S S"], weight: Float[Tensor, "S S"]) -> Float[Tensor, "3 S S"]:
    """The excess gone on smoothly into what no photo shows, and fading there: far off, the expected albedo is best.

    Every texel knows "no excess" a very little; the pyramid of averages multiplies a lone texel's say by four from
    level to level, so that this outweighs all else some `_FADING` of the chart's width away. Brows, lashes and moles do
    not go on into what is beside them: what is much darker than the skin is not spread.
    """
    least = (1 / (_FADING * weight.shape[-1])) ** 2
    bare = weight * ((excess.mean(0) - _DARK) / _DARK_WIDTH).clamp(0, 1)
    known = bare + least * (1 - bare)
    spread = fill_holes(excess * (bare / known), known)
    return excess * weight + spread * (1 - weight)


def _with_one_skin(appearances: Sequence[Appearance]) -> list[Appearance]:
    """The photos' skins averaged, in logs; what a photo's own skin differs by is laid to its light."""
    weights = torch.stack([a.confidence.sum() for a in appearances]).clamp_min(1.0)
    weights = weights / weights.sum()
    base = (weights[:, None] * torch.stack([a.skin.base for a in appearances]).log()).sum(0).exp()
    zones = (weights[:, None, None] * torch.stack([a.skin.zones for a in appearances])).sum(0)
    skin = Skin(base, zones)
    return [replace(a, skin=skin, light=a.light * (a.skin.base / base)) for a in appearances]


def _hidden_brows(appearances: Sequence[Appearance]) -> float:
    """1 when no photo shows the brows, 0 when one shows them well."""
    shown = hidden = 0.0
    for appearance in appearances:
        view = appearance.view
        brows = view.zones.brows * (view.facing > 0.4) * view.shown
        shown += float((brows * appearance.confidence).sum())
        hidden += float((brows * (1 - appearance.confidence)).sum())
    hidden_share = hidden / (shown + hidden) if shown + hidden > 0 else 1.0
    return min(max((hidden_share - 0.4) / 0.4, 0.0), 1.0)


def _expected_skin(head: Head, skin: Skin, brows: float, size: int) -> Float[Tensor, "3 size size"]:
    """The skin model on the chart; plain skin outside of it."""
    maps = zone_maps(head)
    values = maps if maps.shape[-1] == size else resize(maps[None], (size, size), mode="area")[0]
    zones = Zones(**dict(zip(ZONE_NAMES, values.flatten(1), strict=True)))
    return with_brows(skin.albedo(zones), zones.brows, brows).T.reshape(3, size, size)


def _merged(
    head: Head, layers: Sequence[Unwrapped], expected: Tensor, size: int
) -> tuple[Float[Tensor, "3 S S"], Float[Tensor, "S S"], Float[Tensor, "3 s s"]]:
    """All photos as one: excess over an expectation that wears hair, and its weight."""
    hairs = [_hair_of(head, layer, expected) for layer in layers]
    hair = max((h for h in hairs if h is not None), key=lambda h: float(h.cover.sum()), default=None)
    dressed = expected if hair is None else _dressed(expected, hair)
    change = (expected / dressed).log()
    parts = (_trusted(head, *each, change, size) for each in zip(layers, hairs, strict=True))
    if len(layers) == 1:
        return *next(parts), dressed
    return *_blended(parts, [min(layer.px_per_texel, 1.0) ** 2 for layer in layers]), dressed


def _hair_of(head: Head, layer: Unwrapped, expected: Tensor) -> Hair | None:
    size = expected.shape[-1]
    albedo = resize(layer.excess[None], (size, size), mode="area")[0].exp() * expected
    return read_hair(head, albedo, expected, layer.seen, layer.skin)


def _dressed(expected: Tensor, hair: Hair) -> Float[Tensor, "3 s s"]:
    size = expected.shape[-1]
    colour = hair.colour[:, None, None].log() + strands(size)
    return (expected.log() + hair.cover * (colour - expected.log())).exp()


def _trusted(
    head: Head, layer: Unwrapped, hair: Hair | None, change: Tensor, size: int
) -> tuple[Float[Tensor, "3 S S"], Float[Tensor, "S S"]]:
    """One photo's excess over the dressed expectation, evened, and how far each texel is to be trusted."""
    chart = chart_of(head, size)
    excess = layer.excess + _enlarged(change, size)
    inside = chart.inside.float()
    surface = torch.zeros_like(inside)
    surface[chart.inside] = (chart.part == 0).float()
    surface = surface * layer.reached
    skin = layer.seen * smoothstep(layer.skin, 0.45, 0.9) * _clean_ears(head, layer)
    weight = _enlarged(skin[None], size)[0] * surface
    weight = (weight - _LEAST).clamp_min(0) / (1 - _LEAST)
    features = zone_maps(head)[[ZONE_NAMES.index(name) for name in ("brows", "lips")]].amax(0)
    plain = weight * (1 - _enlarged(features[None], size)[0])
    light = left_over_light(head, excess.clamp(*_EXCESS), plain)
    if hair is not None:
        weight = torch.maximum(weight, _enlarged(hair.shown[None], size)[0] * surface)
    excess = (excess - _enlarged(light, size)).clamp(*_EXCESS)
    return excess, weight


def _clean_ears(head: Head, layer: Unwrapped) -> Float[Tensor, "s s"]:
    """0 on an ear that is not bare skin all over: it lies elsewhere in the photo than the model's, or under hair."""
    size = layer.seen.shape[-1]
    ears, chart = region_map(head, "ears", size), chart_of(head, size)
    trusted = torch.ones_like(ears)
    left = chart.image(chart.rest[:, :1])[0] > 0
    for side in (left, ~left):
        seen = ears * side * layer.seen
        bare = float((seen * layer.skin).sum() / seen.sum().clamp_min(1e-6))
        trusted = trusted - ears * side * (1 - min(max((bare - 0.75) / 0.15, 0.0), 1.0))
    return trusted


def _blended(
    parts: Iterable[tuple[Float[Tensor, "3 S S"], Float[Tensor, "S S"]]], sharpness: Sequence[float]
) -> tuple[Float[Tensor, "3 S S"], Float[Tensor, "S S"]]:
    """Two bands (Burt and Adelson 1983, "A Multiresolution Spline"): broad colours are averaged over the photos, fine
    ones come from whichever sees them best, so that nothing is doubled. One photo after the other, to spare memory."""
    broad, fine, trust = _Mean(), _Mean(), None
    for (excess, weight), sharp in zip(parts, sharpness, strict=True):
        smooth = _broad(excess, weight)
        broad.add(smooth, weight * sharp)
        # Not below what single precision can tell from nothing.
        fine.add(excess - smooth, (weight * sharp).clamp(1e-4, 1.0) ** _FINE_CHOICE * (weight > 0))
        trust = weight if trust is None else torch.maximum(trust, weight)
    assert trust is not None  # there is at least one photo
    return broad.value() + fine.value(), trust


class _Mean:
    """A weighted mean of pictures, added one by one."""

    def __init__(self) -> None:
        self._total = self._share = torch.zeros(())

    def add(self, picture: Float[Tensor, "3 S S"], share: Float[Tensor, "S S"]) -> None:
        self._total = self._total + picture * share
        self._share = self._share + share

    def value(self) -> Float[Tensor, "3 S S"]:
        return self._total / self._share.clamp_min(1e-30)


def _broad(excess: Tensor, weight: Tensor) -> Tensor:
    size = excess.shape[-1]
    coarse = max(round(size * _BROAD), 1)
    known = avg_pool2d(weight[None, None], coarse, ceil_mode=True)[0]
    total = avg_pool2d((excess * weight)[None], coarse, ceil_mode=True)[0]
    return _enlarged(fill_holes(total / known.clamp_min(1e-6), (known[0] * 4).clamp_max(1.0)), size)


def _completed(head: Head, excess: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The other side of the face where this one is not seen."""
    other = mirrored(head, torch.cat([excess * weight, weight[None]]))
    if other is None:
        return excess, weight
    share = (1 - weight) * other[3]
    total = weight + share
    value = (excess * weight + (1 - weight) * other[:3]) / total.clamp_min(1e-6)
    return value, total.clamp_max(1.0)


def _enlarged(image: Tensor, size: int) -> Tensor:
    if image.shape[-1] == size:
        return image
    return resize(image[None], (size, size), mode="bilinear", align_corners=False)[0]
