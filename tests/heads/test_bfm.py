import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import InputError
from likeness.heads import Head
from likeness.heads.bfm import BfmHead
from likeness.heads.bfm_chart import cylindrical_uv
from synthetic_bfm import front_model


@pytest.fixture(scope="module")
def head():
    return BfmHead(front_model().model)


def test_it_is_a_head_in_millimetres_about_its_centre(head):
    assert isinstance(head, Head)
    average = head.vertices(torch.zeros(1, 80))[0]
    assert average.mean(0).abs().max() < 1e-3
    # The stand-in face is 1.56 dm wide.
    assert np.ptp(average[:, 0].numpy()) == pytest.approx(156, abs=0.1)


def test_a_coefficient_of_one_is_one_standard_deviation(head):
    model = front_model().model
    identity, expression = torch.zeros(2, 80), torch.zeros(2, 64)
    identity[0, 3], expression[1, 5] = 1, 1
    moved = head.vertices(identity, expression) - head.vertices(torch.zeros(2, 80))
    np.testing.assert_allclose(moved[0], model.identity_basis[..., 3] * 100, atol=1e-4)
    np.testing.assert_allclose(moved[1], model.expression_basis[..., 5] * 100, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.floats(-2, 2)] * 3), st.integers(0, 1000))
def test_the_joint_turns_the_head_about_the_origin(rotation, seed):
    small = BfmHead(front_model().model)
    generator = torch.Generator().manual_seed(seed)
    identity = torch.randn(1, 80, generator=generator)
    offsets = torch.randn(len(front_model().model.mean), 3, generator=generator)
    rest = small.vertices(identity, None, None, offsets)
    turned = small.vertices(identity, None, torch.tensor([[rotation]]), offsets)
    # Distances to the origin stay: float32 at 100 mm.
    torch.testing.assert_close(turned.norm(dim=-1), rest.norm(dim=-1), atol=1e-3, rtol=1e-5)


def test_gradients_reach_every_input(head):
    inputs = [torch.zeros(1, n, requires_grad=True) for n in (80, 64)]
    joints = torch.zeros(1, 1, 3, requires_grad=True)
    (head.vertices(*inputs, joints)[0, 100] * torch.tensor([1.0, 2, 3])).sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in (*inputs, joints))


def test_landmarks_sit_on_the_named_vertices(head):
    average = head.vertices(torch.zeros(1, 80))[0]
    torch.testing.assert_close(
        head.embeddings["ibug68"].points(average), average[torch.from_numpy(front_model().model.landmarks)]
    )


def test_albedo_is_mean_plus_basis(head):
    model = front_model().model
    coefficients = torch.zeros(1, 80)
    coefficients[0, 2] = 0.5
    expected = (model.mean_albedo + 0.5 * model.albedo_basis[..., 2]) / 255
    np.testing.assert_allclose(head.albedo(coefficients)[0], expected, atol=1e-6)


def test_the_chart_stays_inside_and_keeps_the_winding(head):
    uv = cylindrical_uv(front_model().model.mean)
    assert uv.min() >= 0.02 - 1e-6
    assert uv.max() <= 0.98 + 1e-6
    a, b, c = (uv[head.topology.triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    # Counter-clockwise in the chart too, so that no texture appears mirrored.
    assert (area > 0).mean() > 0.99


def test_wrong_sizes_are_named(head):
    with pytest.raises(InputError, match="identity"):
        head.vertices(torch.zeros(1, 79))
    with pytest.raises(InputError, match="expression"):
        head.vertices(torch.zeros(1, 80), torch.zeros(1, 80))


def test_landmarks_carried_from_the_open_head_land_where_they_are_on_it():
    """A "Basel" model that is the open head itself, known by twelve points or by all: others must come out right."""
    from dataclasses import replace

    from likeness.heads import load_head
    from likeness.heads.bfm_h5 import IBUG68_OF_NAMES
    from likeness.heads.bfm_landmarks import bfm_embeddings

    source = load_head("open")
    average = source.vertices(torch.zeros(1, source.n_identity))[0]
    known = source.embeddings["ibug68"].points(average)
    nearest = torch.cdist(known, average).argmin(1).numpy()
    empty = np.zeros((len(average), 3, 0), np.float32)
    model = replace(
        front_model().model,
        mean=average.numpy() * 3 + 7,
        millimetres=1 / 3,
        triangles=source.topology.triangles,
        identity_basis=empty,
        landmarks=nearest,
    )
    by_names = replace(model, landmarks=None, anchors={k: int(nearest[k]) for k in IBUG68_OF_NAMES.values()})
    surface = torch.from_numpy((model.mean - model.centre) / 3)
    for each, limit in ((model, 2.0), (by_names, 4.0)):
        embeddings = bfm_embeddings(each)
        for convention in ("ibug68", "mediapipe478"):
            found = embeddings[convention].points(surface)
            expected = source.embeddings[convention].points(surface)
            # Limits in mm: the nearest vertex is up to 2 mm from a landmark, and spline and surface add to it.
            assert (found - expected).norm(dim=1).median() < limit
    assert not bfm_embeddings(replace(model, landmarks=None))
