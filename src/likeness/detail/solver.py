"""The relief that explains shading: a linear, regularised least-squares problem on a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

# A hollow a millimetre deep is darker by so much (natural logarithm), as less of the sky reaches it.
_HOLLOW = 0.18
# Standard deviations that relief is expected to have: slope, and height (mm).
_SLOPE_SPREAD, _HEIGHT_SPREAD = 0.22, 0.6
# Of shade that is not relief, beside the photo's noise: pigment that looks like shade.
_PIGMENT = 0.035


@dataclass(frozen=True, eq=False)
class Shading:
    """shade ≈ slope_x ∂d/∂x + slope_y ∂d/∂y + hollow d, of trust ``weight``; see `detail.evidence.Evidence`."""

    shade: Float[Tensor, "H W"]
    weight: Float[Tensor, "H W"]
    slope_x: Float[Tensor, "H W"]
    slope_y: Float[Tensor, "H W"]
    step_x: Float[Tensor, "H W"]
    step_y: Float[Tensor, "H W"]


def solve_relief(
    problem: Shading, *, noise: float, finest_mm: float, n_levels: int = 3, n_iterations: int = 24
) -> Float[Tensor, "H W"]:
    """The displacement (mm) of least energy

        Σ weight (slope · ∇d + hollow d - shade)² / spread² + Σ |∇d|² / slope_spread² (1 + …) + Σ d² / height_spread²

    where a second-derivative term takes away what is shorter than ``finest_mm``. Conjugate gradients, from coarse to
    fine; the outliers of one level weigh less in the next.
    """
    levels = [problem]
    for _ in range(n_levels - 1):
        levels.append(_halved(levels[-1]))
    relief = torch.zeros_like(levels[-1].shade)
    for level in reversed(levels):
        if relief.shape != level.shade.shape:
            relief = functional.interpolate(
                relief[None, None], level.shade.shape, mode="bilinear", align_corners=False
            )[0, 0]
            level = _without_outliers(level, relief)
        energy = _Energy(level, noise=noise, finest_mm=finest_mm)
        relief = _conjugate_gradients(energy, relief, n_iterations)
    return relief


def _halved(problem: Shading) -> Shading:
    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values[None, None], 2, ceil_mode=True, count_include_pad=False)[0, 0]

    weight = mean(problem.weight)
    share = weight.clamp_min(1e-6)
    shade = mean(problem.shade * problem.weight) / share
    # A texel twice as wide has half the derivative a texel, and a step twice as long.
    return Shading(
        shade=shade,
        weight=weight,
        slope_x=mean(problem.slope_x * problem.weight) / share / 2,
        slope_y=mean(problem.slope_y * problem.weight) / share / 2,
        step_x=mean(problem.step_x) * 2,
        step_y=mean(problem.step_y) * 2,
    )


def _without_outliers(problem: Shading, relief: Tensor) -> Shading:
    """Geman and McClure's weights of the errors that the coarser relief leaves."""
    error = problem.shade - _predicted(problem, relief)
    return replace(problem, weight=problem.weight / (1 + (error / 0.25) ** 2) ** 2)


def _predicted(problem: Shading, relief: Tensor) -> Tensor:
    return problem.slope_x * _ddx(relief) + problem.slope_y * _ddy(relief) + _HOLLOW * relief


class _Energy:
    """The normal equations of one level, as an operator."""

    def __init__(self, problem: Shading, *, noise: float, finest_mm: float) -> None:
        self._problem = problem
        self._data = problem.weight / (_PIGMENT**2 + noise**2)
        flat = 1 / _SLOPE_SPREAD**2
        self._flat_x = flat / problem.step_x.clamp_min(0.05) ** 2
        self._flat_y = flat / problem.step_y.clamp_min(0.05) ** 2
        self._low = 1 / _HEIGHT_SPREAD**2
        # |∇²d|² reaches |∇d|²'s weight at the finest wavelength the photo shows.
        step = (problem.step_x * problem.step_y).clamp_min(0.0025)
        self._smooth = 4 * flat * (finest_mm / (2 * torch.pi)) ** 2 / step**2

    def target(self) -> Tensor:
        return self._transposed(self._data * self._problem.shade)

    def __call__(self, relief: Tensor) -> Tensor:
        data = self._transposed(self._data * _predicted(self._problem, relief))
        flat = _ddx_forward_t(self._flat_x * _ddx_forward(relief)) + _ddy_forward_t(self._flat_y * _ddy_forward(relief))
        return data + flat + self._low * relief + _laplace(self._smooth * _laplace(relief))

    def diagonal(self) -> Tensor:
        """Of the operator, nearly: what Jacobi's preconditioner needs."""
        problem = self._problem
        slopes = (problem.slope_x**2 + problem.slope_y**2) / 2
        return self._data * (slopes + _HOLLOW**2) + 2 * (self._flat_x + self._flat_y) + self._low + 20 * self._smooth

    def _transposed(self, values: Tensor) -> Tensor:
        problem = self._problem
        return -_ddx(problem.slope_x * values) - _ddy(problem.slope_y * values) + _HOLLOW * values


def _conjugate_gradients(energy: _Energy, start: Tensor, n_iterations: int) -> Tensor:
    inverse = 1 / energy.diagonal()
    found, residual = start, energy.target() - energy(start)
    scaled = inverse * residual
    direction, product = scaled, (residual * scaled).sum()
    for _ in range(n_iterations):
        if not product > 0:
            break
        moved = energy(direction)
        length = product / (direction * moved).sum()
        found, residual = found + length * direction, residual - length * moved
        scaled = inverse * residual
        following = (residual * scaled).sum()
        direction, product = scaled + following / product * direction, following
    return found


# Differences by columns and rows. The grid's rim counts as zero, so that central differences are antisymmetric.


def _ddx(values: Tensor) -> Tensor:
    wide = functional.pad(values, (1, 1))
    return (wide[:, 2:] - wide[:, :-2]) / 2


def _ddy(values: Tensor) -> Tensor:
    wide = functional.pad(values, (0, 0, 1, 1))
    return (wide[2:] - wide[:-2]) / 2


def _ddx_forward(values: Tensor) -> Tensor:
    return functional.pad(values, (0, 1))[:, 1:] - values


def _ddx_forward_t(values: Tensor) -> Tensor:
    return functional.pad(values, (1, 0))[:, :-1] - values


def _ddy_forward(values: Tensor) -> Tensor:
    return functional.pad(values, (0, 0, 0, 1))[1:] - values


def _ddy_forward_t(values: Tensor) -> Tensor:
    return functional.pad(values, (0, 0, 1, 0))[:-1] - values


def _laplace(values: Tensor) -> Tensor:
    wide = functional.pad(values, (1, 1, 1, 1))
    around = wide[1:-1, 2:] + wide[1:-1, :-2] + wide[2:, 1:-1] + wide[:-2, 1:-1]
    return around - 4 * values
