"""UV encoders: what the photos show, brought to the face's UV chart and merged over the photos."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from likeness.methods.inorig.layers import NormalisedBlock, conv1x1
from likeness.methods.inorig.pyramid import N_FEATURES

N_LEVELS = 3
N_INPUT = N_FEATURES + 3


class UVEncoder(nn.Module):
    """Base of the three decoders: per level a network for each photo and one for their maximum.

    Keys: ``per_view_net{level}`` and ``net{level}``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        for level in range(N_LEVELS):
            per_view = nn.Sequential(
                NormalisedBlock(N_INPUT, width),
                NormalisedBlock(width, width, dilation=2),
                NormalisedBlock(width, width, dilation=4),
                conv1x1(width, 8 * width),
                nn.ReLU(inplace=True),
            )
            merged = nn.Sequential(conv1x1(8 * width, width), nn.ReLU(inplace=True), NormalisedBlock(width, width))
            self.add_module(f"per_view_net{level}", per_view)
            self.add_module(f"net{level}", merged)

    def encode(self, level: int, uv_inputs: Float[Tensor, "V 67 S S"]) -> Float[Tensor, "1 C S S"]:
        """Features in the UV chart common to all photos: the element-wise maximum over them, merged."""
        per_view = self.get_submodule(f"per_view_net{level}")(uv_inputs)
        return self.get_submodule(f"net{level}")(per_view.amax(0, keepdim=True))
