"""Wrinkles that follow the expression: what a person has of their own, and what squeezed skin would show.

A Face's relief is written as

    d(w) = rest + Σ_k own_k · clip(a_k(w)) + Σ_k drawn_k · clip(a_k(w) - a_k(photo)),       clip to [0, 1]

over the wrinkle zones k, whose activations a_k(w) = Σ_j W_kj w_j are linear in the expression's weights by the strain
of the mesh (`detail.patterns`). ``own`` are the photo's lines along which the zone wrinkles, as deep as they would be
when it is fully squeezed; ``drawn`` the pattern's where the person shows none, as strongly as their own let expect.
In the photo's expression d is the photo's relief, to the bit of rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

from likeness.detail.chart import head_chart
from likeness.detail.cleaning import line_direction
from likeness.detail.maps import solve_detail_maps
from likeness.detail.patterns import WrinkleZone, wrinkle_zones
from likeness.filters import gaussian_blur, smoothstep
from likeness.heads.protocol import Head
from likeness.rig import DetailMap

# The share of a wrinkle's full depth that stays when the face is at rest.
_AT_REST = 0.35
# Strength of drawn wrinkles, as a share of the patterns' depth, where nothing is known of a person; how much seen skin
# (mean visibility) counts as much as that; bounds.
_USUAL, _USUAL_COUNTS = 0.55, 0.35
_STRENGTHS = (0.1, 1.6)
# Own lines (root mean square, share of the pattern's) at which none are drawn, and below which all are.
_PRESENT, _ABSENT = 0.9, 0.3
_NEAR_MM = 4.0
# Root mean square (mm) of what runs along a zone's lines by chance.
_CHANCE_MM = 0.04
# Zones less active than this in the photo keep no separate map of their own lines' release.
_NEARLY_RESTING = 0.12
# A wrinkle never grows beyond this (mm).
_DEEPEST_MM = 1.4


@dataclass(frozen=True, eq=False)
class WrinkleModel:
    """What a Face keeps: ``rest`` (S, S) mm, ``lines`` own lines at full squeeze, ``activation`` (K) of the photo and
    ``strength`` (K) of the drawn wrinkles, in the order of `wrinkle_zones`.

    From one photo ``lines`` is one map (1, S, S) that the zones share out; from several it has a map for each zone, of
    any side h.
    """

    rest: Float[Tensor, "S S"]
    lines: Float[Tensor, "L h h"]
    activation: Float[Tensor, " K"]
    strength: Float[Tensor, " K"]


def learn_wrinkles(
    head: Head,
    displacement: Float[Tensor, "S S"],
    visibility: Float[Tensor, "S S"],
    weights: dict[str, float],
) -> WrinkleModel:
    """Split the relief of a photo with these expression weights into what rests and what moves."""
    size = len(displacement)
    mm, zones = head_chart(head, size).mm_per_texel, wrinkle_zones(head, size)
    aligned = [_aligned(zone.of(displacement), zone, mm) for zone in zones]
    activation = torch.tensor([activation_of(zone, weights) for zone in zones])
    share = _AT_REST + (1 - _AT_REST) * activation.clamp(0, 1)
    strength = _strengths(*_wrinkledness(zones, aligned, visibility, share))
    cover = _cover(zones, size).clamp_min(1.0)
    lines = torch.zeros_like(displacement)
    for zone, line, part in zip(zones, aligned, share, strict=True):
        lines += zone.whole(line * zone.mask / zone.of(cover) * (1 - _AT_REST) / part, size)
    rest = displacement.clone()
    for zone, own, active in zip(zones, _shared_out(lines, zones), activation.clamp(0, 1), strict=True):
        rest[zone.rows, zone.columns] -= own * active
    return WrinkleModel(rest, lines[None], activation, strength)


def learn_wrinkles_together(
    head: Head,
    displacements: Sequence[Float[Tensor, "S S"]],
    visibilities: Sequence[Float[Tensor, "S S"]],
    weights: Sequence[dict[str, float]],
) -> WrinkleModel:
    """The same out of several photos of one person, in each of which the zones are squeezed differently: their maps
    are solved for (`solve_detail_maps`), drawn to what each photo by itself would say."""
    size = len(displacements[0])
    zones = wrinkle_zones(head, size)
    alone = [learn_wrinkles(head, *each) for each in zip(displacements, visibilities, weights, strict=True)]
    trust = torch.stack([seen.mean() for seen in visibilities])
    trust = trust / trust.sum().clamp_min(1e-6)
    half = [_halved(torch.stack(list(maps))) for maps in (displacements, visibilities)]
    lines = sum(share * model.lines[0] for share, model in zip(trust, alone, strict=True))
    shared = zip(zones, _shared_out(torch.as_tensor(lines), zones), strict=True)
    prior = _halved(torch.stack([zone.whole(own, size) for zone, own in shared]))
    region = _halved(torch.stack([zone.whole(zone.mask, size) for zone in zones]))
    # Numbered, so that sorting by name leaves the zones' order.
    active = [
        {f"{number:02d}": value for number, value in enumerate(model.activation.clamp(0, 1).tolist())}
        for model in alone
    ]
    solved = solve_detail_maps(half[0], half[1], active, prior=prior, region=region)
    keys = solved.keys * region
    rest, total = torch.zeros(size, size), torch.zeros(size, size)
    for displacement, seen, model in zip(displacements, visibilities, alone, strict=True):
        moving = torch.einsum("k,khw->hw", model.activation.clamp(0, 1), keys)
        rest += seen * (displacement - _enlarged(moving, size))
        total += seen
    # A little doubt, so that what no photo showed well is rather smooth.
    rest = rest / (total + 0.05)
    strength = sum(share * model.strength for share, model in zip(trust, alone, strict=True))
    activation = torch.stack([model.activation for model in alone]).amax(0)
    return WrinkleModel(rest, keys, activation, torch.as_tensor(strength))


def wrinkle_maps(head: Head, model: WrinkleModel) -> list[DetailMap]:
    """The model as maps to blend: the static one first."""
    size = len(model.rest)
    mm, zones = head_chart(head, size).mm_per_texel, wrinkle_zones(head, size)
    if len(model.lines) == 1:
        owned = _shared_out(model.lines[0], zones)
    else:
        owned = [zone.of(_enlarged(own, size)) for zone, own in zip(zones, model.lines, strict=True)]
    static, maps = model.rest.clone(), []
    for zone, own, active, strength in zip(
        zones, owned, model.activation.tolist(), model.strength.tolist(), strict=True
    ):
        drawn = strength * zone.lines * (1 - _presence(own, zone, mm))
        if active >= _NEARLY_RESTING:
            maps.append(_map(f"{zone.name}_own", zone.whole(own, size), 0.0, zone.weights))
        else:
            # Hardly active: what the photo has of it is taken to rest, and one map does.
            static[zone.rows, zone.columns] += own * max(active, 0.0)
            drawn = drawn + own
        drawn = _DEEPEST_MM * torch.tanh(drawn / _DEEPEST_MM)
        maps.append(_map(zone.name, zone.whole(drawn, size), -max(active, 0.0), zone.weights))
    return [_map("static", static, 1.0, {}), *(entry for entry in maps if entry.displacement.any())]


def blend(maps: list[DetailMap], weights: dict[str, float]) -> Float[Tensor, "S S"]:
    """The relief that belongs to expression weights by name."""
    total = torch.zeros(maps[0].displacement.shape)
    for entry in maps:
        if (strength := entry.strength(weights)) > 0:
            total += strength * torch.from_numpy(entry.displacement)
    return total


def activation_of(zone: WrinkleZone, weights: dict[str, float]) -> float:
    """How far expression weights squeeze a zone; 1 is fully, below 0 it is stretched."""
    return sum(share * weights.get(name, 0.0) for name, share in zone.weights.items())


def _map(name: str, displacement: Tensor, bias: float, weights: dict[str, float]) -> DetailMap:
    return DetailMap(name, displacement.numpy(), bias, weights)


def _cover(zones: tuple[WrinkleZone, ...], size: int) -> Float[Tensor, "size size"]:
    total = torch.zeros(size, size)
    for zone in zones:
        total[zone.rows, zone.columns] += zone.mask
    return total


def _shared_out(lines: Float[Tensor, "S S"], zones: tuple[WrinkleZone, ...]) -> list[Float[Tensor, "_ _"]]:
    """Each zone's part of the lines: where zones meet, a line belongs to each in part; the parts add up to it."""
    cover = _cover(zones, len(lines)).clamp_min(1e-6)
    return [zone.of(lines) * (zone.mask / zone.of(cover)) for zone in zones]


