"""Landmarks on the outline of the face, which slide over the skin as the head turns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ContourLines:
    """For each outline landmark a line of N surface points, from the front of the face to behind its outline.

    ``landmark`` (C,) are the landmarks' indices in their convention. Seen from some direction, an outline landmark is
    the point of its line that lies farthest out.
    """

    landmark: Int[Tensor, " C"]
    corners: Int[Tensor, "C N 3"]
    barycentric: Float[Tensor, "C N 3"]

    def points(self, vertices: Float[Tensor, "*B V 3"]) -> Float[Tensor, "*B C N 3"]:
        """All points of all lines, in the frame and unit of the mesh."""
        corners = vertices[..., self.corners, :]
        return (corners * self.barycentric.to(vertices)[..., None]).sum(-2)

    def outermost(self, line_px: Float[Tensor, "*B C N 2"], centre_px: Float[Tensor, "*B 2"]) -> Int[Tensor, "*B C"]:
        """Which point of each projected line is the outline: the farthest along the line's way out from the centre.

        The way out is the direction from the face's centre in the picture to the middle of the line.
        """
        out = line_px.mean(-2) - centre_px[..., None, :]
        reach = (line_px * out[..., None, :]).sum(-1)
        return reach.argmax(-1)

    def to(self, device: torch.device | str) -> ContourLines:
        return ContourLines(self.landmark.to(device), self.corners.to(device), self.barycentric.to(device))
