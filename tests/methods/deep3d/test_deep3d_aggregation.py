"""Weights for several photos of one person, and the network that could learn them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from likeness.errors import FileFormatError, InputError
from likeness.methods.deep3d.aggregation import FLOOR, aggregate, confidence
from likeness.methods.deep3d.cnet import CNet, load_cnet, save_cnet
from methods.deep3d.patterns import pattern


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 1000), st.booleans())
def test_aggregation_is_a_weighted_mean(n, seed, per_coefficient):
    generator = torch.Generator().manual_seed(seed)
    identities = torch.randn(n, 80, generator=generator)
    weights = torch.rand(n, 80 if per_coefficient else 1, generator=generator) + 0.1
    found = aggregate(identities, weights)
    naive = [
        sum(float(weights[j, k if per_coefficient else 0] * identities[j, k]) for j in range(n))
        / sum(float(weights[j, k if per_coefficient else 0]) for j in range(n))
        for k in range(80)
    ]
    np.testing.assert_allclose(found, naive, atol=1e-5)
    torch.testing.assert_close(aggregate(identities, 3 * weights), found)
    torch.testing.assert_close(aggregate(identities, torch.ones(n, 1)), identities.mean(0))


@pytest.mark.parametrize("weights", [torch.zeros(2, 1), torch.tensor([[1.0], [-1]]), torch.ones(3, 1), torch.ones(2)])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(InputError):
        aggregate(torch.zeros(2, 80), weights)


def judge(**changes):
    """The confidence of a sharp, frontal, explained photo, with changes."""
    crop = torch.from_numpy(pattern(224, 224, 1)).permute(2, 0, 1)[None].float() / 255
    given_ = {
        "crops": crop,
        "rendering": crop,
        "mask": torch.ones(1, 224, 224),
        "angles": torch.zeros(1, 3),
        "scale": torch.ones(1),
        "predicted": torch.zeros(1, 68, 2),
        "detected": torch.zeros(1, 68, 2),
    }
    return confidence(**(given_ | {name: change(given_[name]) for name, change in changes.items()}))


def blurred(images):
    return F.avg_pool2d(images, 7, 1, 3, count_include_pad=False)


def occluded(images):
    covered = images.clone()
    covered[:, :, 120:] = torch.tensor([0.1, 0.3, 0.9])[:, None, None]
    return covered


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("pose", {"angles": lambda a: a + torch.tensor([0.0, 0.9, 0.0])}),
        ("resolution", {"scale": lambda s: 4 * s}),
        ("sharpness", {"crops": blurred, "rendering": blurred}),
        ("occlusion", {"crops": occluded}),
        ("landmarks", {"detected": lambda points: points + 8}),
    ],
)
def test_each_fault_lowers_its_own_part(part, changes):
    good, bad = judge(), judge(**changes)
    for name in ("pose", "resolution", "sharpness", "occlusion", "landmarks"):
        if name == part:
            assert float(getattr(bad, name)) < 0.7 * float(getattr(good, name))
        elif not (part == "occlusion" and name == "sharpness"):
            torch.testing.assert_close(getattr(bad, name), getattr(good, name))
    assert FLOOR <= float(bad.total) < float(good.total) <= 1


def test_roll_and_shrinking_cost_nothing():
    rolled = judge(angles=lambda a: a + torch.tensor([0.0, 0.0, 1.0]), scale=lambda s: s / 3)
    torch.testing.assert_close(rolled.total, judge().total)


def test_a_photo_without_face_or_landmarks_still_counts_a_little():
    empty = judge(mask=torch.zeros_like)
    assert float(empty.total) == pytest.approx(FLOOR)
    without = judge(predicted=lambda p: None, detected=lambda p: None)
    assert float(without.landmarks) == 1


def test_cnet_starts_as_plain_averaging_and_has_its_published_size():
    network = CNet()
    found = network(torch.rand(2, 256, 28, 28), torch.rand(2, 2048))
    torch.testing.assert_close(found, torch.full((2, 80), 0.5))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(3e6, rel=0.02)
    assert network(torch.rand(1, 256, 56, 56), torch.rand(1, 2048)).shape == (1, 80)


def test_cnet_learns_whom_to_trust():
    """Photos whose feature says "noisy" carry noise: after some steps the set's identity is nearer to the truth."""
    torch.manual_seed(0)
    network = CNet()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def sample(n_sets):
        truth = torch.randn(n_sets, 1, 80)
        noisy = (torch.rand(n_sets, 4, 1) < 0.5).float()
        seen = truth + torch.randn(n_sets, 4, 80) * (0.1 + 2 * noisy)
        pooled = torch.rand(n_sets, 4, 2048) * 0.1
        pooled[..., :64] += noisy
        return truth[:, 0], seen, pooled

    def error(n_sets):
        truth, seen, pooled = sample(n_sets)
        early = torch.zeros(n_sets * 4, 256, 4, 4)
        weights = network(early, pooled.flatten(0, 1)).unflatten(0, (n_sets, 4))
        mean = (weights * seen).sum(1) / weights.sum(1)
        return (mean - truth).square().mean()

    before = error(64).item()
    for _ in range(40):
        optimiser.zero_grad()
        error(16).backward()
        optimiser.step()
    assert error(64).item() < 0.5 * before


def test_cnet_is_saved_and_loaded_for_its_own_rnet(tmp_path):
    network = CNet()
    torch.nn.init.normal_(network.last.weight)
    save_cnet(tmp_path / "cnet.safetensors", network, variant="tensorflow")
    again = load_cnet(tmp_path / "cnet.safetensors", variant="tensorflow")
    inputs = torch.rand(1, 256, 8, 8), torch.rand(1, 2048)
    torch.testing.assert_close(again(*inputs), network(*inputs))
    with pytest.raises(FileFormatError, match="trained on the tensorflow R-Net"):
        load_cnet(tmp_path / "cnet.safetensors", variant="pytorch")
