"""FLAME's landmarks in iBUG-68 order: fixed points, and a face contour that moves with the yaw.

In a turned face, what a 2D detector calls the jaw line is the outline, not a set of points of the skin. FLAME keeps a
table of contour points for every degree from -39 to 39.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.heads.flame_files import FlameLandmarks
from likeness.heads.protocol import Embedding

_LAST_YAW = 39


@dataclass(frozen=True, eq=False)
class FlameEmbeddings:
    """``fixed`` are 68 points of the skin. ``moving`` are the contour's table and the 51 other points."""

    fixed: Embedding
    inner: Embedding
    contour_corners: Int[Tensor, "79 17 3"]
    contour_barycentric: Float[Tensor, "79 17 3"]

    @classmethod
    def from_arrays(cls, landmarks: FlameLandmarks, triangles: Int[np.ndarray, "T 3"]) -> FlameEmbeddings:
        """The embedding of a file on FLAME's triangles."""
        return cls(
            fixed=triangle_embedding(triangles, landmarks.full_triangles, landmarks.full_barycentric),
            inner=triangle_embedding(triangles, landmarks.static_triangles, landmarks.static_barycentric),
            contour_corners=torch.from_numpy(triangles[landmarks.contour_triangles]),
            contour_barycentric=torch.from_numpy(landmarks.contour_barycentric),
        )

    def moving(self, vertices: Float[Tensor, "B V 3"], rotations: Float[Tensor, "B 5 3"]) -> Float[Tensor, "B 68 3"]:
        """The landmarks a 2D detector would find: 17 of the outline for this pose, then 51. In the vertices' unit."""
        rows = contour_rows(rotations)
        corners, weights = self.contour_corners[rows], self.contour_barycentric[rows].to(vertices)
        index = corners.flatten(1)[..., None].expand(-1, -1, 3)
        contour = vertices.gather(1, index).view(*corners.shape, 3)
        return torch.cat([(contour * weights[..., None]).sum(2), self.inner.points(vertices)], 1)

    def to(self, device: torch.device | str) -> FlameEmbeddings:
        """These on another device."""
        moved = (self.contour_corners.to(device), self.contour_barycentric.to(device))
        return FlameEmbeddings(self.fixed.to(device), self.inner.to(device), *moved)


def contour_rows(rotations: Float[Tensor, "B 5 3"]) -> Int[Tensor, " B"]:
    """The contour table's row for each pose: 0 to 39 for that yaw in degrees, 40 to 78 for -1 to -39.

    The yaw is that of root and neck together; positive turns the face to the subject's left. It is clamped to the
    table, and beyond a quarter turn it folds back, as in the model DECA was trained with.
    """
    turn = roma.rotvec_to_rotmat(rotations[:, :2])
    turn = turn[:, 0] @ turn[:, 1]
    yaw = torch.atan2(-turn[:, 2, 0], torch.hypot(turn[:, 0, 0], turn[:, 1, 0]))
    # Half degrees round to the even row.
    degrees = torch.rad2deg(yaw).clamp(-_LAST_YAW, _LAST_YAW).round().long()
    return torch.where(degrees >= 0, degrees, _LAST_YAW - degrees)


def triangle_embedding(
    triangles: Int[np.ndarray, "T 3"], index: Int[np.ndarray, " L"], barycentric: Float[np.ndarray, "L 3"]
) -> Embedding:
    """Points named by a triangle's index and barycentrics."""
    return Embedding(torch.from_numpy(triangles[index]), torch.from_numpy(barycentric))
