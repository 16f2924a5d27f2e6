"""The generator of displacement maps: pix2pixHD's global generator (Wang et al., CVPR 2018, §3.1), as FaceScape sized
it.

Photo texture (and, for the rig, a deforming map) in; one channel in (−1, 1) out. Written from the architecture's
description with the official checkpoint's key names, so that its file loads strictly.
"""

from __future__ import annotations

import itertools
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

Precision = Literal["float32", "fast"]

_WIDTH = 64
_N_DOWNSAMPLINGS = 4
_N_BLOCKS = 9


class ResidualBlock(nn.Module):
    """x + IN(conv(ReLU(IN(conv(x))))), reflection-padded; no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class DisplacementGenerator(nn.Module):
    """``n_inputs`` channels, 3 for a photo's texture, 6 with a deforming map, in [−1, 1] → one channel in (−1, 1).

    Instance norm has neither parameters nor running statistics, so training and evaluation mode are the same.
    """

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.model = nn.Sequential(*_layers(n_inputs))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H2 W2"]:
        """H2 and W2 are H and W rounded up to multiples of 16."""
        return self.model(x)


def _layers(n_inputs: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(n_inputs, _WIDTH, 7), *_normalised(_WIDTH)]
    widths = [_WIDTH * 2**i for i in range(_N_DOWNSAMPLINGS + 1)]
    for narrow, wide in itertools.pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), *_normalised(wide)]
    layers += [ResidualBlock(widths[-1]) for _ in range(_N_BLOCKS)]
    for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1), *_normalised(narrow)]
    return [*layers, nn.ReflectionPad2d(3), nn.Conv2d(_WIDTH, 1, 7), nn.Tanh()]


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU()]
