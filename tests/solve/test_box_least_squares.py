"""The quick solvers against slow ones that anybody can check."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from likeness.solve.box_least_squares import box_least_squares, smooth_least_squares


def problem(seed: int, n: int, n_frames: int):
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(n + 3, n))
    return basis.T @ basis + 1e-3 * np.eye(n), rng.normal(size=(n_frames, n)) * 2, rng


def coupled(gram: np.ndarray, n_frames: int, smoothness: float) -> np.ndarray:
    """The whole problem as one matrix: block diagonal, and differences of neighbouring frames."""
    steps = np.diff(np.eye(n_frames), axis=0)
    return np.kron(np.eye(n_frames), gram) + smoothness * np.kron(steps.T @ steps, np.diag(np.diag(gram)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 9), st.sampled_from([0.0, 0.05, 3.0]))
def test_free_frames_solve_the_whole_system(seed, n, n_frames, smoothness):
    gram, right, _ = problem(seed, n, n_frames)
    expected = np.linalg.solve(coupled(gram, n_frames, smoothness), right.ravel()).reshape(n_frames, n)
    found = smooth_least_squares(gram, right, smoothness=smoothness)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 7), st.sampled_from([0.0, 0.05, 3.0]))
def test_bounded_frames_are_the_bounded_optimum(seed, n, n_frames, smoothness):
    gram, right, rng = problem(seed, n, n_frames)
    lower, upper = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
    root = np.linalg.cholesky(coupled(gram, n_frames, smoothness)).T
    wanted = np.linalg.solve(root.T, right.ravel())
    bounds = (np.tile(lower, n_frames), np.tile(upper, n_frames) + 1e-12)
    expected = lsq_linear(root, wanted, bounds, tol=1e-14).x
    found = box_least_squares(gram, right, lower, upper, smoothness=smoothness)
    assert (found >= lower).all() and (found <= upper).all()

    def cost(x):
        return ((root @ x.ravel() - wanted) ** 2).sum()

    # Compared by cost: nearly flat directions leave x itself open.
    assert cost(found) <= cost(expected) * (1 + 1e-5) + 1e-9


def test_what_rests_stays_at_rest():
    gram, _, _ = problem(0, 5, 1)
    found = box_least_squares(gram, np.zeros((4, 5)) - 0.1, np.zeros(5), np.ones(5), smoothness=0.1)
    assert not found.any()


def test_smoothness_stills_a_single_outlier():
    right = np.zeros((9, 1))
    right[4] = 1
    found = smooth_least_squares(np.eye(1), right, smoothness=0.5)
    assert found[4, 0] < 0.6
    assert found[3, 0] == pytest.approx(found[5, 0]) and found[3, 0] > 0
    # Nothing is lost over time, it is only spread.
    assert found.sum() == pytest.approx(1)
