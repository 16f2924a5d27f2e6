"""The albedo decoder: a person's code → albedo per vertex, at the finest level dependent on the expression."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.methods.inorig.encoders import UVEncoder
from likeness.methods.inorig.gates import N_CODE, gated_features
from likeness.methods.inorig.layers import CodeToMap, PlainBlock, conv1x1, growing_trunk

N_ALBEDO = 64
_WIDTH = 16
_TRUNK = 4
_N_GATES = N_CODE * 4 + 4 * _WIDTH
_RANGE = 6.0


class AlbedoDecoder(UVEncoder):
    """Keys: the encoders', ``ap_norm_enc_level{L}``, ``ap_dec0_level{L}``, ``ap_dec_level{L}``, ``out_conv_level2``."""

    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__(_WIDTH)
        for level, size in enumerate(sizes):
            self.add_module(f"ap_norm_enc_level{level}", CodeToMap(N_ALBEDO, _TRUNK, size))
            self.add_module(f"ap_dec0_level{level}", growing_trunk(_TRUNK))
            n_out = 3 if level < 2 else _N_GATES
            head = nn.Sequential(PlainBlock(_TRUNK + _WIDTH, _WIDTH), conv1x1(_WIDTH, n_out), nn.Tanh())
            self.add_module(f"ap_dec_level{level}", head)
        self.out_conv_level2 = nn.Sequential(PlainBlock(_WIDTH, _WIDTH), conv1x1(_WIDTH, 3), nn.Tanh())

    def change(
        self, level: int, code: Float[Tensor, "1 64"], uv_features: Float[Tensor, "1 16 S S"]
    ) -> Float[Tensor, "1 3 S S"]:
        """Levels 0 and 1: relative change of the albedo in (-1, 1), one map for all photos."""
        return self._decode(level, code, uv_features)

    def gates(self, code: Float[Tensor, "1 64"], uv_features: Float[Tensor, "1 16 S S"]) -> Float[Tensor, "96 S S"]:
        """Level 2: weights of every texel's network from expression code to change of albedo."""
        return self._decode(2, code, uv_features)[0] * _RANGE

    def expressive_change(
        self, gates: Float[Tensor, "96 S S"], codes: Float[Tensor, "B 8"]
    ) -> Float[Tensor, "B 3 S S"]:
        """Level 2: relative change of the albedo in (-1, 1) for a batch of expression codes."""
        return self.out_conv_level2(gated_features(gates, codes))

    def _decode(self, level: int, code: Tensor, uv_features: Tensor) -> Tensor:
        spread = self.get_submodule(f"ap_norm_enc_level{level}")(code)
        decoded = self.get_submodule(f"ap_dec0_level{level}")(spread)
        return self.get_submodule(f"ap_dec_level{level}")(torch.cat([decoded, uv_features], 1))


def changed_albedo(albedo: Float[Tensor, "*#B V 3"], change: Float[Tensor, "*#B V 3"]) -> Float[Tensor, "*B V 3"]:
    """Move albedo towards black (change < 0) or white (change > 0) by that fraction of the way."""
    return albedo + torch.where(change < 0, albedo, 1 - albedo) * change
