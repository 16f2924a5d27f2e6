import json

import pytest
import torch

from likeness.methods.inorig.network import InorigNetwork
from likeness.methods.inorig.observation import normalised, regress_pose
from likeness.methods.inorig.step_sizes import outputs_to_steps
from methods.inorig.recorded import FOLDER, crops, error, golden, network, observation, state, tensor

# Noise of the recording itself (threads, inputs perturbed by 1e-6) is 3e-6.
TOLERANCE = 2e-5


def test_the_state_dict_has_the_official_keys_and_shapes():
    keys = json.loads((FOLDER / "keys.json").read_text())
    with torch.device("meta"):
        own = InorigNetwork().state_dict()
    assert {key: list(value.shape) for key, value in own.items()} == keys
    assert len(keys) == 1008


def test_pose_regressor():
    assert error(regress_pose(network(), crops()), "nets", "pose") < TOLERANCE


@pytest.mark.parametrize("name", ["regressor.rgb_net", "rgb_net", "albedo_net"])
def test_backbones(name):
    backbone = network().regressor.rgb_net if "." in name else network().opt_layer.get_submodule(name)
    with torch.no_grad():
        features = backbone(normalised(crops()))
    assert [error(f, "nets", f"{name}.x{i}") for i, f in enumerate(features)] == pytest.approx(
        [0] * len(features), abs=TOLERANCE
    )


def test_folded_backbones_are_the_unfolded_ones():
    with torch.device("meta"):
        plain = InorigNetwork()
    plain.load_state_dict(state(), assign=True)
    plain.eval()
    with torch.no_grad():
        expected = plain.opt_layer.albedo_net(normalised(crops()[:1]))
        found = network().opt_layer.albedo_net(normalised(crops()[:1]))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5 * float(b.abs().max()), rtol=0)


@pytest.mark.parametrize(("kind", "name"), [("compared", "fpn"), ("shape_features", "basis_fpn")])
def test_pyramids(kind, name):
    for level, maps in enumerate(getattr(observation(), kind)):
        assert error(maps.values.permute(0, 3, 1, 2), "nets", f"{name}.{level + 2}") < TOLERANCE


def test_albedo_pyramid():
    layers = network().opt_layer
    with torch.no_grad():
        outputs = layers.albedo_fpn(layers.albedo_net(normalised(crops()))[1:])
    for level, maps in enumerate(outputs):
        assert error(maps, "nets", f"albedo_fpn.{level}") < TOLERANCE
    # Each level of the descent reads these: the first is never used, the last twice.
    for maps, output in zip(observation().albedo_features, (outputs[1], outputs[2], outputs[2]), strict=True):
        assert torch.equal(maps.values.permute(0, 3, 1, 2), output)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_step_networks(level):
    file = golden("nets")
    summary = torch.from_numpy(file["step_feat"]), torch.from_numpy(file["step_land"])
    with torch.no_grad():
        raw = network().opt_layer.get_submodule(f"step_net{level + 2}")(torch.cat(summary, 1))[0]
        tint = network().opt_layer.get_submodule(f"ap_step_net{level}")(torch.from_numpy(file["step_color"]))[0]
    steps = outputs_to_steps(level, raw, tint)
    assert error(raw, "nets", f"step_raw_level{level}") < TOLERANCE
    found = torch.stack([steps.identity, steps.pose, steps.expression, steps.space])
    torch.testing.assert_close(found, tensor("nets", f"step_level{level}"), rtol=TOLERANCE, atol=0)
    assert error(steps.albedo, "nets", f"ap_step_level{level}") < TOLERANCE
