"""The identity decoder: a person's code → displacement of the neutral face."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.methods.inorig.encoders import UVEncoder
from likeness.methods.inorig.layers import CodeToMap, PlainBlock, conv1x1, growing_trunk

N_IDENTITY = 80
_WIDTH = 32
# The network's unit: it answers in tenths of a metre, the model is in micrometres.
_MICROMETRES = 1e5


class IdentityDecoder(UVEncoder):
    """Keys: the encoders', ``sp_norm_enc_level{L}``, ``sp_dec0_level{L}``, ``sp_dec1_level{L}``."""

    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__(_WIDTH)
        for level, size in enumerate(sizes):
            self.add_module(f"sp_norm_enc_level{level}", CodeToMap(N_IDENTITY, _WIDTH, size))
            self.add_module(f"sp_dec0_level{level}", growing_trunk(_WIDTH))
            head = nn.Sequential(PlainBlock(2 * _WIDTH, _WIDTH), conv1x1(_WIDTH, 3))
            self.add_module(f"sp_dec1_level{level}", head)

    def displacement(
        self, level: int, code: Float[Tensor, "1 80"], uv_features: Float[Tensor, "1 32 S S"]
    ) -> Float[Tensor, "1 3 S S"]:
        """The level's displacement map in micrometres."""
        spread = self.get_submodule(f"sp_norm_enc_level{level}")(code)
        decoded = self.get_submodule(f"sp_dec0_level{level}")(spread)
        joined = torch.cat([decoded, uv_features], 1)
        return self.get_submodule(f"sp_dec1_level{level}")(joined) * _MICROMETRES
