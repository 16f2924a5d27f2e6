"""A head's UV chart with its anatomy drawn on it: made once for a head and a size, then looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.appearance.anatomy import Anatomy, Zones
from likeness.errors import InputError
from likeness.heads.protocol import Head
from likeness.render import Fragments, interpolate, rasterize_uv

ZONE_NAMES = tuple(Zones.__dataclass_fields__)
_ZONES_SIZE = 512


@dataclass(frozen=True, eq=False)
class Chart:
    """``inside`` (S, S) marks the texels of the surface, T in all; ``rest`` are their rest points (see `Anatomy`),
    ``part`` what they are made of (index of `anatomy.PARTS`)."""

    size: int
    fragments: Fragments
    inside: Bool[Tensor, "S S"]
    rest: Float[Tensor, "T 3"]
    part: Int[Tensor, " T"]

    def image(self, values: Float[Tensor, "T C"], background: float = 0.0) -> Float[Tensor, "C S S"]:
        """Values of the texels laid out as a texture."""
        picture = values.new_full((values.shape[1], self.size, self.size), background)
        picture[:, self.inside] = values.T
        return picture


@lru_cache(maxsize=4)
def chart_of(head: Head, size: int) -> Chart:
    """The chart of a head at ``size`` texels a side. Raises InputError when the head has no UVs."""
    topology, anatomy = head.topology, anatomy_of(head)
    if topology.uv is None or topology.uv_triangles is None:
        raise InputError(f"the head '{head.name}' has no UV chart, so it can carry no texture.")
    fragments = rasterize_uv(torch.from_numpy(topology.uv), torch.from_numpy(topology.uv_triangles), (size, size))
    inside = fragments.mask[0]
    rest = interpolate(anatomy.rest[None], topology.triangles_tensor, fragments)[0][inside]
    return Chart(size, fragments, inside, rest, anatomy.parts[fragments.triangle[0][inside].long()])


@lru_cache(maxsize=4)
def anatomy_of(head: Head) -> Anatomy:
    """The anatomy of a head, drawn once."""
    return Anatomy(head)


@lru_cache(maxsize=4)
def zone_maps(head: Head) -> Float[Tensor, "Z S S"]:
    """All zones (in the order of `ZONE_NAMES`) as textures, gone on a little beyond the chart's borders."""
    chart = chart_of(head, _ZONES_SIZE)
    zones = anatomy_of(head).zones(chart.rest)
    values = torch.stack([getattr(zones, name) for name in ZONE_NAMES], -1)
    return dilate(chart.image(values), chart.inside, steps=3)


@lru_cache(maxsize=16)
def region_map(head: Head, name: str, size: int) -> Float[Tensor, "size size"]:
    """A region of the head's own, as a texture; all 0 where it has none of that name."""
    vertices = anatomy_of(head).region(name)[None, :, None]
    return interpolate(vertices, head.topology.triangles_tensor, chart_of(head, size).fragments)[0, ..., 0]


def dilate(image: Float[Tensor, "C S S"], known: Bool[Tensor, "S S"], *, steps: int) -> Float[Tensor, "C S S"]:
    """Let an image grow over its border by some texels, each the mean of its known neighbours."""
    weight = known.to(image.dtype)[None]
    image = image * weight
    for _ in range(steps):
        total = torch.nn.functional.avg_pool2d(torch.cat([image, weight])[None], 3, 1, 1)[0]
        grown = total[:-1] / total[-1:].clamp_min(1e-8)
        image = torch.where(weight > 0, image, grown)
        weight = (total[-1:] > 1e-8).to(image.dtype)
    return image
