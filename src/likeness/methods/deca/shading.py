"""DECA's own light: spherical harmonics as its weights know them, and the five lamps of its shape pictures.

DECA adds light up in sRGB values, and its order and scale of the harmonics are not those of `likeness.lighting`;
`to_linear_light` translates.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.lighting import fit_light

_FIRST = 2 * math.pi / 3 * math.sqrt(3 / (4 * math.pi))
_SECOND = math.pi / 4 * 3 * math.sqrt(5 / (12 * math.pi))
# Of 1, x, y, z, xy, xz, yz, x²-y², 3z²-1.
SH_FACTORS = (
    1 / math.sqrt(4 * math.pi),
    *(_FIRST,) * 3,
    *(_SECOND,) * 3,
    _SECOND / 2,
    math.pi / 8 * math.sqrt(5 / (4 * math.pi)),
)
_LAMPS = ((-1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, -1.0, 1.0), (0.0, 0.0, 1.0))
_LAMP_INTENSITY = 1.7
_GAMMA = 2.2


def sh_shading(normals: Float[Tensor, "B 3 H W"], light: Float[Tensor, "B 9 3"]) -> Float[Tensor, "B 3 H W"]:
    """Shading by DECA's light, world normals, not clamped."""
    x, y, z = normals.unbind(1)
    basis = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], 1)
    scaled = light * light.new_tensor(SH_FACTORS)[:, None]
    return torch.einsum("bkhw,bkc->bchw", basis, scaled)


def lamp_shading(normals: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Five white lamps in front of the face: the mean of their clamped cosines."""
    directions = torch.nn.functional.normalize(normals.new_tensor(_LAMPS), dim=1)
    cosines = torch.einsum("bdhw,ld->blhw", normals, directions).clamp(0, 1)
    return _LAMP_INTENSITY * cosines.mean(1, keepdim=True)


def to_linear_light(light: Float[Tensor, "9 3"]) -> Float[Tensor, "9 3"]:
    """DECA's light as `likeness.lighting` has it: linear colours, camera frame (+y down, +z forward).

    A product of sRGB values is a product of linear ones only where sRGB is a power of 2.2, and a power of a sum of
    harmonics has more than nine terms: the best nine over the directions that face the camera are taken.
    """
    normals = _towards_camera(light)
    shaded = sh_shading(normals.T[None, :, :, None], light[None])[0, :, :, 0].T.clamp_min(0) ** _GAMMA
    in_camera = normals * normals.new_tensor([1.0, -1.0, -1.0])
    return fit_light(in_camera[None], torch.ones_like(shaded)[None], shaded[None])[0]


def _towards_camera(like: Tensor, n: int = 512) -> Float[Tensor, "N 3"]:
    """Directions spread evenly over the half sphere with z > 0: a Fibonacci spiral."""
    index = torch.arange(n, dtype=like.dtype, device=like.device) + 0.5
    z, turn = 1 - index / n, index * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), z], 1)
