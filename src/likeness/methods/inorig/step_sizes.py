"""Step-size networks: from how large the residuals are, how far to go along the gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

# step = 10^(a·o + b) with o the network's output in (-1, 1); per level (a, b) of identity, pose, expression code and
# expression space, in the network's own order, and of albedo.
_GEOMETRY = (
    ((2, 0.0), (2, -2.5), (4, -3.0), (4, -2.0)),
    ((4, 0.0), (4, -2.5), (4, -3.5), (4, -2.0)),
    ((4, 0.0), (4, -2.5), (4, -4.0), (4, -2.0)),
)
_ALBEDO = (4, -2.5)


@dataclass(frozen=True, eq=False)
class Steps:
    """One step size for each group of unknowns."""

    identity: Tensor
    pose: Tensor
    expression: Tensor
    space: Tensor
    albedo: Tensor


class StepNetwork(nn.Module):
    """A small fully connected network with SELU and a final tanh."""

    def __init__(self, n_in: int, width: int, n_out: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(n_in, width), nn.SELU()]
        for _ in range(3):
            layers += [nn.Linear(width, width), nn.SELU()]
        self.net = nn.Sequential(*layers, nn.Linear(width, n_out), nn.Tanh())

    def forward(self, summary: Float[Tensor, "B I"]) -> Float[Tensor, "B O"]:
        return self.net(summary)


def outputs_to_steps(level: int, geometry: Float[Tensor, " 4"], albedo: Float[Tensor, " 1"]) -> Steps:
    """The two networks' outputs in (-1, 1) → step sizes."""
    scale, offset = geometry.new_tensor(_GEOMETRY[level]).T
    identity, pose, expression, space = torch.pow(10.0, scale * geometry + offset)
    return Steps(identity, pose, expression, space, torch.pow(10.0, _ALBEDO[0] * albedo[0] + _ALBEDO[1]))
