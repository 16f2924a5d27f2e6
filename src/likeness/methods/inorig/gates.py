"""Gated maps: a tiny two-layer network at every texel, whose weights are generated once per person.

h_a = tanh(Σ_e G1[e, a]·code_e), y_c = tanh(Σ_a G2[a, c]·h_a), with G1 and G2 read from a map's channels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

N_CODE = 8
N_HIDDEN = 4


def gated_features(gates: Float[Tensor, "G S S"], codes: Float[Tensor, "B 8"]) -> Float[Tensor, "B C S S"]:
    """Evaluate the texel networks for a batch of expression codes; C = (G - 32) / 4."""
    split = N_CODE * N_HIDDEN
    first = gates[:split].reshape(N_CODE, -1)
    second = gates[split:].unflatten(0, (N_HIDDEN, -1))
    hidden = torch.tanh(codes @ first).unflatten(-1, (N_HIDDEN, 1, *gates.shape[1:]))
    # Four multiply-adds over whole maps are much faster than a tiny matrix product per texel.
    total = hidden[:, 0] * second[0]
    for a in range(1, N_HIDDEN):
        total = torch.addcmul(total, hidden[:, a], second[a])
    return torch.tanh(total)
