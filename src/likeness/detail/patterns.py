"""Lines of wrinkles drawn where a zone is squeezed: as a surface's buckling would lay them, and always the same."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor

from likeness.detail.chart import DetailChart, head_chart
from likeness.detail.strain import compression, squeezed_direction
from likeness.detail.zones import Field, ZoneSpec, signed_distance, zone_specs
from likeness.filters import gaussian_blur
from likeness.heads.protocol import Head
from likeness.meshes import vertex_normals

# Texels of the grid on which phases are solved; a phase is smooth.
_COARSE = 4
# Compression that says as much about the wrinkles' direction as what is expected of a zone.
_TRUST = 0.25
# Weights by strain: smaller ones are left out, stretching counts down to the second, squeezing up to the third (the
# key expression and what a zone names itself may count more).
_SMALLEST, _LOWEST, _LARGEST = 0.08, -0.5, 0.6
# How lines wander (radians) and fade, and over how many mm.
_WANDER, _WANDER_MM = 0.9, 8.0
_FADE_MM = 9.0
# Mean and standard deviation of how far lines are drawn out; a fold is a single line and whole.
_FADED, _FADED_FOLD = (0.8, 0.35), (0.9, 0.1)


@dataclass(frozen=True, eq=False)
class WrinkleZone:
    """A zone: ``rows`` and ``columns`` are its place in the whole map, everything else lies in it.

    ``mask`` in [0, 1], ``lines`` (mm) its wrinkles when it is fully squeezed, ``direction`` (x, y) unit, along the
    lines; ``weights`` by which blendshapes squeeze it, 1 in sum being fully.
    """

    name: str
    rows: slice
    columns: slice
    mask: Float[Tensor, "H W"]
    lines: Float[Tensor, "H W"]
    direction: Float[Tensor, "2 H W"]
    weights: dict[str, float]

    def of(self, whole: Float[Tensor, "*B S S"]) -> Float[Tensor, "*B H W"]:
        """The zone's part of a whole map."""
        return whole[..., self.rows, self.columns]

    def whole(self, part: Float[Tensor, "H W"], size: int) -> Float[Tensor, "size size"]:
        """The whole map that is 0 outside of the zone."""
        result = part.new_zeros(size, size)
        result[self.rows, self.columns] = part
        return result


@dataclass(frozen=True, eq=False)
class _Place:
    """A part of the chart: ``points`` of the mean face, ``inside`` the chart, ``skin``; millimetres a texel."""

    rows: slice
    columns: slice
    points: Float[Tensor, "3 H W"]
    inside: Float[Tensor, "H W"]
    skin: Float[Tensor, "H W"]
    mm: float


@dataclass(frozen=True, eq=False)
class _Motion:
    """The mean face, its normals and how each expression squeezes it."""

    rest: Float[Tensor, "V 3"]
    normals: Float[Tensor, "V 3"]
    tensors: Float[Tensor, "E V 3 3"]
    names: list[str]


@lru_cache(maxsize=2)
def wrinkle_zones(head: Head, size: int) -> tuple[WrinkleZone, ...]:
    """The wrinkle zones of a head with ARKit's expressions, on its mean face."""
    chart = head_chart(head, size)
    rest = head.vertices(torch.zeros(1, head.n_identity), None, None, None)[0]
    moved = head.vertices(torch.zeros(head.n_expression, head.n_identity), torch.eye(head.n_expression))
    triangles = head.topology.triangles_tensor
    motion = _Motion(
        rest, vertex_normals(rest, triangles), compression(rest, moved, triangles), list(head.expression_names)
    )
    whole = _Place(chart.rows, chart.columns, chart.texels(rest), chart.inside.float(), chart.skin, chart.mm_per_texel)
    landmarks = head.embeddings["ibug68"].points(rest)
    specs = zone_specs(landmarks)
    return tuple(_zone(spec, _pattern_key(spec, specs), chart, whole, motion) for spec in specs)


def _pattern_key(spec: ZoneSpec, specs: list[ZoneSpec]) -> dict[str, float]:
    """What squeezes a pattern fully: the keys of all zones that are cut out of it, so that their lines go on."""
    return {name: value for other in specs if other.pattern == spec.pattern for name, value in other.key.items()}


