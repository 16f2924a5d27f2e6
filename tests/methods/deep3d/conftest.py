"""Files and networks with stand-in weights, made once."""

import pytest

from likeness.methods.deep3d.files import load_rnet
from methods.deep3d.standin_rnet import write_pytorch, write_tensorflow

BLOCK = "resnet_v1_50/block{}/unit_{}/bottleneck_v1/conv2/Conv2D"


@pytest.fixture(scope="session")
def pb(tmp_path_factory):
    """``FaceReconModel.pb`` with some of its convolution nodes, where slim strides and where it does not."""
    strides = {BLOCK.format(1, 3): 2, BLOCK.format(1, 2): 1, BLOCK.format(4, 3): 1}
    return write_tensorflow(tmp_path_factory.mktemp("pb") / "FaceReconModel.pb", strides=strides)


@pytest.fixture(scope="session")
def pth(tmp_path_factory):
    """``epoch_20.pth``."""
    return write_pytorch(tmp_path_factory.mktemp("pth") / "epoch_20.pth")


@pytest.fixture(scope="session")
def tensorflow_net(pb):
    return load_rnet(pb, variant="tensorflow")


@pytest.fixture(scope="session")
def pytorch_net(pth):
    return load_rnet(pth, variant="pytorch")
