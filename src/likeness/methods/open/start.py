"""Where the landmark fit begins: a weak-perspective pose of the average head (DeMenthon and Davis 1995)."""

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
    # In double precision, by normal equations: LAPACK's last bits depend on where memory lies, and must not show.
    design = torch.cat([points_mm, torch.ones_like(points_mm[:, :1])], -1).double() * weights[:, None].double()
    targets = points_px.double() * weights[:, None].double()
    affine = torch.linalg.solve(design.T @ design, design.T @ targets).mT
    rows, position = affine[..., :3], affine[..., 3]
    scale = rows.norm(dim=-1).prod(-1).sqrt()
    rotation = _nearest_rotation(rows)
    return Start(rotation.to(points_px), position.to(points_px), scale.to(points_px), distance)


def _nearest_rotation(rows: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n 3 3"]:
    """The rotation whose first two rows are nearest to the given ones."""
    u, _, vt = torch.linalg.svd(rows, full_matrices=False)
    orthonormal = u @ vt
    third = torch.linalg.cross(orthonormal[:, 0], orthonormal[:, 1])
    return torch.cat([orthonormal, third[:, None]], 1)