def _zone(
    spec: ZoneSpec, pattern_key: dict[str, float], chart: DetailChart, whole: _Place, motion: _Motion
) -> WrinkleZone:
    expected = _tangent(_across(spec, motion.rest.T).T, motion.normals)
    tensors, names = motion.tensors, motion.names
    key = torch.stack([value * tensors[names.index(name)] for name, value in pattern_key.items()]).sum(0)
    across = squeezed_direction(key, expected, trust=_TRUST)
    place = _part(whole, spec.pattern_mask)
    mask = (spec.mask(place.points) * place.skin).clamp(0, 1)
    phase = _phase(spec, place, _part_of(chart.texels(across), whole, place))
    generator = torch.Generator().manual_seed(zlib.crc32(spec.pattern.encode()))
    phase = phase + _WANDER * _noise(mask.shape, _WANDER_MM / place.mm, generator) * (spec.curve is None)
    usual, varied = _FADED if spec.curve is None else _FADED_FOLD
    fade = (usual + varied * _noise(mask.shape, _FADE_MM / place.mm, generator)).clamp(0.3, 1.2)
    lines = spec.depth * mask * fade * _profile(phase, spec.n_lines)
    lines = gaussian_blur(lines[None], 0.35 / place.mm)[0] * (mask > 0)
    weights = _weights(spec, across, motion, spec.mask(motion.rest.T[..., None])[:, 0])
    return WrinkleZone(spec.name, place.rows, place.columns, mask, lines, _direction(phase), weights)


