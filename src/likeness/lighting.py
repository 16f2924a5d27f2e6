"""Light from everywhere: spherical harmonics of order 2, nine numbers a colour channel.

The real, orthonormal basis in the order 1, y, z, x, xy, yz, 3z²-1, xz, x²-y². `sh` are the coefficients of the incoming
radiance; a matt surface of albedo 1 under it shines with `shading(normals, sh)` (Ramamoorthi and Hanrahan 2001, "An
Efficient Representation for Irradiance Environment Maps", with irradiance over π). A uniform light of radiance 1 gives
1 everywhere. Light adds up in linear colours, not in sRGB.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

N_COEFFICIENTS = 9

# sqrt(1/4π), sqrt(3/4π), sqrt(15/4π), sqrt(5/16π), sqrt(15/16π)
_Y0, _Y1, _Y2, _Y20, _Y22 = (math.sqrt(n / (d * math.pi)) for n, d in ((1, 4), (3, 4), (15, 4), (5, 16), (15, 16)))
# How a matt surface blurs each order: A_l/π = 1, 2/3, 1/4.
_BLUR = (1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5


def sh_basis(directions: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 9"]:
    """The nine basis functions in unit directions."""
    x, y, z = directions.unbind(-1)
    one = torch.ones_like(x)
    columns = (
        _Y0 * one,
        _Y1 * y,
        _Y1 * z,
        _Y1 * x,
        _Y2 * x * y,
        _Y2 * y * z,
        _Y20 * (3 * z * z - 1),
        _Y2 * x * z,
        _Y22 * (x * x - y * y),
    )
    return torch.stack(columns, -1)


def irradiance_basis(normals: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 9"]:
    """What each coefficient of the light adds to the shading of a surface with these unit normals."""
    return sh_basis(normals) * normals.new_tensor(_BLUR)


def irradiance_slopes(normals: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 9 3"]:
    """How `irradiance_basis` changes with each component of the normals."""
    x, y, z = normals.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = (
        (zero, zero, zero),
        (zero, _Y1 * one, zero),
        (zero, zero, _Y1 * one),
        (_Y1 * one, zero, zero),
        (_Y2 * y, _Y2 * x, zero),
        (zero, _Y2 * z, _Y2 * y),
        (zero, zero, 6 * _Y20 * z),
        (_Y2 * z, zero, _Y2 * x),
        (2 * _Y22 * x, -2 * _Y22 * y, zero),
    )
    slopes = torch.stack([torch.stack(row, -1) for row in rows], -2)
    return slopes * normals.new_tensor(_BLUR)[:, None]


def shading(normals: Float[Tensor, "B *N 3"], sh: Float[Tensor, "#B 9 C"]) -> Float[Tensor, "B *N C"]:
    """Light sent back by a matt white surface with these unit normals; multiply by albedo for its colour.

    Normals and light are in the same frame. Not clamped: a light that is negative from some side shows as such.
    """
    basis = irradiance_basis(normals)
    return (basis.flatten(1, -2) @ sh).unflatten(1, normals.shape[1:-1])


def light_on_facing(sh: Float[Tensor, "*B 9 C"]) -> Float[Tensor, "*B C"]:
    """The mean shading of a white ball as the camera sees it, for light in the camera frame (+z away from it)."""
    # Means over the visible disc of a unit ball: 1, -z: 2/3, z²: 1/2.
    return _Y0 * sh[..., 0, :] - _BLUR[2] * _Y1 * 2 / 3 * sh[..., 2, :] + _BLUR[6] * _Y20 * 0.5 * sh[..., 6, :]


def ambient_light(radiance: Float[Tensor, "B C"]) -> Float[Tensor, "B 9 C"]:
    """The uniform light of this radiance."""
    sh = radiance.new_zeros(len(radiance), N_COEFFICIENTS, radiance.shape[-1])
    sh[:, 0] = radiance / _Y0
    return sh


def fit_light(
    normals: Float[Tensor, "B N 3"],
    albedo: Float[Tensor, "#B N C"],
    pixels: Float[Tensor, "B N C"],
    *,
    weights: Float[Tensor, "B N"] | None = None,
    ridge: float = 1e-4,
    basis: Float[Tensor, "B N 9"] | None = None,
    towards: Float[Tensor, "B 9 C"] | None = None,
) -> Float[Tensor, "B 9 C"]:
    """The light under which `albedo` looks like `pixels` (linear colours): least squares, in closed form.

    Minimises, for each channel, Σ weights · (pixels - albedo · shading)² / Σ weights · albedo² + `ridge` · |sh₁…₈|²
    (or · |sh₁…₈ - `towards`₁…₈|²), with the shading of `basis`, which is `irradiance_basis(normals)` unless given,
    under the condition that the uniform part sh₀ is not negative (light is not): where the free solution breaks it,
    the solution with sh₀ = 0 is the constrained one, as the problem is convex. The ridge leaves the uniform part
    alone and decides what the visible normals cannot. Differentiable. With no weight at all the light is dark.
    """
    weights = torch.ones_like(pixels[..., 0]) if weights is None else weights
    basis = irradiance_basis(normals) if basis is None else basis
    energy = weights[..., None] * albedo * albedo
    total = energy.sum(1).clamp_min(torch.finfo(energy.dtype).tiny)
    gram = torch.einsum("bnc,bni,bnj->bcij", energy / total[:, None], basis, basis)
    target = torch.einsum("bnc,bni->bci", weights[..., None] * albedo * pixels / total[:, None], basis)
    penalty = gram.new_full((N_COEFFICIENTS,), ridge)
    # The uniform part is not penalised, but for a trace that keeps a pixelless fit solvable.
    penalty[0] = ridge * 1e-6
    gram = gram + torch.diag(penalty)
    if towards is not None:
        target = target + penalty * towards.mT
    free = torch.linalg.solve(gram, target)
    dark = torch.linalg.solve(gram[..., 1:, 1:], target[..., 1:])
    dark = torch.cat([torch.zeros_like(dark[..., :1]), dark], -1)
    return torch.where(free[..., :1] >= 0, free, dark).mT


def srgb_to_linear(colour: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """sRGB in [0, 1] → linear light in [0, 1] (IEC 61966-2-1)."""
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Linear light → sRGB; undoes `srgb_to_linear`. Values outside [0, 1] are not clamped."""
    above = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, light * 12.92, above)
