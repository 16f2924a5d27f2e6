"""Batched Levenberg–Marquardt with box bounds, robust residual groups and quadratic priors.

Minimises, for every problem of a batch at once and each with its own damping,

    f(x) = sum_g w_g rho(|r_g(x)|^2) + (x - m)^T P (x - m)    subject to  lower <= x <= upper,

where the residual vector is cut into groups g of equal size (two for an image point). The step minimises the damped
Gauss–Newton model within the box by an active set (in the spirit of projected Newton, Bertsekas 1982), and is accepted
when f falls (Marquardt 1963; damping by Nielsen 1999).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.solve.robust import Robust

Residuals = Callable[[Float[Tensor, "B P"]], Float[Tensor, "B R"]]
Linearised = Callable[[Float[Tensor, "B P"]], tuple[Float[Tensor, "B R"], Float[Tensor, "B R P"]]]


@runtime_checkable
class Objective(Protocol):
    """What the solver needs: the value, its Gauss–Newton model, and the box. `Problem` is the usual one; a sum with a
    block structure worth keeping may bring its own."""

    @property
    def lower(self) -> Float[Tensor, "..."] | None: ...

    @property
    def upper(self) -> Float[Tensor, "..."] | None: ...

    def value(self, x: Float[Tensor, "B P"]) -> Float[Tensor, " B"]: ...

    def normal_equations(self, x: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P P"], Float[Tensor, "B P"]]:
        """The Gauss–Newton matrix and half the gradient."""
        ...


@dataclass(frozen=True, eq=False)
class Problem:
    """Residuals with robust groups, weights, a quadratic prior and a box. Only ``residuals`` is required.

    ``linearise`` returns residuals and their Jacobian; without it the Jacobian comes from forward-mode automatic
    differentiation. ``group`` is the number of consecutive residuals that share one robust weight; ``weights``
    (B, R / group) multiply each group's squared norm. ``prior_precision`` is a diagonal (P) or full (P, P) matrix
    about ``prior_mean`` (zero when absent).
    """

    residuals: Residuals
    linearise: Linearised | None = None
    group: int = 1
    weights: Float[Tensor, "B G"] | None = None
    robust: Robust | None = None
    prior_precision: Float[Tensor, "..."] | None = None
    prior_mean: Float[Tensor, "..."] | None = None
    lower: Float[Tensor, "..."] | None = None
    upper: Float[Tensor, "..."] | None = None

    def value(self, x: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        squared = self._grouped_square(self.residuals(x))
        loss = squared if self.robust is None else self.robust.loss(squared)
        if self.weights is not None:
            loss = loss * self.weights
        total = loss.sum(-1)
        prior = self._prior(x)
        if prior is not None:
            precision, deviation = prior
            total = total + ((deviation @ precision) * deviation).sum(-1)
        return total

    def normal_equations(self, x: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P P"], Float[Tensor, "B P"]]:
        residuals, jacobian = (self.linearise or _forward_mode(self.residuals))(x)
        squared = self._grouped_square(residuals)
        weight = torch.ones_like(squared) if self.robust is None else self.robust.weight(squared)
        if self.weights is not None:
            weight = weight * self.weights
        weighted = jacobian * weight.repeat_interleave(self.group, -1)[..., None]
        hessian = weighted.mT @ jacobian
        gradient = (weighted.mT @ residuals[..., None])[..., 0]
        prior = self._prior(x)
        if prior is not None:
            precision, deviation = prior
            hessian, gradient = hessian + precision, gradient + deviation @ precision
        return hessian, gradient

    def _grouped_square(self, residuals: Tensor) -> Tensor:
        return residuals.reshape(len(residuals), -1, self.group).square().sum(-1)

    def _prior(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """The prior's precision as a full matrix (P, P) and the deviation from its mean (B, P)."""
        if self.prior_precision is None:
            return None
        precision = self.prior_precision.to(x)
        if precision.ndim == 1:
            precision = torch.diag(precision)
        return precision, x if self.prior_mean is None else x - self.prior_mean.to(x)


@dataclass(frozen=True, eq=False)
class Solution:
    """``x`` (B, P), the objective there (B), whether the last step was small (B), how many iterations ran."""

    x: Float[Tensor, "B P"]
    objective: Float[Tensor, " B"]
    converged: Bool[Tensor, " B"]
    n_iterations: int


