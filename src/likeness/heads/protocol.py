"""What every parametric head can do, and how landmarks sit on its surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.topology import Topology


@dataclass(frozen=True, eq=False)
class Embedding:
    """Landmarks as points of a surface: a triangle's corner vertices (L, 3) and barycentrics (L, 3).

    ``spread`` (L,), in millimetres, is how far a detector's idea of the landmark strays from this point over
    people and poses, where it was measured.
    """

    corners: Int[Tensor, "L 3"]
    barycentric: Float[Tensor, "L 3"]
    spread: Float[Tensor, " L"] | None = None

    def points(self, vertices: Float[Tensor, "*B V 3"]) -> Float[Tensor, "*B L 3"]:
        """The landmarks' positions on a mesh of this topology, in the mesh's own frame and unit."""
        corners = vertices[..., self.corners, :]
        return (corners * self.barycentric.to(vertices)[..., None]).sum(-2)

    def to(self, device: torch.device | str) -> Embedding:
        spread = None if self.spread is None else self.spread.to(device)
        return Embedding(self.corners.to(device), self.barycentric.to(device), spread)


@runtime_checkable
class Head(Protocol):
    """A parametric head: identity, expression and joint rotations to vertices, batched and differentiable.

    Positions are millimetres in the head frame. Identity zero and expression zero is the model's average, at rest.
    Joint rotations are rotation vectors in radians, each about its own joint relative to its parent; zero is the rest
    pose. ``joint_parents`` holds -1 for a root. ``version`` changes whenever the numbers behind the model do.
    """

    name: str
    version: str
    topology: Topology
    n_identity: int
    n_expression: int
    expression_names: tuple[str, ...]
    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    embeddings: Mapping[str, Embedding]

    def vertices(
        self,
        identity: Float[Tensor, "B I"],
        expression: Float[Tensor, "B E"] | None = None,
        joints: Float[Tensor, "B J 3"] | None = None,
        offsets: Float[Tensor, "*B V 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Posed surface. ``offsets`` (mm) are added to the neutral shape before expression and skinning."""
        ...

    def joint_positions(self, identity: Float[Tensor, "B I"]) -> Float[Tensor, "B J 3"]:
        """Rest positions of the joints for an identity, in millimetres."""
        ...

    def skin_weights(self) -> Float[Tensor, "V J"]:
        """How much each joint carries each vertex; rows sum to one."""
        ...

    def to(self, device: torch.device | str) -> Head:
        """This head with its tensors on another device."""
        ...
