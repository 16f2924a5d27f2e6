"""The solver against closed forms, scipy and its own promises."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.solve import GemanMcClure, Huber, Problem, levenberg_marquardt


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([10 * (x[:, 1] - x[:, 0] ** 2), 1 - x[:, 0]], -1)


def test_rosenbrock_valley_is_followed_to_its_end():
    start = torch.tensor([[-1.2, 1.0], [3.0, -4.0]], dtype=torch.float64)
    solution = levenberg_marquardt(Problem(rosenbrock), start, max_iterations=200, tolerance=1e-14)
    torch.testing.assert_close(solution.x, torch.ones_like(start), atol=1e-5, rtol=0)


def test_linear_problem_with_prior_has_the_closed_form():
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.standard_normal(s)) for s in ((12, 5), (12,)))
    precision, mean = torch.from_numpy(rng.uniform(0.1, 2, 5)), torch.from_numpy(rng.standard_normal(5))
    problem = Problem(lambda x: x @ a.T - b, prior_precision=precision, prior_mean=mean)
    got = levenberg_marquardt(problem, torch.zeros(1, 5, dtype=torch.float64), tolerance=1e-14).x[0]
    want = torch.linalg.solve(a.T @ a + torch.diag(precision), a.T @ b + precision * mean)
    torch.testing.assert_close(got, want, atol=1e-8, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_bounded_least_squares_agrees_with_scipy(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((15, 6)), 2 * rng.standard_normal(15)
    want = scipy.optimize.lsq_linear(a, b, (0, 1), tol=1e-12)
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    problem = Problem(lambda x: x @ ta.T - tb, lower=torch.zeros(6), upper=torch.ones(6))
    got = levenberg_marquardt(
        problem, torch.full((1, 6), 0.5, dtype=torch.float64), max_iterations=200, tolerance=1e-13
    )
    assert float(got.objective[0]) == pytest.approx(2 * want.cost, rel=1e-6, abs=1e-9)
    assert got.x.min() >= 0 and got.x.max() <= 1


@pytest.mark.parametrize("robust", [Huber(0.5), GemanMcClure(0.5)])
def test_an_outlier_moves_a_robust_mean_little(robust):
    values = torch.tensor([[1.0, 1.1, 0.9, 1.0, 1.05, 30.0]], dtype=torch.float64)
    start = values.median(-1, keepdim=True).values
    plain = levenberg_marquardt(Problem(lambda x: x - values), start).x
    held = levenberg_marquardt(Problem(lambda x: x - values, robust=robust), start, tolerance=1e-12).x
    assert float(plain) > 5
    assert abs(float(held) - 1.0) < 0.2


def test_robust_weight_is_the_derivative_of_the_loss():
    squared = torch.linspace(0.01, 4, 50, dtype=torch.float64, requires_grad=True)
    for robust in (Huber(0.7), GemanMcClure(0.7)):
        (slope,) = torch.autograd.grad(robust.loss(squared).sum(), squared)
        torch.testing.assert_close(slope, robust.weight(squared))


def test_each_problem_of_a_batch_is_solved_as_if_alone():
    starts = torch.tensor([[-1.2, 1.0], [0.3, 2.0], [5.0, 5.0]], dtype=torch.float64)
    together = levenberg_marquardt(Problem(rosenbrock), starts, max_iterations=300, tolerance=1e-13).x
    alone = torch.cat(
        [levenberg_marquardt(Problem(rosenbrock), s[None], max_iterations=300, tolerance=1e-13).x for s in starts]
    )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_given_jacobian_is_used_and_agrees_with_forward_mode():
    calls = []

    def linearise(x):
        calls.append(1)
        zero = torch.zeros_like(x[:, 0])
        rows = [torch.stack([-20 * x[:, 0], zero + 10], -1), torch.stack([zero - 1, zero], -1)]
        return rosenbrock(x), torch.stack(rows, 1)

    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    by_hand = levenberg_marquardt(Problem(rosenbrock, linearise=linearise), start, max_iterations=40)
    automatic = levenberg_marquardt(Problem(rosenbrock), start, max_iterations=40)
    assert calls
    torch.testing.assert_close(by_hand.x, automatic.x)


def test_residuals_that_ignore_a_parameter_leave_it_alone():
    start = torch.tensor([[3.0, 7.0]], dtype=torch.float64)
    solution = levenberg_marquardt(Problem(lambda x: x[:, :1] - 1), start)
    torch.testing.assert_close(solution.x, torch.tensor([[1.0, 7.0]], dtype=torch.float64))
