"""Where detail may lie: the window of the chart that shows a face's skin, and the surface in each of its texels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.errors import InputError
from likeness.face import Face
from likeness.filters import gaussian_blur, smoothstep
from likeness.heads.protocol import Head
from likeness.meshes import vertex_normals
from likeness.render import rasterize_uv
from likeness.topology import Topology

# mm by which an excluded region is widened, and over which detail then fades in.
_EXCLUDED = {"eyelids": (2.6, 3.0), "brows": (0.5, 2.5), "ears": (3.0, 8.0)}
# The vermilion has furrows of its own, but its border is a change of colour.
_LIPS_SHARE, _LIP_BORDER_MM = 0.35, 2.4
# The neck and the scalp's edge are seldom fitted well.
_RIM_MM = 7.0


@dataclass(frozen=True, eq=False)
class DetailChart:
    """``rows`` and ``columns`` are the window in the whole map; everything else lies in the window.

    ``triangle`` is -1 off the chart, ``corners`` the mesh's vertices of each texel; ``skin`` in [0, 1] says where
    detail may be, ``hairline`` where hair is to be expected; ``mm_per_texel`` is what one texel spans on the mean head,
    roughly. ``mirrored``: a map flipped from left to right lies on the other side of the face.
    """

    size: int
    rows: slice
    columns: slice
    inside: Bool[Tensor, "H W"]
    corners: Int[Tensor, "N 3"]
    barycentric: Float[Tensor, "N 3"]
    skin: Float[Tensor, "H W"]
    hairline: Float[Tensor, "H W"]
    mm_per_texel: float
    mirrored: bool

    def texels(self, at_vertices: Float[Tensor, "V C"]) -> Float[Tensor, "C H W"]:
        """Values given at vertices, in the window; 0 off the chart."""
        a, b, c = (at_vertices[self.corners[:, k]] * self.barycentric[:, k : k + 1] for k in range(3))
        result = at_vertices.new_zeros(at_vertices.shape[1], *self.inside.shape)
        result[:, self.inside] = (a + b + c).T
        return result

    def whole(self, window: Float[Tensor, "H W"]) -> Float[Tensor, "S S"]:
        """The full map, 0 outside of the window."""
        result = window.new_zeros(self.size, self.size)
        result[self.rows, self.columns] = window
        return result


@dataclass(frozen=True, eq=False)
class TexelSurface:
    """The surface of a posed Face in the window: ``position`` (mm, head frame), unit ``normal``, and the derivatives
    ``along_x`` and ``along_y`` of the position by a column and a row (mm a texel)."""

    position: Float[Tensor, "3 H W"]
    normal: Float[Tensor, "3 H W"]
    along_x: Float[Tensor, "3 H W"]
    along_y: Float[Tensor, "3 H W"]


@lru_cache(maxsize=4)
def detail_chart(topology: Topology, size: int, mm_per_unit: float) -> DetailChart:
    """The window of a ``size``² map about the face's skin; ``mm_per_unit`` is what the whole chart spans.

    Raises InputError when the head has no UV chart or no region called "face".
    """
    if topology.uv is None or topology.uv_triangles is None:
        raise InputError("this head has no UV chart, in which detail could lie.")
    chart = rasterize_uv(torch.from_numpy(topology.uv), torch.from_numpy(topology.uv_triangles), (size, size))
    mm_per_texel = mm_per_unit / size
    triangle, barycentric = chart.triangle[0].long(), chart.barycentric[0]
    face = _in_chart(topology, ("face",), triangle, barycentric)
    if not face.any():
        raise InputError("this head's face has no place in its UV chart.")
    skin = _skin(topology, triangle, barycentric, mm_per_texel)
    rows, columns = (_span(skin.amax(axis)) for axis in (1, 0))
    inside = triangle[rows, columns] >= 0
    corners = topology.triangles_tensor[triangle[rows, columns][inside]]
    return DetailChart(
        size=size,
        rows=rows,
        columns=columns,
        inside=inside,
        corners=corners,
        barycentric=barycentric[rows, columns][inside],
        skin=skin[rows, columns],
        hairline=_hairline(topology, triangle, barycentric, mm_per_texel)[rows, columns],
        mm_per_texel=mm_per_texel,
        mirrored=_is_mirrored(topology, size),
    )


def face_chart(face: Face, size: int) -> DetailChart:
    """The chart of a Face's head."""
    return head_chart(face.head, size)


def head_chart(head: Head, size: int) -> DetailChart:
    """The chart of a head."""
    return detail_chart(head.topology, size, _mm_per_unit(head))


def texel_surface(face: Face, chart: DetailChart) -> TexelSurface:
    """The Face as in the photo, in the window's texels."""
    normals = vertex_normals(face.vertices, face.head.topology.triangles_tensor)
    both = chart.texels(torch.cat([face.vertices, normals], 1))
    position, normal = both[:3], both[3:] / lengths(both[3:]).clamp_min(1e-9)
    along_x, along_y = _slope(position, chart.inside, 2), _slope(position, chart.inside, 1)
    return TexelSurface(position, normal, along_x, along_y)


def lengths(vectors: Float[Tensor, "3 H W"]) -> Float[Tensor, "H W"]:
    """Of each texel's vector. torch's own norm is many times slower over a short first axis."""
    return vectors.square().sum(0).sqrt()


