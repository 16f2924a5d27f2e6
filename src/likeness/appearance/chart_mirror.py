"""The other side of the face, in the chart."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from likeness.appearance.chart import chart_of
from likeness.heads.protocol import Head
from likeness.render import interpolate


@lru_cache(maxsize=8)
def _mirror_grid(head: Head, size: int) -> Float[Tensor, "1 S S 2"] | None:
    """For every texel, where its mirror image lies in the chart, as `grid_sample` wants it; None without a mirror."""
    topology, chart = head.topology, chart_of(head, size)
    if topology.mirror is None or topology.uv is None or topology.uv_triangles is None:
        return None
    uv_of_vertex = np.zeros((len(topology.mirror), 2), np.float32)
    uv_of_vertex[topology.triangles] = topology.uv[topology.uv_triangles]
    across = torch.from_numpy(uv_of_vertex[topology.mirror])
    uv = interpolate(across[None], topology.triangles_tensor, chart.fragments)
    return torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)


def mirrored(head: Head, image: Float[Tensor, "C S S"]) -> Float[Tensor, "C S S"] | None:
    """A texture as the other side of the face wears it; None for a head that knows no mirror image."""
    grid = _mirror_grid(head, image.shape[-1])
    if grid is None:
        return None
    return grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
