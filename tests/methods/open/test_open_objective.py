"""The landmark energy: its written-out derivatives, and that a known face is found again."""

import pytest
import torch

from likeness.methods.open.landmark_model import LandmarkModel
from likeness.methods.open.objective import LandmarkObjective, Observations, Prior, Start
from likeness.methods.open.start import starting_pose
from likeness.solve import GemanMcClure, levenberg_marquardt

L, I, E, M, N = 60, 8, 6, 3, 2
FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


class Quadratic:
    """No robustness, so that the Gauss–Newton gradient is the gradient."""

    def loss(self, squared):
        return squared

    def weight(self, squared):
        return torch.ones_like(squared)


@pytest.fixture(autouse=True)
def _double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def objective(robust, generator, *, modes: int = M) -> LandmarkObjective:
    def random(*shape):
        return torch.randn(*shape, generator=generator)

    model = LandmarkModel(random(L, 3) * 50, random(3 * L, I + E) * 3, I)
    seen = Observations(
        points=random(N, L, 3) * 100 + 500,
        certainty=0.5 + 0.1 * random(N, L, 3),
        modes=random(N, L, 3, modes),
        centre=torch.full((N, 2), 500.0),
    )
    start = Start(FACING.expand(N, 3, 3), torch.full((N, 2), 480.0), torch.full((N,), 2.0), torch.full((N,), 800.0))
    prior = Prior(
        identity_precision=torch.rand(I, generator=generator) + 0.5,
        identity_mean=0.3 * random(I),
        log_distance=torch.full((N,), 6.9),
        log_distance_precision=torch.full((N,), 4.0),
        log_focal=torch.full((N,), 7.5),
        log_focal_precision=torch.full((N,), 2.0),
        expression_precision=torch.full((E,), 5.0),
        expression_mean=torch.full((E,), -0.1),
        mode_precision=torch.ones(modes),
    )
    return LandmarkObjective(model, seen, start, prior, robust)


def test_written_out_gradient_is_the_gradient():
    generator = torch.Generator().manual_seed(0)
    energy = objective(Quadratic(), generator)
    x = energy.initial()
    x = (x + 0.2 * torch.randn(x.shape, generator=generator)).requires_grad_()
    (gradient,) = torch.autograd.grad(energy.value(x).sum(), x)
    _, half = energy.normal_equations(x.detach())
    torch.testing.assert_close(2 * half, gradient, rtol=1e-9, atol=1e-6)


def test_a_known_person_in_two_photos_is_found_again():
    generator = torch.Generator().manual_seed(1)
    energy = objective(GemanMcClure(4.0), generator, modes=0)
    truth = energy.initial() + 0.3 * torch.randn(energy.initial().shape, generator=generator)
    truth = truth.clamp(energy.lower, energy.upper)
    identity, private = energy.split(truth)
    points = energy.project(identity, private)
    seen = Observations(points, torch.full((N, L, 3), 10.0), energy.seen.modes, energy.seen.centre)
    exact = LandmarkObjective(energy.model, seen, energy.start, energy.prior, GemanMcClure(1e4))
    found = levenberg_marquardt(exact, exact.initial(), max_iterations=100, tolerance=1e-10).x
    assert float((exact.project(*exact.split(found)) - points).abs().max()) < 1.0
    assert float((found[0, :I] - identity).abs().mean()) < 0.15


def test_the_starting_pose_of_an_orthographic_view_is_exact():
    generator = torch.Generator().manual_seed(2)
    points = 40 * torch.randn(50, 3, generator=generator)
    rotation = torch.linalg.matrix_exp(0.5 * torch.tensor([[0.0, -1, 2], [1, 0, -3], [-2, 3, 0]])) @ FACING
    seen = 1.7 * points @ rotation[:2].T + torch.tensor([300.0, 200.0])
    start = starting_pose(points, seen[None], torch.rand(50, generator=generator) + 0.5, torch.tensor([900.0]))
    torch.testing.assert_close(start.rotation[0], rotation, atol=1e-9, rtol=0)
    torch.testing.assert_close(start.scale, torch.tensor([1.7]), atol=1e-9, rtol=0)
    torch.testing.assert_close(start.position[0], torch.tensor([300.0, 200.0]), atol=1e-7, rtol=0)