def _slope(position: Tensor, inside: Tensor, axis: int) -> Tensor:
    """Central differences; 0 where a neighbour is off the chart."""
    ahead, behind = position.roll(-1, axis), position.roll(1, axis)
    known = inside & inside.roll(-1, axis - 1) & inside.roll(1, axis - 1)
    return torch.where(known, (ahead - behind) / 2, 0.0)


@lru_cache(maxsize=4)
def _mm_per_unit(head: Head) -> float:
    """Millimetres that the chart's side spans on the mean head's face: the root of the ratio of areas."""
    topology = head.topology
    if topology.uv is None or topology.uv_triangles is None:
        raise InputError(f"the head '{head.name}' has no UV chart, in which detail could lie.")
    uv, uv_triangles = topology.uv, topology.uv_triangles
    vertices = head.vertices(torch.zeros(1, head.n_identity), None, None, None)[0].numpy()
    chosen = topology.region("face")[topology.triangles].all(1)
    a, b, c = (vertices[topology.triangles[chosen, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    p, q, r = (uv[uv_triangles[chosen, k]] for k in range(3))
    (ux, uy), (vx, vy) = (q - p).T, (r - p).T
    return float(np.sqrt(area / max(np.abs(ux * vy - uy * vx).sum(), 1e-12)))


def _skin(topology: Topology, triangle: Tensor, barycentric: Tensor, mm: float) -> Float[Tensor, "S S"]:
    """1 on skin that can show detail, 0 on what cannot, smooth between."""

    def share(*regions: str) -> Tensor:
        return _in_chart(topology, regions, triangle, barycentric)

    off_chart = (triangle < 0).float()
    # Eye and mouth openings are holes of the chart; its outside is far from the face.
    face = share("face")
    skin = face * _beyond(torch.maximum(off_chart, 1 - face), 0.5, 3.0, mm)
    skin = skin * _beyond(share("scalp", "neck"), 0.0, _RIM_MM, mm)
    for region, (wider, fade) in _EXCLUDED.items():
        skin = skin * _beyond(share(region), wider, fade, mm)
    # The base of the nose, columella and all, is a hollow of the shape model's, and its own shadow.
    nose_base = smoothstep(gaussian_blur(share("nostrils")[None], 7.0 / mm)[0], 0.010, 0.035)
    skin = skin * (1 - nose_base)
    lips = share("lips")
    skin = skin * (1 - (1 - _LIPS_SHARE) * lips)
    border = lips * (1 - lips) * 4
    near = gaussian_blur(border[None], _LIP_BORDER_MM / mm)[0]
    return skin * (1 - smoothstep(near, 0.02, 0.15))


def _hairline(topology: Topology, triangle: Tensor, barycentric: Tensor, mm: float) -> Float[Tensor, "S S"]:
    """1 at the scalp, falling over some centimetres; and about the brows."""
    scalp = _in_chart(topology, ("scalp", "ears"), triangle, barycentric)
    brows = _in_chart(topology, ("brows",), triangle, barycentric)
    near_scalp = smoothstep(gaussian_blur(scalp[None], 14.0 / mm)[0], 0.03, 0.35)
    near_brows = smoothstep(gaussian_blur(brows[None], 3.0 / mm)[0], 0.05, 0.3)
    return torch.maximum(near_scalp, near_brows)


def _beyond(excluded: Tensor, wider: float, fade: float, mm: float) -> Tensor:
    """0 on a region and ``wider`` mm about it, then rising to 1 within about ``fade`` mm."""
    if not excluded.any():
        return torch.ones_like(excluded)
    radius = round(wider / mm)
    if radius:
        excluded = functional.max_pool2d(excluded[None, None], 2 * radius + 1, 1, radius)[0, 0]
    blurred = gaussian_blur(excluded[None], fade / 2 / mm)[0]
    return smoothstep(blurred, 0.5, 0.03)


def _in_chart(topology: Topology, regions: tuple[str, ...], triangle: Tensor, barycentric: Tensor) -> Tensor:
    """The share of regions in each texel; those that the head lacks count for nothing."""
    masks = [topology.regions[name] for name in regions if name in topology.regions]
    if not masks:
        return torch.zeros_like(barycentric[..., 0])
    mask = torch.from_numpy(np.logical_or.reduce(masks).astype(np.float32))
    values = (mask[topology.triangles_tensor[triangle.clamp_min(0)]] * barycentric).sum(-1)
    return torch.where(triangle >= 0, values, 0.0)


def _is_mirrored(topology: Topology, size: int) -> bool:
    """Whether each vertex of the face and its mirror image lie at u and 1 - u, to half a texel."""
    if topology.mirror is None or topology.uv is None or topology.uv_triangles is None:
        return False
    place = np.full((len(topology.mirror), 2), np.nan)
    place[topology.triangles.ravel()] = topology.uv[topology.uv_triangles.ravel()]
    face = topology.region("face")
    other = place[topology.mirror[face]]
    apart = np.abs(place[face] - np.stack([1 - other[:, 0], other[:, 1]], 1))
    return bool(np.nanmax(apart) * size < 0.5)


def _span(presence: Tensor) -> slice:
    """Where there is anything, widened to a multiple of 8 for the coarser levels."""
    found = torch.nonzero(presence > 0)[:, 0]
    low, high = int(found[0]) // 8 * 8, -(-(int(found[-1]) + 1) // 8) * 8
    return slice(low, min(high, len(presence)))
