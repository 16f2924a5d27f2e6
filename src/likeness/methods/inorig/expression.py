"""The neural rig: a code of the expression space turns into the weights of a small network that moves the face.

Level 0 gives weights of a network from an expression code (8) to coefficients of the expression basis; levels 1 and 2
give, at every texel, weights of a network whose outputs become a displacement map (`gates`).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.methods.inorig.encoders import UVEncoder
from likeness.methods.inorig.gates import N_CODE, gated_features
from likeness.methods.inorig.layers import N_GROUPS, CodeToMap, PlainBlock, conv1x1, conv3x3, growing_trunk

N_SPACE = 128
N_COEFFICIENTS = 32
_WIDTH = 32
_TRUNK = 8
_N_WEIGHTS = N_CODE * 32 + 32 * 32
_N_GATES = N_CODE * 4 + 4 * _WIDTH
# tanh outputs are stretched to this range before they serve as weights.
_RANGE = 6.0
_COEFFICIENT_RANGE = 3.0
_MICROMETRES = 1e4


class ExpressionDecoder(UVEncoder):
    """Keys: the encoders', ``vec_net0``, ``mp_norm_mlp_level0``, and per finer level ``mp_norm_enc_level{L}``,
    ``mp_dec0_level{L}``, ``mp_dec_level{L}``, ``out_conv_level{L}``."""

    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__(_WIDTH)
        self.vec_net0 = _vector_network()
        self.mp_norm_mlp_level0 = nn.Sequential(
            nn.Linear(N_SPACE + 512, 512, bias=False), nn.SELU(), nn.Linear(512, _N_WEIGHTS, bias=False), nn.Tanh()
        )
        for level in (1, 2):
            self.add_module(f"mp_norm_enc_level{level}", CodeToMap(N_SPACE, _TRUNK, sizes[level]))
            self.add_module(f"mp_dec0_level{level}", growing_trunk(_TRUNK))
            head = nn.Sequential(PlainBlock(_TRUNK + _WIDTH, _WIDTH), conv1x1(_WIDTH, _N_GATES), nn.Tanh())
            self.add_module(f"mp_dec_level{level}", head)
            out = nn.Sequential(PlainBlock(_WIDTH, _WIDTH), conv1x1(_WIDTH, 3))
            self.add_module(f"out_conv_level{level}", out)

    def person_vector(self, uv_features: Float[Tensor, "1 32 S S"]) -> Float[Tensor, "1 512"]:
        """Level 0's features, condensed."""
        return self.vec_net0(uv_features).mean((-2, -1))

    def weights(self, space: Float[Tensor, "1 128"], vector: Float[Tensor, "1 512"]) -> Float[Tensor, " 1280"]:
        """Level 0: weights of the network from expression code to coefficients."""
        return self.mp_norm_mlp_level0(torch.cat([space, vector], -1))[0] * _RANGE

    def gates(
        self, level: int, space: Float[Tensor, "1 128"], uv_features: Float[Tensor, "1 32 S S"]
    ) -> Float[Tensor, "160 S S"]:
        """Level 1 or 2: weights of every texel's network."""
        spread = self.get_submodule(f"mp_norm_enc_level{level}")(space)
        decoded = self.get_submodule(f"mp_dec0_level{level}")(spread)
        joined = torch.cat([decoded, uv_features], 1)
        return self.get_submodule(f"mp_dec_level{level}")(joined)[0] * _RANGE

    def displacement(
        self, level: int, gates: Float[Tensor, "160 S S"], codes: Float[Tensor, "B 8"]
    ) -> Float[Tensor, "B 3 S S"]:
        """Level 1 or 2: displacement maps in micrometres for a batch of expression codes. Zero for a zero code."""
        features = gated_features(gates, codes)
        return self.get_submodule(f"out_conv_level{level}")(features) * _MICROMETRES


def coefficients(weights: Float[Tensor, " 1280"], codes: Float[Tensor, "B 8"]) -> Float[Tensor, "B 32"]:
    """Level 0: expression codes → coefficients of the expression basis, in standard deviations."""
    split = N_CODE * 32
    first = weights[:split].reshape(32, N_CODE)
    second = weights[split:].reshape(N_COEFFICIENTS, 32)
    return _COEFFICIENT_RANGE * torch.tanh(torch.tanh(codes @ first.T) @ second.T)


def _vector_network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in ((32, 64), (64, 128), (128, 256)):
        layers += [conv3x3(n_in, n_out, stride=2), nn.GroupNorm(N_GROUPS, n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, conv3x3(256, 512, stride=2))
