"""DECA's networks, drawn as the official checkpoint stores them.

Feng, Feng, Black, Bolkart, *Learning an Animatable Detailed 3D Face Model from In-The-Wild Images*, SIGGRAPH 2021,
section 4: two encoders (ResNet-50 and a two-layer head) and the decoder of the displacement map.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

IMAGE_SIZE = 224
N_CODE = 236
N_DETAIL = 128
N_JAW, N_EXPRESSION = 3, 50
# The network ends in tanh; its maps reach one centimetre.
MAX_DISPLACEMENT_M = 0.01


class Encoder(nn.Module):
    """A photo's crop to a code. RGB in [0, 1] without normalisation."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.encoder = ResNet50()
        self.layers = nn.Sequential(nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, n_out))

    def forward(self, images: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B C"]:
        return self.layers(self.encoder(images))


class ResNet50(nn.Module):
    """He et al. 2015, with the stride on the 3×3 convolution; up to the average over 7 × 7, without a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, n_blocks=3, stride=1)
        self.layer2 = _stage(256, 128, n_blocks=4, stride=2)
        self.layer3 = _stage(512, 256, n_blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, n_blocks=3, stride=2)
        self.avgpool = nn.AvgPool2d(7, stride=1)

    def forward(self, images: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B 2048"]:
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.avgpool(features).flatten(1)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 to four times the width, beside the identity."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = 4 * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, features: Tensor) -> Tensor:
        beside = features if self.downsample is None else self.downsample(features)
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + beside)


class DetailDecoder(nn.Module):
    """Jaw rotation, expression and detail code to a displacement map in UV, metres along the surface normal."""

    def __init__(self) -> None:
        super().__init__()
        self.l1 = nn.Sequential(nn.Linear(N_JAW + N_EXPRESSION + N_DETAIL, 128 * 8 * 8))
        layers: list[nn.Module] = [nn.BatchNorm2d(128)]
        for n_in, n_out in ((128, 128), (128, 64), (64, 64), (64, 32), (32, 16)):
            layers += [
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.Conv2d(n_in, n_out, 3, padding=1),
                # 0.8 was meant as a momentum and stands where epsilon stands; the released weights know it so.
                nn.BatchNorm2d(n_out, eps=0.8),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.conv_blocks = nn.Sequential(*layers, nn.Conv2d(16, 1, 3, padding=1), nn.Tanh())

    def forward(
        self,
        jaw: Float[Tensor, "B 3"],
        expression: Float[Tensor, "B 50"],
        detail: Float[Tensor, "B 128"],
    ) -> Float[Tensor, "B 1 256 256"]:
        seed = self.l1(torch.cat([jaw, expression, detail], 1)).view(-1, 128, 8, 8)
        return self.conv_blocks(seed) * MAX_DISPLACEMENT_M


def _stage(n_in: int, width: int, *, n_blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(n_in, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(n_blocks - 1)))
