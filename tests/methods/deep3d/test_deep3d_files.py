"""Official weight files: read strictly, and told apart."""

import numpy as np
import pytest
import torch

import standin
from likeness.errors import AssetError, FileFormatError
from likeness.methods.deep3d.files import load_rnet, read_weights
from likeness.methods.deep3d.networks import to_input
from methods.deep3d.standin_rnet import SALT, pytorch_state, write_tensorflow
from synthetic_bfm import golden

BLOCK = "resnet_v1_50/block{}/unit_{}/bottleneck_v1/conv2/Conv2D"


@pytest.fixture(scope="module")
def crops():
    return torch.from_numpy(golden("rnet_torch")["input_u8"][:1])


def small(path, state):
    """A checkpoint; ResNet-18, because it is small."""
    torch.save({"net_recon": state}, path)
    return path


@pytest.fixture
def state18():
    return {key: value.clone() for key, value in pytorch_state("recon_resnet18").items()}


def test_tensorflow_file_gives_the_recorded_coefficients(tensorflow_net, crops):
    net = tensorflow_net
    recorded = golden("rnet_tf")["coeff"]
    np.testing.assert_allclose(net(to_input(crops, net.variant)), recorded[:1], atol=1e-4 * recorded.std())


def test_pytorch_file_gives_the_recorded_coefficients(pytorch_net, crops):
    net = pytorch_net
    assert net.variant == "pytorch"
    np.testing.assert_allclose(net(to_input(crops, net.variant)), golden("rnet_torch")["coeff"][:1], atol=1e-4)


def test_the_other_rnet_is_refused_by_name(pb, pth, tmp_path):
    with pytest.raises(AssetError, match="holds the TensorFlow R-Net, not the PyTorch R-Net"):
        load_rnet(pb, variant="pytorch")
    with pytest.raises(AssetError, match="holds the PyTorch R-Net, not the TensorFlow R-Net"):
        load_rnet(pth, variant="tensorflow")
    # Content counts, not the ending.
    renamed = tmp_path / "epoch_20.pth"
    renamed.symlink_to(pb)
    with pytest.raises(AssetError, match="holds the TensorFlow R-Net"):
        load_rnet(renamed, variant="pytorch")


@pytest.mark.slow
def test_white_light_graphs_load(tmp_path, crops):
    net = load_rnet(write_tensorflow(tmp_path / "white.pb", light=9))
    assert net(to_input(crops, "tensorflow")).shape == (1, 239)


@pytest.mark.slow
def test_a_graph_that_strides_like_pytorch_is_refused(tmp_path):
    path = write_tensorflow(tmp_path / "swapped.pb", strides={BLOCK.format(2, 1): 2})
    with pytest.raises(AssetError, match=r"block 2, unit 1 strides by 2.*may be the PyTorch R-Net's weights"):
        load_rnet(path)


def test_a_graph_of_something_else_is_refused(tmp_path):
    from methods.deep3d.standin_rnet import constant

    (tmp_path / "landmarks.pb").write_bytes(constant("conv/weights", np.ones((2, 2), np.float32)))
    with pytest.raises(AssetError, match="without R-Net's variables"):
        load_rnet(tmp_path / "landmarks.pb")
    (tmp_path / "half.pb").write_bytes(constant("fc-id/biases", np.ones(80, np.float32)))
    with pytest.raises(AssetError, match="heads predict"):
        load_rnet(tmp_path / "half.pb")


def test_resnet18_is_told_by_its_keys(tmp_path, state18, crops):
    net = load_rnet(small(tmp_path / "e.pth", state18))
    found = net(to_input(crops, "pytorch"))
    np.testing.assert_allclose(found, golden("rnet_torch")["coeff_resnet18"][:1], atol=1e-4)


