"""The two residual blocks INORig is built from. No convolution has a bias."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

N_GROUPS = 4


def conv3x3(n_in: int, n_out: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size (up to the stride)."""
    return nn.Conv2d(n_in, n_out, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def conv1x1(n_in: int, n_out: int) -> nn.Conv2d:
    """A linear map of the channels, pixel by pixel."""
    return nn.Conv2d(n_in, n_out, 1, bias=False)


def up2() -> nn.Upsample:
    """Twice the size by repeating pixels."""
    return nn.Upsample(scale_factor=2, mode="nearest")


class NormalisedBlock(nn.Module):
    """conv, group norm, ReLU, conv, group norm, + skip, ReLU; the encoders and pyramids are made of it."""

    def __init__(self, n_in: int, n_out: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(n_in, n_out, dilation=dilation)
        self.bn1 = nn.GroupNorm(N_GROUPS, n_out)
        self.conv2 = conv3x3(n_out, n_out, dilation=dilation)
        self.bn2 = nn.GroupNorm(N_GROUPS, n_out)
        if n_in != n_out:
            self.downsample = nn.Sequential(conv1x1(n_in, n_out), nn.GroupNorm(N_GROUPS, n_out))
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O H W"]:
        inner = F.relu(self.bn1(self.conv1(x)), inplace=not torch.is_grad_enabled())
        return F.relu(self.bn2(self.conv2(inner)) + self.downsample(x))


class PlainBlock(nn.Module):
    """conv, SELU, conv, + skip, SELU; the generators of geometry and albedo are made of it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(n_in, n_out)
        self.conv2 = conv3x3(n_out, n_out)
        self.downsample = conv1x1(n_in, n_out) if n_in != n_out else nn.Identity()

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O H W"]:
        return F.selu(self.conv2(F.selu(self.conv1(x))) + self.downsample(x))


class CodeToMap(nn.Module):
    """A code (B, n_code) → a map (B, C, S/4, S/4), by a linear layer and SELU. Its key is ``0.weight``."""

    def __init__(self, n_code: int, n_channels: int, size: int) -> None:
        super().__init__()
        self.shape = (n_channels, size // 4, size // 4)
        self.add_module("0", nn.Linear(n_code, n_channels * (size // 4) ** 2, bias=False))

    def forward(self, code: Float[Tensor, "B K"]) -> Float[Tensor, "B C s s"]:
        return F.selu(self.get_submodule("0")(code)).unflatten(-1, self.shape)


def growing_trunk(n_channels: int) -> nn.Sequential:
    """Three plain blocks with two doublings between them: S/4 → S."""
    return nn.Sequential(
        PlainBlock(n_channels, n_channels),
        up2(),
        PlainBlock(n_channels, n_channels),
        up2(),
        PlainBlock(n_channels, n_channels),
    )
