"""Between a texture and the surface that wears it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from likeness.render.rasterization import Fragments, rasterize


def sample_texture(texture: Float[Tensor, "#B C H W"], uv: Float[Tensor, "B *N 2"]) -> Float[Tensor, "B *N C"]:
    """The texture at `uv`, bilinear, differentiable in both; beyond the border its outermost texels go on.

    (0, 0) is the bottom-left corner of the texture, (1, 1) the top-right; texel centres lie half a texel inside.
    """
    flat = uv.flatten(1, -2)
    grid = torch.stack([2 * flat[..., 0] - 1, 1 - 2 * flat[..., 1]], -1)[:, None].to(texture.dtype)
    texture = texture.expand(len(uv), *texture.shape[1:])
    sampled = grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0].mT.unflatten(1, uv.shape[1:-1])


def rasterize_uv(uv: Float[Tensor, "U 2"], uv_triangles: Int[Tensor, "T 3"], size: tuple[int, int]) -> Fragments:
    """Which triangle does each texel of a texture of `size` (height, width) belong to, and where on it?

    To bake a texture: `interpolate(vertices, triangles, rasterize_uv(uv, uv_triangles, size))` is the surface point
    of each texel. The first row is the top of the texture (v near 1). Where charts overlap, the triangle of lowest
    index has the texel. `depth` is 0 in the charts.
    """
    height, width = size
    x, y = uv[:, 0] * width, (1 - uv[:, 1]) * height
    return rasterize(torch.stack([x, y, torch.zeros_like(x)], -1)[None], uv_triangles, size, perspective=False)