@pytest.mark.slow
def test_a_single_layer_head_is_told_by_its_key(tmp_path, crops):
    trunk = {key: value for key, value in pytorch_state().items() if not key.startswith("final_layers")}
    head = {"backbone.fc.weight": [257, 2048], "backbone.fc.bias": [257]}
    state = trunk | standin.state_dict(head, SALT)
    found = load_rnet(small(tmp_path / "e.pth", state))(to_input(crops, "pytorch"))
    np.testing.assert_allclose(found, golden("rnet_torch")["coeff_last_fc"][:1], atol=1e-4)


@pytest.mark.parametrize("trace", ["names", "batches", "brightness"])
def test_converted_tensorflow_weights_are_refused(tmp_path, state18, trace):
    if trace == "names":
        state18["fc-id/weights"] = torch.zeros(1)
    elif trace == "batches":
        state18 = {key: value for key, value in state18.items() if not key.endswith("num_batches_tracked")}
    else:
        # What pixels up to 255 with a standard deviation of 60 leave behind a blur (Σ|w| = 1) in every other channel.
        state18["backbone.conv1.weight"][::2] = 1 / 147
        state18["backbone.bn1.running_var"][::2] = 60.0**2
    with pytest.raises(AssetError, match=r"weights of the TensorFlow R-Net converted to a PyTorch file"):
        load_rnet(small(tmp_path / "e.pth", state18))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net_recog": {}}, "entries net_recog"),
        ({"E_flame": {}, "E_detail": {}}, "DECA's checkpoint"),
        ({"opt_layer.fpn.weight": torch.zeros(1)}, "INORig's checkpoint"),
        ({"layer1.0.prelu.weight": torch.zeros(1)}, "ArcFace"),
        ({"layer4.2.conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}, "ImageNet ResNet"),
        ({"backbone.conv1.weight": torch.zeros(1)}, "bare state dict"),
        (torch.zeros(3), "a Tensor"),
    ],
)
def test_other_checkpoints_are_named(tmp_path, content, message):
    torch.save(content, tmp_path / "e.pth")
    with pytest.raises(AssetError, match=message):
        read_weights(tmp_path / "e.pth")


def test_loading_is_strict(tmp_path, state18):
    extra = {**state18, "backbone.more": torch.zeros(1)}
    with pytest.raises(AssetError, match=r"has besides backbone\.more"):
        load_rnet(small(tmp_path / "e.pth", extra))
    less = {key: value for key, value in state18.items() if key != "backbone.layer2.0.conv1.weight"}
    with pytest.raises(AssetError, match=r"lacks backbone\.layer2\.0\.conv1\.weight"):
        load_rnet(small(tmp_path / "e.pth", less))
    wrong = {**state18, "backbone.conv1.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(AssetError, match="has shape"):
        load_rnet(small(tmp_path / "e.pth", wrong))
    wrong = {**state18, "backbone.bn1.bias": torch.full((64,), torch.nan)}
    with pytest.raises(FileFormatError, match="not finite"):
        load_rnet(small(tmp_path / "e.pth", wrong))
    wrong = {**state18, "final_layers.4.bias": torch.zeros(18)}
    with pytest.raises(AssetError, match="heads predict"):
        load_rnet(small(tmp_path / "e.pth", wrong))


class Runs:
    def __reduce__(self):
        return print, ("this ran",)


def test_programs_in_pickles_do_not_run(tmp_path, capsys):
    torch.save({"net_recon": Runs()}, tmp_path / "evil.pth")
    with pytest.raises(FileFormatError, match="plain tensors"):
        load_rnet(tmp_path / "evil.pth")
    assert "this ran" not in capsys.readouterr().out


def test_broken_files_are_refused(tmp_path, state18):
    whole = small(tmp_path / "e.pth", state18).read_bytes()
    for content in (b"", b"PK\x03\x04", whole[: len(whole) // 2], b"\x80\x02}", b"hello", b"\n\xff\xff\xff\xff\x0f"):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises((FileFormatError, AssetError)):
            load_rnet(tmp_path / "broken")
    with pytest.raises(FileFormatError, match="no such file"):
        load_rnet(tmp_path / "none")
