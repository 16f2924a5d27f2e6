"""R-Net: a ResNet trunk, and one linear head for each group of coefficients on its pooled feature.

The PyTorch repository uses torchvision's ResNet-50, the TensorFlow one slim's ``resnet_v1_50``. Their tensors have the
same shapes, one by one, but the networks differ: slim strides in the *last* unit of a block, not in the first, pads its
max-pool on two sides only, and is fed BGR from 0 to 255 instead of RGB from 0 to 1.

He et al., *Deep residual learning*, 2016; Deng et al. 2019. Keys are those of the official PyTorch checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.methods.deep3d.coefficients import HEAD_SIZES, N_COEFFICIENTS

Variant = Literal["pytorch", "tensorflow"]
_WIDTHS = (64, 128, 256, 512)
_EPSILON = 1e-5


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 and a shortcut. Where slim strides in a unit that has no convolution on its shortcut, it takes
    every second pixel."""

    expansion = 4

    def __init__(self, n_in: int, width: int, *, stride: int, shortcut_stride: int | None) -> None:
        super().__init__()
        n_out = width * self.expansion
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, _EPSILON)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, _EPSILON)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out, _EPSILON)
        self.downsample = None if shortcut_stride is None else _shortcut(n_in, n_out, shortcut_stride)
        self.stride = stride

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        shortcut = x[:, :, :: self.stride, :: self.stride] if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class BasicBlock(nn.Module):
    """Two 3×3 and a shortcut, for ResNet-18."""

    expansion = 1

    def __init__(self, n_in: int, width: int, *, stride: int, shortcut_stride: int | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, _EPSILON)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, _EPSILON)
        self.downsample = None if shortcut_stride is None else _shortcut(n_in, width, shortcut_stride)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class Trunk(nn.Module):
    """ResNet without its classifier: (B, 3, 224, 224) → the pooled feature (B, 2048), or 512 for ResNet-18.

    ``fc`` is the one layer on the feature that some checkpoints have here; `RNet` applies it.
    """

    def __init__(self, variant: Variant, depth: Literal[18, 50] = 50, *, n_outputs: int = 0) -> None:
        super().__init__()
        block, units = (Bottleneck, (3, 4, 6, 3)) if depth == 50 else (BasicBlock, (2, 2, 2, 2))
        self.variant = variant
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, _EPSILON)
        stages, n_in = [], 64
        for stage in range(4):
            stages.append(_stage(variant, block, stage, n_in, units[stage]))
            n_in = _WIDTHS[stage] * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.n_features = n_in
        self.fc = nn.Linear(n_in, n_outputs) if n_outputs else None

    def forward(self, x: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B F"]:
        return self.features(x)[-1].mean((2, 3))

    def features(self, x: Float[Tensor, "B 3 224 224"]) -> list[Float[Tensor, "B C h w"]]:
        """What the pooled stem and the four stages give."""
        x = F.relu(self.bn1(self.conv1(x)))
        found = [self.pool(x)]
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            found.append(stage(found[-1]))
        return found

    def pool(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """3×3 max with stride 2. TensorFlow's SAME pads right and below; after a ReLU zeros change no maximum."""
        if self.variant == "tensorflow":
            return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)
        return F.max_pool2d(x, 3, 2, 1)


class RNet(nn.Module):
    """Crop → coefficients.

    ``head_sizes`` are the numbers each head predicts, in the order of the coefficients. With ``single_head`` the
    PyTorch variant has one fully connected layer in their place.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        depth: Literal[18, 50] = 50,
        head_sizes: Sequence[int] = HEAD_SIZES,
        single_head: bool = False,
    ) -> None:
        super().__init__()
        self.variant: Variant = variant
        self.backbone = Trunk(variant, depth, n_outputs=N_COEFFICIENTS if single_head else 0)
        sizes = () if single_head else head_sizes
        self.final_layers = nn.ModuleList(nn.Conv2d(self.backbone.n_features, size, 1) for size in sizes)

    def forward(self, x: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B K"]:
        """Takes what `to_input` makes of crops."""
        return self.predict(self.backbone(x))

    def predict(self, feature: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """The coefficients of pooled features."""
        if self.backbone.fc is not None:
            return self.backbone.fc(feature)
        return torch.cat([layer(feature[:, :, None, None]) for layer in self.final_layers], 1).flatten(1)


def to_input(crops: UInt8[Tensor, "B 224 224 3"], variant: Variant) -> Float[Tensor, "B 3 224 224"]:
    """RGB crops as the network of a variant takes them. Neither subtracts a mean."""
    channels = crops.permute(0, 3, 1, 2)
    if variant == "tensorflow":
        return channels.flip(1).float()
    return channels.float() / 255


def _stage(variant: Variant, block: type, stage: int, n_in: int, n_units: int) -> nn.Sequential:
    width, units = _WIDTHS[stage], []
    for unit in range(n_units):
        if variant == "tensorflow":
            stride = 2 if stage < 3 and unit == n_units - 1 else 1
            shortcut_stride = 1 if unit == 0 else None
        else:
            stride = 2 if stage > 0 and unit == 0 else 1
            # ResNet-18's first stage keeps its 64 channels and needs no convolution on the shortcut.
            changes = unit == 0 and (stage > 0 or n_in != width * block.expansion)
            shortcut_stride = stride if changes else None
        units.append(block(n_in, width, stride=stride, shortcut_stride=shortcut_stride))
        n_in = width * block.expansion
    return nn.Sequential(*units)


def _shortcut(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out, _EPSILON))