def _halved(maps: Float[Tensor, "N S S"]) -> Float[Tensor, "N h h"]:
    return functional.avg_pool2d(maps[None], 2)[0]


def _enlarged(small: Float[Tensor, "h h"], size: int) -> Float[Tensor, "S S"]:
    return functional.interpolate(small[None, None], (size, size), mode="bilinear", align_corners=False)[0, 0]


def _aligned(relief: Float[Tensor, "H W"], zone: WrinkleZone, mm: float) -> Float[Tensor, "H W"]:
    """The relief whose lines run as the zone's wrinkles do."""
    direction, coherence = line_direction(relief, 2.0, 0.5, mm)
    along = (direction * zone.direction).sum(0).square()
    return relief * smoothstep(along, 0.5, 0.8) * smoothstep(coherence, 0.25, 0.6)


def _wrinkledness(
    zones: tuple[WrinkleZone, ...], aligned: list[Tensor], seen: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """In each zone, the person's lines over those that the pattern would show in the photo's expression (root mean
    squares); and how well the zone was seen."""
    ratios, trusts = [], []
    for zone, lines, part in zip(zones, aligned, share.tolist(), strict=True):
        weight = zone.mask * zone.of(seen)
        own = ((lines.square() - _CHANCE_MM**2) * weight).sum().clamp_min(0).sqrt()
        expected = (((part * zone.lines).square() + _CHANCE_MM**2) * weight).sum().sqrt()
        ratios.append(own / expected.clamp_min(1e-6))
        # Skin that is not squeezed says little: most wrinkles show only then.
        trusts.append(part * weight.sum() / zone.mask.sum().clamp_min(1e-6))
    return torch.stack(ratios).clamp(0, 2), torch.stack(trusts)


def _strengths(ratios: Float[Tensor, " K"], trusts: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Each zone's own ratio where it was seen, drawn towards the face's mean and that towards what is usual."""
    mean = ((ratios * trusts).sum() + _USUAL * _USUAL_COUNTS) / (trusts.sum() + _USUAL_COUNTS)
    expected = (mean + _USUAL) / 2
    found = (ratios * trusts + expected * _USUAL_COUNTS) / (trusts + _USUAL_COUNTS)
    return found.clamp(*_STRENGTHS)


def _presence(own: Float[Tensor, "H W"], zone: WrinkleZone, mm: float) -> Float[Tensor, "H W"]:
    """1 where the person has lines of their own about as strong as the pattern's."""
    both = gaussian_blur(torch.stack([own.square(), zone.lines.square()]), _NEAR_MM / mm).clamp_min(0).sqrt()
    return smoothstep(both[0] / both[1].clamp_min(0.01), _ABSENT, _PRESENT)
