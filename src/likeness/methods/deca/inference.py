"""The networks made faster without changing what they compute: normalisation folded into convolutions, pixels first."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from likeness.methods.deca.files import Networks
from likeness.methods.deca.networks import Bottleneck, ResNet50
from likeness.methods.packed_resnet import PackedTrunk, has_onednn

Precision = Literal["full", "bfloat16"]


class FastEncoder(nn.Module):
    """An encoder for inference. ``bfloat16`` halves the time where the processor has it and costs half a percent."""

    def __init__(self, encoder: nn.Module, precision: Precision = "full") -> None:
        super().__init__()
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        trunk = encoder.get_submodule("encoder").eval()
        on_cpu = next(trunk.parameters()).device.type == "cpu"
        self.trunk: Callable[[Tensor], Tensor]
        if on_cpu and has_onednn():
            self.trunk = PackedTrunk(cast(ResNet50, trunk), cast(ResNet50, trunk).maxpool, dtype)
        else:
            self.trunk = _FoldedTrunk(trunk, dtype)
        self.layers = copy.deepcopy(encoder.get_submodule("layers"))

    def forward(self, images: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B C"]:
        return self.layers(self.trunk(images))


class _FoldedTrunk(nn.Module):
    """For other devices: folded and channels-last."""

    def __init__(self, trunk: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.inner = _folded(trunk).to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B 2048"]:
        return self.inner(images.to(self.dtype, memory_format=torch.channels_last)).float()


class FastDecoder(nn.Module):
    """A detail decoder for inference, in full precision: its maps are a few tenths of a millimetre."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.inner = _folded(decoder).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, jaw: Float[Tensor, "B 3"], expression: Float[Tensor, "B 50"], detail: Float[Tensor, "B 128"]
    ) -> Float[Tensor, "B 1 256 256"]:
        return self.inner(jaw, expression, detail)


def fast_networks(networks: Networks, precision: Precision = "full") -> Networks:
    """Copies of the networks for inference; their weights can no longer be saved or trained."""
    return Networks(
        FastEncoder(networks.coarse, precision), FastEncoder(networks.detail, precision), FastDecoder(networks.decoder)
    )


def _folded(network: nn.Module) -> nn.Module:
    """A copy in which every normalisation that follows a convolution is part of that convolution."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            _fold_neighbours(module)
        elif isinstance(module, Bottleneck) or hasattr(module, "bn1"):
            for number in "123":
                _fold_pair(module, f"conv{number}", f"bn{number}")
    return network


def _fold_neighbours(sequence: nn.Sequential) -> None:
    for at in range(len(sequence) - 1):
        if isinstance(sequence[at], nn.Conv2d) and isinstance(sequence[at + 1], nn.BatchNorm2d):
            sequence[at], sequence[at + 1] = fuse_conv_bn_eval(sequence[at], sequence[at + 1]), nn.Identity()  # type: ignore[type-var]


def _fold_pair(module: nn.Module, convolution: str, normalisation: str) -> None:
    if hasattr(module, convolution):
        folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, normalisation))
        setattr(module, convolution, folded)
        setattr(module, normalisation, nn.Identity())