def levenberg_marquardt(
    problem: Objective,
    start: Float[Tensor, "B P"],
    *,
    max_iterations: int = 30,
    tolerance: float = 1e-6,
    damping: float = 1e-3,
) -> Solution:
    """Minimise from ``start``; stops when the value of every problem falls by less than ``tolerance``, relatively."""
    x = _clip(start, problem)
    objective = problem.value(x)
    mu = x.new_full((len(x),), damping)
    growth = x.new_full((len(x),), 2.0)
    converged = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    hessian = gradient = None
    n_iterations = 0
    while n_iterations < max_iterations and not bool(converged.all()):
        n_iterations += 1
        if hessian is None or gradient is None:
            hessian, gradient = problem.normal_equations(x)
        step, solved = _damped_step(problem, x, hessian, gradient, mu)
        trial = _clip(x + step, problem)
        moved = trial - x
        trial_objective = problem.value(trial)
        predicted = -(gradient * moved).sum(-1) * 2 - (moved * (hessian @ moved[..., None])[..., 0]).sum(-1)
        actual = objective - trial_objective
        accept = (actual > 0) & torch.isfinite(trial_objective) & ~converged
        ratio = actual / predicted.clamp_min(1e-30)
        shrink = (1 - (2 * ratio - 1) ** 3).clamp(1 / 3, 2.0)
        small = (actual.abs() <= tolerance * objective.clamp_min(1e-12)) | (moved.abs().amax(-1) < 1e-9)
        small &= solved
        mu = torch.where(accept, mu * shrink, mu * growth).clamp(1e-12, 1e12)
        growth = torch.where(accept, torch.full_like(growth, 2.0), growth * 2)
        x = torch.where(accept[:, None], trial, x)
        objective = torch.where(accept, trial_objective, objective)
        converged = converged | small
        if bool(accept.any()):
            hessian = gradient = None
    return Solution(x, objective, converged, n_iterations)


def _clip(x: Tensor, problem: Objective) -> Tensor:
    if problem.lower is not None:
        x = torch.maximum(x, problem.lower.to(x))
    if problem.upper is not None:
        x = torch.minimum(x, problem.upper.to(x))
    return x


def _forward_mode(residuals: Residuals) -> Linearised:
    """Jacobian by forward-mode differentiation, one tangent a parameter, all at once."""

    def linearise(x: Tensor) -> tuple[Tensor, Tensor]:
        def push(tangent: Tensor) -> tuple[Tensor, Tensor]:
            pushed = torch.func.jvp(residuals, (x,), (tangent.expand_as(x),))
            return pushed[0], pushed[1]

        basis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        value, columns = torch.func.vmap(push, out_dims=(None, -1))(basis)  # pyright: ignore[reportArgumentType]
        return value, columns

    return linearise


def _damped_step(problem: Objective, x: Tensor, hessian: Tensor, gradient: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
    """The step (B, P) that minimises the damped quadratic model in the box, nearly; and whether it could be solved (B).

    Variables that the gradient holds at a bound stay there. Others that the step would carry over a bound stop at it,
    and the rest is solved again, knowing that; a few rounds settle it.
    """
    lower, upper = _box(problem, x)
    held = ((x <= lower) & (gradient > 0)) | ((x >= upper) & (gradient < 0))
    step = torch.zeros_like(x)
    solved = torch.ones_like(x[:, 0], dtype=torch.bool)
    # Marquardt's scaling, with a floor so that a parameter nothing depends on keeps the system regular.
    damped = hessian + torch.diag_embed(mu[:, None] * hessian.diagonal(dim1=-2, dim2=-1).clamp_min(1e-9) + 1e-12)
    for _ in range(_BOX_ROUNDS):
        free = (~held).to(x.dtype)
        given = torch.where(held, step, torch.zeros_like(step))
        target = -(gradient + (damped @ given[..., None])[..., 0]) * free
        system = damped * free[:, :, None] * free[:, None, :] + torch.diag_embed(1 - free)
        factor, info = torch.linalg.cholesky_ex(system)
        step = given + torch.cholesky_solve(target[..., None], factor)[..., 0] * free
        # A failed factorisation (rounding) is answered by no step; the growing damping mends it in the next round.
        solved = (info == 0) & torch.isfinite(step).all(-1)
        step = torch.where(solved[:, None], step, torch.zeros_like(step))
        over = ((x + step < lower) | (x + step > upper)) & ~held
        if not bool(over.any()):
            break
        step = torch.where(over, torch.minimum(torch.maximum(x + step, lower), upper) - x, step)
        held = held | over
    return step, solved


# Rounds of stopping variables at their bounds within one step; what is left over is clipped by the caller.
_BOX_ROUNDS = 5


def _box(problem: Objective, x: Tensor) -> tuple[Tensor, Tensor]:
    lower = x.new_tensor(-torch.inf) if problem.lower is None else problem.lower.to(x)
    upper = x.new_tensor(torch.inf) if problem.upper is None else problem.upper.to(x)
    return lower.expand_as(x), upper.expand_as(x)
