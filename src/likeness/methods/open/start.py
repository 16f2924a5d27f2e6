"""Where the landmark fit begins: a weak-perspective pose of the average head (DeMenthon and Davis 1995, first round)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.methods.open.objective import Start


def starting_pose(
    points_mm: Float[Tensor, "L 3"],
    points_px: Float[Tensor, "n L 2"],
    weights: Float[Tensor, " L"],
    distance: Float[Tensor, " n"],
) -> Start:
    """Rotation, position of the head's origin and scale that carry the average landmarks onto the seen ones."""
    homogeneous = torch.cat([points_mm, torch.ones_like(points_mm[:, :1])], -1) * weights[:, None]
    targets = points_px * weights[:, None]
    affine = torch.linalg.lstsq(homogeneous.expand(len(targets), -1, -1), targets).solution.mT
    rows, position = affine[..., :3], affine[..., 3]
    scale = rows.norm(dim=-1).prod(-1).sqrt()
    return Start(_nearest_rotation(rows), position, scale, distance)


def _nearest_rotation(rows: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n 3 3"]:
    """The rotation whose first two rows are nearest to the given ones."""
    u, _, vt = torch.linalg.svd(rows, full_matrices=False)
    orthonormal = u @ vt
    third = torch.linalg.cross(orthonormal[:, 0], orthonormal[:, 1])
    return torch.cat([orthonormal, third[:, None]], 1)
