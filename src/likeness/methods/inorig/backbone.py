"""The DRN-D backbone (Yu, Koltun, Funkhouser 2017) as INORig uses it: strides of two all the way, no dilation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from likeness.methods.inorig.layers import conv3x3

WIDTHS = (64, 128, 256, 512)
BLOCKS_DRN22 = (2, 2, 2, 2)
BLOCKS_DRN38 = (3, 4, 6, 3)


class Backbone(nn.Module):
    """Photo (B, 3, 256, 256) → features from fine to coarse: x0 (256²), x1 (128²), … x6 (4²).

    ``truncated`` stops after block 4, whose 16² features are then the top.
    """

    def __init__(self, n_blocks: Sequence[int], *, truncated: bool = False) -> None:
        super().__init__()
        self.block0 = nn.Sequential(_unit(3, 16, kernel=7), _unit(16, 16))
        self.block1 = _unit(16, 32, stride=2)
        self.stages = ["block0", "block1"]
        widths = (32, *WIDTHS)
        for stage in range(3 if truncated else 4):
            name = f"block{stage + 2}"
            self.add_module(name, _stage(widths[stage], widths[stage + 1], n_blocks[stage]))
            self.stages.append(name)
        if not truncated:
            self.block6 = nn.Sequential(_unit(512, 512, stride=2), _unit(512, 512))
            self.stages.append("block6")

    def forward(self, photos: Float[Tensor, "B 3 256 256"]) -> list[Float[Tensor, "B _ _ _"]]:
        features = []
        x = photos
        for name in self.stages:
            x = self.get_submodule(name)(x)
            features.append(x)
        return features


class ResidualBlock(nn.Module):
    """conv, batch norm, ReLU, conv, batch norm, + skip, ReLU."""

    def __init__(self, n_in: int, n_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(n_in, n_out, stride=stride)
        self.bn1: nn.Module = nn.BatchNorm2d(n_out)
        self.conv2 = conv3x3(n_out, n_out)
        self.bn2: nn.Module = nn.BatchNorm2d(n_out)
        if stride != 1 or n_in != n_out:
            skip = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(n_out))
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.downsample(x))


@torch.no_grad()
def fold_batch_norms(backbone: Backbone) -> None:
    """Merge every batch norm into the convolution before it, in place: the same function, faster.

    Afterwards the state dict no longer has the official keys, so load the checkpoint first.
    """
    for module in list(backbone.modules()):
        if isinstance(module, ResidualBlock):
            module.conv1, module.bn1 = _folded(module.conv1, module.bn1), nn.Identity()
            module.conv2, module.bn2 = _folded(module.conv2, module.bn2), nn.Identity()
        elif isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            module[0], module[1] = _folded(module[0], module[1]), nn.Identity()


def _folded(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, norm)


def _unit(n_in: int, n_out: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


def _stage(n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
    first = ResidualBlock(n_in, n_out, stride=2)
    return nn.Sequential(first, *(ResidualBlock(n_out, n_out) for _ in range(n_blocks - 1)))
