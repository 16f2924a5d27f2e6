"""Batched Levenberg–Marquardt with box bounds, robust residual groups and quadratic priors.

Minimises, for every problem of a batch at once and each with its own damping,

    f(x) = sum_g w_g rho(|r_g(x)|^2) + (x - m)^T P (x - m)    subject to  lower <= x <= upper,

where the residual vector is cut into groups g of equal size (two for an image point). The step solves the damped
Gauss–Newton system restricted to the free variables: those not held at a bound by the gradient (projected Newton,
Bertsekas 1982); the trial point is clipped to the box, and accepted when f falls (Marquardt 1963; damping by
Nielsen 1999).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.solve.robust import Robust

Residuals = Callable[[Float[Tensor, "B P"]], Float[Tensor, "B R"]]
Linearised = Callable[[Float[Tensor, "B P"]], tuple[Float[Tensor, "B R"], Float[Tensor, "B R P"]]]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is minimised. Only ``residuals`` is required.

    ``linearise`` returns residuals and their Jacobian; without it the Jacobian comes from forward-mode automatic
    differentiation. ``group`` is the number of consecutive residuals that share one robust weight. ``weights`` (B, R /
    group) multiply each group's squared norm. ``prior_precision`` is a diagonal (P) or full (P, P) matrix
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


@dataclass(frozen=True, eq=False)
class Solution:
    """``x`` (B, P), the objective there (B), whether the last step was small (B), and how many iterations ran."""

    x: Float[Tensor, "B P"]
    objective: Float[Tensor, " B"]
    converged: Bool[Tensor, " B"]
    n_iterations: int


def levenberg_marquardt(
    problem: Problem,
    start: Float[Tensor, "B P"],
    *,
    max_iterations: int = 30,
    tolerance: float = 1e-6,
    damping: float = 1e-3,
) -> Solution:
    """Minimise ``problem`` from ``start``. Stops when every problem's objective falls by less than ``tolerance`` relatively."""
    x = _clip(start, problem)
    objective = _objective(problem, x)
    mu = x.new_full((len(x),), damping)
    growth = x.new_full((len(x),), 2.0)
    converged = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    iteration = 0
    for iteration in range(1, max_iterations + 1):
        hessian, gradient = _normal_equations(problem, x)
        step, solved = _damped_step(problem, x, hessian, gradient, mu)
        trial = _clip(x + step, problem)
        moved = trial - x
        trial_objective = _objective(problem, trial)
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
        if bool(converged.all()):
            break
    return Solution(x, objective, converged, iteration)


def _clip(x: Tensor, problem: Problem) -> Tensor:
    if problem.lower is not None:
        x = torch.maximum(x, problem.lower.to(x))
    if problem.upper is not None:
        x = torch.minimum(x, problem.upper.to(x))
    return x


def _grouped_square(problem: Problem, residuals: Tensor) -> Tensor:
    return residuals.reshape(len(residuals), -1, problem.group).square().sum(-1)


def _prior(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """The prior's precision as a full matrix (P, P) and the deviation from its mean (B, P)."""
    if problem.prior_precision is None:
        return None
    precision = problem.prior_precision.to(x)
    if precision.ndim == 1:
        precision = torch.diag(precision)
    deviation = x if problem.prior_mean is None else x - problem.prior_mean.to(x)
    return precision, deviation


def _objective(problem: Problem, x: Tensor) -> Tensor:
    squared = _grouped_square(problem, problem.residuals(x))
    loss = squared if problem.robust is None else problem.robust.loss(squared)
    if problem.weights is not None:
        loss = loss * problem.weights
    total = loss.sum(-1)
    prior = _prior(problem, x)
    if prior is not None:
        precision, deviation = prior
        total = total + ((deviation @ precision) * deviation).sum(-1)
    return total


def _normal_equations(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss–Newton matrix (B, P, P) and half the gradient (B, P) of the re-weighted objective."""
    residuals, jacobian = (problem.linearise or _forward_mode(problem.residuals))(x)
    squared = _grouped_square(problem, residuals)
    weight = torch.ones_like(squared) if problem.robust is None else problem.robust.weight(squared)
    if problem.weights is not None:
        weight = weight * problem.weights
    weight = weight.repeat_interleave(problem.group, -1)
    weighted = jacobian * weight[..., None]
    hessian = weighted.mT @ jacobian
    gradient = (weighted.mT @ residuals[..., None])[..., 0]
    prior = _prior(problem, x)
    if prior is not None:
        precision, deviation = prior
        hessian = hessian + precision
        gradient = gradient + deviation @ precision
    return hessian, gradient


def _forward_mode(residuals: Residuals) -> Linearised:
    """Jacobian by forward-mode differentiation, one tangent a parameter, all at once."""

    def linearise(x: Tensor) -> tuple[Tensor, Tensor]:
        def push(tangent: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(residuals, (x,), (tangent.expand_as(x),))

        basis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        value, columns = torch.func.vmap(push, out_dims=(None, -1))(basis)
        return value, columns

    return linearise


def _damped_step(
    problem: Problem, x: Tensor, hessian: Tensor, gradient: Tensor, mu: Tensor
) -> tuple[Tensor, Tensor]:
    """The step (B, P), and whether its system could be factorised (B)."""
    held = torch.zeros_like(x, dtype=torch.bool)
    if problem.lower is not None:
        held |= (x <= problem.lower.to(x)) & (gradient > 0)
    if problem.upper is not None:
        held |= (x >= problem.upper.to(x)) & (gradient < 0)
    free = (~held).to(x.dtype)
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    system = hessian * free[:, :, None] * free[:, None, :]
    # Marquardt's scaling, with a floor so that a parameter nothing depends on keeps the system regular.
    scale = mu[:, None] * diagonal.clamp_min(1e-9) + 1e-12
    system = system + torch.diag_embed(scale * free + (1 - free))
    factor, info = torch.linalg.cholesky_ex(system)
    step = torch.cholesky_solve(-(gradient * free)[..., None], factor)[..., 0]
    # A failed factorisation (rounding) is answered by no step; the growing damping mends it in the next round.
    solved = (info == 0) & torch.isfinite(step).all(-1)
    return torch.where(solved[:, None], step, torch.zeros_like(step)), solved