def _part(whole: _Place, mask: Field) -> _Place:
    """The box about where a mask is more than nothing, in multiples of the coarse grid."""
    few = 2 * _COARSE
    found = (mask(whole.points[:, ::few, ::few]) * whole.skin[::few, ::few]) > 2e-3
    spans = []
    for axis in (1, 0):
        places = torch.nonzero(found.any(axis))[:, 0]
        start = max(int(places[0]) - 1, 0) * few
        spans.append(slice(start, min((int(places[-1]) + 2) * few, whole.skin.shape[1 - axis] // _COARSE * _COARSE)))
    rows, columns = spans
    return _Place(
        _within(whole.rows, rows),
        _within(whole.columns, columns),
        whole.points[:, rows, columns],
        whole.inside[rows, columns],
        whole.skin[rows, columns],
        whole.mm,
    )


def _within(outer: slice, inner: slice) -> slice:
    return slice(outer.start + inner.start, outer.start + inner.stop)


def _part_of(values: Float[Tensor, "C H W"], whole: _Place, place: _Place) -> Float[Tensor, "C h w"]:
    rows = slice(place.rows.start - whole.rows.start, place.rows.stop - whole.rows.start)
    columns = slice(place.columns.start - whole.columns.start, place.columns.stop - whole.columns.start)
    return values[:, rows, columns]


def _across(spec: ZoneSpec, points: Float[Tensor, "3 N"]) -> Float[Tensor, "3 N"]:
    if spec.curve is None:
        return spec.across(points)
    # Of a fold, away from its curve: the gradient of the distance.
    near = 0.5
    moved = [points + near * torch.eye(3)[:, axis : axis + 1] for axis in range(2)]
    here = signed_distance(points[..., None], spec.curve)[0][..., 0]
    slope = [signed_distance(place[..., None], spec.curve)[0][..., 0] - here for place in moved]
    return torch.stack([*slope, torch.zeros_like(here)])


def _tangent(vectors: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    flat = vectors - (vectors * normals).sum(-1, keepdim=True) * normals
    return functional.normalize(flat, dim=-1)


def _phase(spec: ZoneSpec, place: _Place, across: Float[Tensor, "3 H W"]) -> Float[Tensor, "H W"]:
    """2π a line, growing across the lines; a multiple of 2π where a line runs."""
    points = place.points
    if spec.curve is not None:
        return 2 * torch.pi / spec.spacing * signed_distance(points, spec.curve)[0]
    weight = spec.pattern_mask(points) * place.inside
    small_weight, small_points, small_across = (_reduced(part) for part in (weight[None], points, across))
    phase = _integrated(small_weight[0], small_points, small_across, 2 * torch.pi / spec.spacing)
    phase = functional.interpolate(phase[None, None], weight.shape, mode="bicubic", align_corners=False)[0, 0]
    apart = (points - spec.anchor[:, None, None]).square().sum(0) + 1e6 * (weight < 1e-3)
    at_anchor = phase.flatten()[apart.argmin()]
    return phase - at_anchor + (torch.pi if spec.between else 0.0)


def _reduced(values: Float[Tensor, "C H W"]) -> Float[Tensor, "C h w"]:
    return functional.avg_pool2d(values[None], _COARSE)[0]


def _integrated(weight: Tensor, points: Tensor, across: Tensor, rate: float) -> Float[Tensor, "h w"]:
    """The phase whose differences between neighbours come nearest to `rate` times the way across (least squares)."""
    used = weight.numpy() > 0.01
    index = np.full(used.shape, -1)
    index[used] = np.arange(used.sum())
    rows, right_side, weights = [], [], []
    for axis in (0, 1):
        here = tuple(slice(0, -1) if k == axis else slice(None) for k in (0, 1))
        there = tuple(slice(1, None) if k == axis else slice(None) for k in (0, 1))
        pair = used[here] & used[there]
        step = points[:, *there] - points[:, *here]
        mean = functional.normalize(across[:, *here] + across[:, *there], dim=0)
        rows.append(np.stack([index[here][pair], index[there][pair]], 1))
        right_side.append((rate * (step * mean).sum(0)).numpy()[pair])
        weights.append(np.sqrt(weight[here].numpy() * weight[there].numpy())[pair])
    pairs, target, trust = np.concatenate(rows), np.concatenate(right_side), np.concatenate(weights)
    number = np.arange(len(pairs))
    ones = np.ones(len(pairs))
    difference = sparse.csr_array((np.concatenate([-ones, ones]), (np.tile(number, 2), pairs.T.ravel())))
    normal = difference.T @ sparse.diags_array(trust) @ difference + 1e-6 * sparse.eye_array(int(used.sum()))
    phase = np.zeros(used.shape, np.float32)
    phase[used] = np.asarray(spsolve(normal.tocsc(), difference.T @ (trust * target)))
    return torch.from_numpy(phase)


def _profile(phase: Float[Tensor, "H W"], n_lines: float) -> Float[Tensor, "H W"]:
    """A narrow valley at each multiple of 2π with raised shoulders, as skin has that is pushed together."""
    angle = torch.remainder(phase + torch.pi, 2 * torch.pi) - torch.pi
    valley = -torch.exp(-((angle / 0.75) ** 2))
    shoulders = 0.32 * torch.exp(-(((angle.abs() - 2.0) / 0.8) ** 2))
    # The last line's far shoulder ends softly.
    last = torch.pi * n_lines
    return (valley + shoulders) * torch.sigmoid((last - phase.abs()) * 4)


def _direction(phase: Float[Tensor, "H W"]) -> Float[Tensor, "2 H W"]:
    dx = functional.pad(phase[None], (1, 1), mode="replicate")[0]
    dy = functional.pad(phase.T[None], (1, 1), mode="replicate")[0]
    along = torch.stack([-(dy[:, 2:] - dy[:, :-2]).T, dx[:, 2:] - dx[:, :-2]])
    return along / torch.hypot(along[0], along[1]).clamp_min(1e-9)


def _noise(shape: torch.Size, sigma: float, generator: torch.Generator) -> Float[Tensor, "H W"]:
    """Smooth noise of standard deviation 1."""
    noise = gaussian_blur(torch.randn(1, *shape, generator=generator), sigma)[0]
    return noise / noise.std().clamp_min(1e-6)


def _weights(spec: ZoneSpec, across: Tensor, motion: _Motion, mask: Tensor) -> dict[str, float]:
    """How much each blendshape squeezes the zone across its lines, as a share of what its key expression does."""
    tensors, names = motion.tensors, motion.names
    used = mask > 1e-3
    squeezed = torch.einsum("vi,bvij,vj->bv", across[used], tensors[:, used], across[used])
    mean = (squeezed * mask[used]).sum(1) / mask.sum().clamp_min(1e-6)
    full = sum(value * mean[names.index(name)] for name, value in spec.key.items())
    share = (mean / torch.as_tensor(full).clamp_min(1e-4)).clamp(_LOWEST, _LARGEST)
    weights = {name: float(value) for name, value in zip(names, share, strict=True) if abs(value) >= _SMALLEST}
    total = len(spec.key)
    for name, value in (*spec.at_least.items(), *((key, 1.0 / total) for key in spec.key)):
        weights[name] = max(weights.get(name, 0.0), value)
    return weights
