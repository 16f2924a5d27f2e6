"""The generators: recorded numbers, strict loading, and the fast twin held to the plain one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import standin
from likeness.errors import AssetError
from likeness.methods.facescape.displacement import STEP_MM, output_to_map, output_to_mm, steps_to_mm
from likeness.methods.facescape.fast_generator import FastGenerator, _team, winograd_convolution, winograd_filters
from likeness.methods.facescape.generator import DisplacementGenerator, ResidualBlock, load_generator
from likeness.methods.facescape.network_input import to_tensor

GOLDENS = Path(__file__).parents[2] / "goldens" / "facescape"


@pytest.fixture(scope="module")
def single() -> DisplacementGenerator:
    return standin.fill(DisplacementGenerator(3), "facescape").requires_grad_(False)


@pytest.mark.parametrize(("name", "n_inputs"), [("single", 3), ("rig", 6)])
def test_state_dict_is_the_official_one(name, n_inputs):
    expected = json.loads((GOLDENS / f"keys_dpmap_{name}.json").read_text())
    with torch.device("meta"):
        found = DisplacementGenerator(n_inputs).state_dict()
    assert {key: list(tensor.shape) for key, tensor in found.items()} == expected


def check_recorded(generator, numbers) -> None:
    x = torch.from_numpy(numbers["input_1"]).float()
    with torch.no_grad():
        activation = x
        for i, layer in enumerate(generator.model):
            activation = layer(activation)
            assert tuple(activation.shape) == tuple(numbers["layer_shape_1"][i])
            scale = numbers["layer_mean_abs_1"][i]
            probe = activation[0, 0, :4, :4].numpy()
            np.testing.assert_allclose(probe, numbers["layer_probe_1"][i], atol=1e-3 * max(scale, 1e-3))
    np.testing.assert_allclose(activation, numbers["output_1"], atol=1e-4)


@pytest.mark.slow
def test_single_and_its_fast_twin_give_the_recorded_numbers(single):
    numbers = np.load(GOLDENS / "generator_single.npz")
    check_recorded(single, numbers)
    threads = torch.get_num_threads()
    found = FastGenerator(single)(torch.from_numpy(numbers["input_1"]).float())
    np.testing.assert_allclose(found, numbers["output_1"], atol=1e-4)
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_rig_gives_the_recorded_numbers():
    generator = standin.fill(DisplacementGenerator(6), "facescape").requires_grad_(False)
    check_recorded(generator, np.load(GOLDENS / "generator_rig.npz"))


@pytest.mark.slow
def test_from_network_input_to_16_bit_map(single):
    numbers = np.load(GOLDENS / "dpmap_e2e.npz")
    image = np.asarray(Image.open(GOLDENS / "net_input_rgb.png"))
    output = FastGenerator(single)(to_tensor(image))[0, 0]
    np.testing.assert_allclose(output[::8, ::8], numbers["net_output_stride8"], atol=2e-3)
    for (row, column), expected in zip(numbers["net_output_windows_at"], numbers["net_output_windows"], strict=True):
        found = output[row : row + 160 : 4, column : column + 160 : 4]
        np.testing.assert_allclose(found, expected, atol=2e-3)
    canvas = output_to_map(output).astype(int)
    assert canvas[0, 0] == numbers["outside_value"]
    assert np.abs(canvas[::32, ::32] - numbers["dpmap_stride32"]).max() <= 64
    for (row, column), expected in zip(numbers["dpmap_windows_at"], numbers["dpmap_windows"], strict=True):
        assert np.abs(canvas[row : row + 160 : 4, column : column + 160 : 4] - expected).max() <= 64
    # In mm without 16 bit's steps: no further off than those are long.
    difference = output_to_mm(output).numpy() - steps_to_mm(output_to_map(output))
    assert np.abs(difference[600:2500, 1100:3000]).max() <= 2 * STEP_MM


@pytest.mark.parametrize("size", [(8, 8), (13, 7), (5, 30)])
@pytest.mark.parametrize("cut", [True, False])
def test_winograd_equals_the_plain_convolution(size, cut):
    torch.manual_seed(0)
    x, layer = torch.randn(1, 6, *size), nn.Conv2d(6, 10, 3)
    plain = nn.Sequential(nn.ReflectionPad2d(1), layer, nn.InstanceNorm2d(10), nn.ReLU() if cut else nn.Identity())
    with torch.no_grad(), _team(2) as team:
        found = winograd_convolution(team, x, winograd_filters(layer.weight), 10, cut=cut)
        # Winograd's sums are larger than their result; float32 keeps some five digits.
        torch.testing.assert_close(found, plain(x), atol=2e-4, rtol=1e-4)


def test_residual_block_adds_its_input():
    block = ResidualBlock(4)
    for layer in block.conv_block:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    x = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(block(x), x)


def test_a_checkpoint_of_the_other_network_is_refused_by_name(tmp_path):
    path = tmp_path / "dpmap_single_net_G.pth"
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in DisplacementGenerator(6).state_dict().items()}
    # Expanded zeros: the right shapes at no size.
    torch.save({key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}, path)
    with pytest.raises(AssetError, match=r"model\.1\.weight is \(64, 6, 7, 7\), not \(64, 3, 7, 7\)"):
        load_generator(path, 3)
    load_generator(path, 6)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"cos\nsystem\n(S'true'\ntR."])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "dpmap_rig_net_G.pth"
    path.write_bytes(content)
    with pytest.raises(AssetError):
        load_generator(path, 6)
