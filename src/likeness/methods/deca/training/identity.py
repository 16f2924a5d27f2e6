"""The face recogniser that DECA asks who is seen: ResNet-50 trained on VGGFace2 (Cao et al. 2018).

Caffe's kind of ResNet: the stride is on the first 1×1 convolution of a block, and the pooling's window may hang over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from likeness.errors import FileFormatError
from likeness.files.safe_pickle import load_pickle
from likeness.methods.deca.networks import IMAGE_SIZE

_MEAN_BGR = (91.4953, 103.8827, 131.0912)
_CUT = 10
_N_PEOPLE = 8631


class IdentityNetwork(nn.Module):
    """Photos to 2048 features, in evaluation mode and frozen. Keys as the official file has them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=0, ceil_mode=True)
        self.layer1 = _stage(64, 64, n_blocks=3, stride=1)
        self.layer2 = _stage(256, 128, n_blocks=4, stride=2)
        self.layer3 = _stage(512, 256, n_blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, n_blocks=3, stride=2)
        self.avgpool = nn.AvgPool2d(7, stride=1)
        self.fc = nn.Linear(2048, _N_PEOPLE)

    def forward(self, images: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B 2048"]:
        """RGB in [0, 1]."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(prepare(images)))))
        return self.avgpool(self.layer4(self.layer3(self.layer2(self.layer1(features))))).flatten(1)

    def train(self, mode: bool = True) -> IdentityNetwork:
        """Never trained: its statistics are the file's."""
        return super().train(False)


class _Bottleneck(nn.Module):
    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_in != 4 * width:
            along = nn.Conv2d(n_in, 4 * width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(along, nn.BatchNorm2d(4 * width))

    def forward(self, features: Tensor) -> Tensor:
        beside = features if self.downsample is None else self.downsample(features)
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + beside)


def prepare(images: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B 3 224 224"]:
    """RGB in [0, 1] to what DECA feeds: BGR bytes less their mean, the rim cut off, and then 2x - 1 of that.

    The last step does not belong there; the authors' identity loss was trained with it.
    """
    bytes_ = images.flip(1) * 255 - images.new_tensor(_MEAN_BGR)[:, None, None]
    cut = bytes_[..., _CUT : IMAGE_SIZE - _CUT, _CUT : IMAGE_SIZE - _CUT]
    return interpolate(2 * cut - 1, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)


def read_identity_network(path: str | Path) -> IdentityNetwork:
    """Read ``resnet50_ft_weight.pkl``. Raises FileFormatError when it holds anything but this network's arrays."""
    content: Any = load_pickle(path)
    network = IdentityNetwork()
    expected = network.state_dict()
    if not isinstance(content, Mapping):
        raise FileFormatError(f"{path}: is no table of arrays, as the VGGFace2 network's file is.")
    for key, tensor in expected.items():
        found = content.get(key)
        counts = key.endswith("num_batches_tracked")
        if not counts and (not isinstance(found, np.ndarray) or found.shape != tuple(tensor.shape)):
            raise FileFormatError(f"{path}: {key} should be an array of shape {tuple(tensor.shape)}.")
    known = {key: torch.from_numpy(np.array(content[key])) for key in expected if key in content}
    network.load_state_dict({**expected, **known})
    return network.eval().requires_grad_(False)


def _stage(n_in: int, width: int, *, n_blocks: int, stride: int) -> nn.Sequential:
    first = _Bottleneck(n_in, width, stride)
    return nn.Sequential(first, *(_Bottleneck(4 * width, width, 1) for _ in range(n_blocks - 1)))
