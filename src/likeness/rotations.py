"""What `roma` has not of rotations."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def cross_matrix(vectors: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """[v]ₓ, so that [v]ₓ u = v × u."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vectors.shape, 3)
