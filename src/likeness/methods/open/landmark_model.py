"""The open head seen through its landmarks: a small linear model, evaluated instead of the whole surface."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.heads.protocol import Embedding, Head


@dataclass(frozen=True, eq=False)
class LandmarkModel:
    """Landmark positions as ``mean + basis @ (identity, expression)``, head frame, mm.

    Exact for a head whose vertices are linear in both, joints at rest. ``basis`` is (3 L, I + E), rows by landmark.
    """

    mean: Float[Tensor, "L 3"]
    basis: Float[Tensor, "L3 Q"]
    n_identity: int

    @property
    def n_expression(self) -> int:
        return self.basis.shape[1] - self.n_identity

    def points(self, coefficients: Float[Tensor, "B Q"]) -> Float[Tensor, "B L 3"]:
        return self.mean + (coefficients @ self.basis.T).reshape(-1, *self.mean.shape)


def landmark_model(head: Head, embedding: Embedding) -> LandmarkModel:
    """Sample a head's linear response at its landmarks."""
    n_identity, n_expression = head.n_identity, head.n_expression
    unit = torch.eye(n_identity + n_expression)
    at_rest = torch.zeros(1, n_identity), torch.zeros(1, n_expression)
    mean = embedding.points(head.vertices(*at_rest))[0]
    columns = []
    for chunk in unit.split(32):
        moved = embedding.points(head.vertices(chunk[:, :n_identity], chunk[:, n_identity:]))
        columns.append((moved - mean).flatten(1))
    return LandmarkModel(mean, torch.cat(columns).T.contiguous(), n_identity)
