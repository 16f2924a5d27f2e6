"""Both R-Nets with stand-in weights against numbers recorded from the official ones."""

import json

import numpy as np
import pytest
import torch

from likeness.methods.deep3d.files import tensorflow_key
from likeness.methods.deep3d.networks import RNet, to_input
from methods.deep3d.standin_rnet import GOLDENS, keys
from synthetic_bfm import golden

STAGES = ("layer1", "layer2", "layer3", "layer4")


@pytest.fixture(scope="module")
def crops():
    return torch.from_numpy(golden("rnet_torch")["input_u8"])


@pytest.fixture(scope="module")
def pytorch_features(pytorch_net, crops):
    return pytorch_net, pytorch_net.backbone.features(to_input(crops, "pytorch"))


@pytest.fixture(scope="module")
def tensorflow_features(tensorflow_net, crops):
    return tensorflow_net, tensorflow_net.backbone.features(to_input(crops, "tensorflow"))


@pytest.mark.parametrize(("name", "options"), [("recon", {}), ("recon_resnet18", {"depth": 18})])
def test_keys_and_shapes_are_the_official_ones(name, options):
    found = {key: list(value.shape) for key, value in RNet("pytorch", **options).state_dict().items()}
    assert found == json.loads((GOLDENS / f"keys_{name}.json").read_text())


def test_pytorch_rnet_layer_by_layer(pytorch_features):
    g = golden("rnet_torch")
    net, features = pytorch_features
    for name, found in zip(("maxpool", *STAGES), features, strict=True):
        np.testing.assert_allclose(found.mean((2, 3)), g[f"mean_{name}"], atol=1e-4)
        np.testing.assert_allclose(found[:, :8, :3, :3], g[f"corner_{name}"], atol=1e-4)
    pooled = features[-1].mean((2, 3))
    np.testing.assert_allclose(pooled, g["avgpool"], atol=1e-4)
    np.testing.assert_allclose(net.predict(pooled), g["coeff"], atol=1e-4)


def test_tensorflow_rnet_layer_by_layer(tensorflow_features):
    g = golden("rnet_tf")
    net, features = tensorflow_features
    units = ("block1.unit_3", "block2.unit_4", "block3.unit_6", "block4.unit_3")
    names = ("pool1.MaxPool", *(f"{unit}.bottleneck_v1.Relu" for unit in units))
    for name, found in zip(names, features, strict=True):
        assert list(found.permute(0, 2, 3, 1).shape)[:3] == list(g[f"shape_{name}"])[:3]
        mean, corner = g[f"mean_{name}"], g[f"corner_{name}"]
        # Relative to the spread of the recorded numbers, which are hundreds.
        np.testing.assert_allclose(found.mean((2, 3)), mean, atol=1e-4 * mean.std())
        np.testing.assert_allclose(found.permute(0, 2, 3, 1)[:, :3, :3, :8], corner, atol=1e-4 * corner.std())
    pooled = features[-1].mean((2, 3))
    np.testing.assert_allclose(pooled, g["pool5"], atol=1e-4 * g["pool5"].std())
    np.testing.assert_allclose(net.predict(pooled), g["coeff"], atol=1e-4 * g["coeff"].std())


def test_every_tensorflow_variable_has_one_place():
    places = [tensorflow_key(name) for name in keys("recon_tf")]
    wanted = {key for key in RNet("tensorflow").state_dict() if not key.endswith("num_batches_tracked")}
    assert len(places) == len(set(places)) == 279
    assert set(places) == wanted


@pytest.mark.parametrize(
    "name",
    [
        "concat/axis",
        "resnet_v1_50/Pad/paddings",
        "resnet_v1_50/conv1/biases",
        "resnet_v1_50/conv1/gamma",
        "resnet_v1_50/block1/unit_4/bottleneck_v1/conv1/weights",
        "resnet_v1_50/block1/unit_2/bottleneck_v1/shortcut/weights",
        "resnet_v1_50/block5/unit_1/bottleneck_v1/conv1/weights",
        "fc-id/squeezed",
        "weights",
    ],
)
def test_other_names_have_none(name):
    assert tensorflow_key(name) is None


def test_inputs_differ_in_scale_and_channel_order(crops):
    ours, theirs = to_input(crops, "pytorch"), to_input(crops, "tensorflow")
    torch.testing.assert_close(ours.flip(1) * 255, theirs)
    assert ours.max() <= 1 < theirs.max()
