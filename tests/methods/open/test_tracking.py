"""One frame of a known person: what is projected is found again, and the derivatives are those of the energy."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from likeness.heads import load_head
from likeness.landmarks.conventions import MIRROR
from likeness.methods.open.calibration import calibrate
from likeness.methods.open.expression_prior import expression_precision
from likeness.methods.open.tracking import (
    FrameObjective,
    FrameSolver,
    PersonModel,
    measure_open_eyes,
)

HEAD = load_head("open")
NAMES = HEAD.expression_names
CALIBRATION = calibrate(HEAD, "mediapipe478")
FOCAL, SIZE = 900.0, (480, 640)


@pytest.fixture(scope="module")
def person():
    identity = torch.randn(HEAD.n_identity, generator=torch.Generator().manual_seed(3)) * 0.5
    return PersonModel(CALIBRATION, NAMES, identity, focal=FOCAL, image_size=SIZE)


def seen(person, weights, *, turn=(0.1, 0.3, 0.05), shift=(20.0, -10.0, 800.0)):
    """Landmarks as a perfect detector would report them, and the rotation behind them."""
    vector = torch.zeros(len(NAMES))
    for name, value in weights.items():
        vector[NAMES.index(name)] = value
    upright = np.diag([1.0, -1.0, -1.0]) @ Rotation.from_rotvec(turn).as_matrix()
    rotation, shift = torch.from_numpy(upright).float(), torch.tensor(shift)
    camera = (person.neutral + person.shapes @ vector) @ rotation.T + shift
    pixels = FOCAL * camera[:, :2] / camera[:, 2:] + person.centre
    depth = FOCAL / shift[2] * (camera[:, 2:] - shift[2])
    return torch.cat([pixels, depth], 1).numpy(), rotation, shift


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"jawOpen": 0.6},
        {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7},
        {"eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8},
        {"eyeLookOutLeft": 0.9, "eyeLookInRight": 0.9},
        {"browOuterUpLeft": 0.6, "browOuterUpRight": 0.6, "browInnerUp": 0.6},
    ],
)
def test_what_is_shown_is_found(person, weights):
    points, rotation, shift = seen(person, weights)
    fit = FrameSolver(person).solve(points)
    found = dict(zip(NAMES, fit.weights.tolist(), strict=True))
    # The prior draws towards rest, and the noise model leaves errors to the detector: most of each weight is found.
    for name, value in weights.items():
        assert found[name] > 0.55 * value, (name, found[name])
    turned = Rotation.from_matrix(fit.rotation.numpy()) * Rotation.from_matrix(rotation.numpy()).inv()
    assert np.degrees(turned.magnitude()) < 2.0
    np.testing.assert_allclose(fit.translation, shift, rtol=0.03, atol=5)
    assert fit.residual_mm < 1.5


def test_a_closed_eye_closes_the_model(person):
    """However little the lids' own landmarks weigh among 478."""
    open_, closed = (seen(person, {"eyeBlinkLeft": w, "eyeBlinkRight": w})[0] for w in (0.0, 0.8))
    weights = FrameSolver(person).solve(closed).weights
    aperture = 1 + person.aperture_gradient @ weights
    assert aperture.max() < 0.2
    assert (1 + person.aperture_gradient @ FrameSolver(person).solve(open_).weights).min() > 0.8


def test_the_gradient_is_the_energys(person):
    points, *_ = seen(person, {"jawOpen": 0.4, "eyeBlinkLeft": 0.5})
    objective = FrameObjective(person, torch.from_numpy(points) + torch.randn(478, 3, generator=rng(5)))
    x = 0.05 * torch.rand(1, objective.n, generator=rng(6))
    _, half_gradient = objective.normal_equations(x)
    for _ in range(5):
        direction = torch.randn(1, objective.n, generator=rng(_))
        direction /= direction.norm()
        # Single precision leaves few digits to a difference: a wide step.
        step = 3e-3
        change = (objective.value(x + step * direction) - objective.value(x - step * direction)) / (2 * step)
        expected = 2 * (half_gradient * direction).sum()
        assert abs(float(change[0] - expected)) < 0.02 * float(half_gradient.norm())


def rng(seed):
    return torch.Generator().manual_seed(seed)


def test_frames_follow_each_other_from_where_the_last_ended(person):
    points, *_ = seen(person, {"jawOpen": 0.5})
    solver = FrameSolver(person)
    first = solver.solve(points)
    again = solver.solve(points)
    np.testing.assert_allclose(first.weights, again.weights, atol=0.03)
    solver.reset()
    np.testing.assert_array_equal(solver.solve(points).weights, first.weights)


def test_a_mirrored_picture_gives_mirrored_weights(person):
    """For the average head, which is symmetric."""
    average = PersonModel(CALIBRATION, NAMES, torch.zeros(HEAD.n_identity), focal=FOCAL, image_size=SIZE)
    points, *_ = seen(average, {"mouthSmileLeft": 0.6, "eyeBlinkRight": 0.5})
    mirrored = points[MIRROR["mediapipe478"]].copy()
    mirrored[:, 0] = SIZE[1] - mirrored[:, 0]
    found, across = (dict(zip(NAMES, FrameSolver(average).solve(p).weights.tolist(), strict=True))
                     for p in (points, mirrored))  # fmt: skip
    for name in ("mouthSmileLeft", "eyeBlinkLeft", "browDownLeft"):
        other = name.replace("Left", "Right")
        assert abs(found[name] - across[other]) < 0.03 and abs(found[other] - across[name]) < 0.03


def test_a_persons_own_open_eyes_are_the_measure(person):
    frames = [torch.from_numpy(seen(person, {"eyeBlinkLeft": w, "eyeBlinkRight": w})[0]) for w in (0, 0, 0, 0.9)]
    found = measure_open_eyes(person, frames)
    np.testing.assert_allclose(found, 1, atol=0.1)


def test_the_prior_knows_that_sides_move_together():
    covariance = torch.linalg.inv(expression_precision(NAMES).double())
    spread = covariance.diagonal().sqrt()
    correlation = covariance / (spread[:, None] * spread)
    at = NAMES.index
    assert abs(correlation[at("mouthSmileLeft"), at("mouthSmileRight")] - 0.9) < 1e-3
    assert abs(correlation[at("eyeLookInLeft"), at("eyeLookOutRight")] - 0.9) < 1e-3
    assert abs(correlation[at("jawLeft"), at("jawRight")]) < 1e-3
    assert spread[at("tongueOut")] < 0.05 < spread[at("eyeBlinkLeft")]
    assert torch.linalg.eigvalsh(covariance).min() > 0
