"""A ResNet of bottlenecks for use on the CPU: the same numbers as the plain network, sooner.

Normalisation is folded into the convolutions, the weights are laid out once as oneDNN's kernels want them (eager
PyTorch does that anew in every call), ReLU and the residual sum happen inside the convolutions, and activations stay
channels-last. In float32 results agree with the plain network to rounding. In bfloat16, which processors with
AVX512-BF16 or AMX run about twice as fast again, features move by some thousandths of their spread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CROP = 224


class BottleneckTrunk(Protocol):
    """What `PackedTrunk` reads: a 7×7 stem and four stages of bottlenecks, under the customary names."""

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential


class PackedTrunk:
    """A trunk of bottlenecks, in evaluation, as a chain of oneDNN convolutions; ``pool`` follows its stem.

    Gives the mean of the last stage. For the CPU, where `has_onednn` says so.
    """

    @torch.inference_mode()
    def __init__(
        self, trunk: BottleneckTrunk, pool: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32
    ) -> None:
        self._pool = pool
        self._dtype = dtype
        # Shapes decide the layout of packed weights, so a picture goes through once while packing.
        x = torch.zeros(1, 3, _CROP, _CROP, dtype=dtype).contiguous(memory_format=torch.channels_last)
        self._stem = _PackedConvolution(trunk.conv1, trunk.bn1, x)
        x = self._pool(self._stem(x))
        self._units: list[_PackedBottleneck] = []
        for stage in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
            for unit in stage:
                self._units.append(_PackedBottleneck(unit, x))
                x = self._units[-1](x)

    def __call__(self, x: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B F"]:
        x = x.to(self._dtype, memory_format=torch.channels_last)
        x = self._pool(self._stem(x))
        for unit in self._units:
            x = unit(x)
        return x.float().mean((2, 3))


class _PackedBottleneck:
    def __init__(self, unit: Any, x: Tensor) -> None:
        self._stride = unit.conv2.stride[0]
        self._reduce = _PackedConvolution(unit.conv1, unit.bn1, x)
        y = self._reduce(x)
        self._middle = _PackedConvolution(unit.conv2, unit.bn2, y)
        self._expand = _PackedConvolution(unit.conv3, unit.bn3, self._middle(y))
        self._shortcut = None
        if unit.downsample is not None:
            convolution, normalisation = unit.downsample
            self._shortcut = _PackedConvolution(convolution, normalisation, x)

    def __call__(self, x: Tensor) -> Tensor:
        y = self._middle(self._reduce(x))
        if self._shortcut is not None:
            # A tensor of this unit's own: the sum may overwrite it.
            return self._expand.add_to(self._shortcut(x, relu=False), y)
        if self._stride > 1:
            x = x[:, :, :: self._stride, :: self._stride].contiguous(memory_format=torch.channels_last)
        # `x` itself was made by the unit before and nothing reads it again.
        return self._expand.add_to(x, y)


class _PackedConvolution:
    """Convolution and normalisation as one; weights in oneDNN's own layout."""

    def __init__(self, convolution: nn.Conv2d, normalisation: nn.BatchNorm2d, x: Tensor) -> None:
        fused = fuse_conv_bn_eval(convolution, normalisation)
        self._bias = None if fused.bias is None else fused.bias.to(x.dtype)
        self._geometry = ([*fused.padding], [*fused.stride], [*fused.dilation], fused.groups)
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(
            fused.weight.to(x.dtype), *self._geometry, [*x.shape]
        )

    def __call__(self, x: Tensor, *, relu: bool = True) -> Tensor:
        after = "relu" if relu else "none"
        return torch.ops.mkldnn._convolution_pointwise(x, self._weight, self._bias, *self._geometry, after, [], "")

    def add_to(self, target: Tensor, x: Tensor) -> Tensor:
        """relu(target + convolution), written over ``target``."""
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            target, x, self._weight, self._bias, *self._geometry, "add", 1.0, "relu", [], ""
        )


def has_onednn() -> bool:
    """Whether this torch has the oneDNN operators a packed network is made of."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise_")
