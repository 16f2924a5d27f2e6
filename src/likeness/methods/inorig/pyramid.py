"""Feature pyramids: 64 channels at 32², 64² and 128² from a backbone's features."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.methods.inorig.layers import NormalisedBlock, conv1x1

N_FEATURES = 64


class FeaturePyramid(nn.Module):
    """Top-down sum of lateral features.

    ``lateral_widths`` are the channels of the top and then of each finer feature; the last three layers give
    an output. What is handed down is the sum itself, not the output made from it.
    """

    def __init__(self, lateral_widths: Sequence[int]) -> None:
        super().__init__()
        top, *finer = lateral_widths
        self.coarsest_conv = conv1x1(top, N_FEATURES)
        self.layers = [f"layer{k}" for k in range(len(finer))]
        for k, width in enumerate(finer):
            self.add_module(f"layer{k}", PyramidLayer(width, has_output=k >= len(finer) - 3))

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B 64 _ _"]]:
        """Backbone features from fine to coarse, beginning at 128² → outputs at 32², 64² and 128²."""
        *finer, top = features
        carried = self.coarsest_conv(top)
        outputs = []
        for name, lateral in zip(self.layers, reversed(finer), strict=True):
            layer = self.get_submodule(name)
            assert isinstance(layer, PyramidLayer)
            carried = F.interpolate(carried, scale_factor=2, mode="nearest") + layer.lateral_conv(lateral)
            if layer.out_conv is not None:
                outputs.append(layer.out_conv(carried))
        return outputs


class PyramidLayer(nn.Module):
    """One level's lateral convolution and, where it has an output, the block that makes it."""

    def __init__(self, width: int, *, has_output: bool) -> None:
        super().__init__()
        self.lateral_conv = conv1x1(width, N_FEATURES)
        self.out_conv = NormalisedBlock(N_FEATURES, N_FEATURES) if has_output else None
