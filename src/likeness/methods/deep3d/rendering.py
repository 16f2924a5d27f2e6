"""The face drawn back into the crop, without anti-aliasing: a pixel shows the triangle at its centre."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.methods.deep3d.decoder import CROP, FOCAL, to_camera
from likeness.render import interpolate, rasterize


def render_face(
    world: Float[Tensor, "B V 3"], colour: Float[Tensor, "B V 3"], triangles: Int[Tensor, "T 3"], *, size: int = CROP
) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W"]]:
    """Colours and the mask of covered pixels (1 or 0), row 0 at the top; colours are 0 outside and not clipped.

    ``size`` other than 224 shows the same view larger or smaller. Differentiable in colours and positions, not through
    silhouettes.
    """
    vertices_px = to_pixels(world, size=size)
    fragments = rasterize(vertices_px, triangles, (size, size))
    image = interpolate(colour, triangles, fragments, vertices_px=vertices_px)
    return image, fragments.mask.to(image.dtype)


def reconstruction_image(
    world: Float[Tensor, "B V 3"], colour: Float[Tensor, "B V 3"], triangles: Int[Tensor, "T 3"], *, size: int = CROP
) -> Float[Tensor, "B H W 4"]:
    """The official ``recon_img``: RGB from 0 to 255, clipped, and an alpha of 0 or 1; ``colour`` in [0, 1].

    As there, a covered pixel whose three channels are all negative is a hole.
    """
    image, mask = render_face(world, colour, triangles, size=size)
    alpha = mask * (image >= 0).any(-1)
    return torch.cat([(image * 255).clamp(0, 255) * alpha[..., None], alpha[..., None]], -1)


def to_pixels(world: Float[Tensor, "B V 3"], *, size: int = CROP) -> Float[Tensor, "B V 3"]:
    """World → (x px, y px, depth dm) of the crop in our convention: y down, pixel centres at +0.5."""
    seen = to_camera(world)
    x, y, depth = seen.unbind(-1)
    focal = FOCAL * size / CROP
    return torch.stack([size / 2 + focal * x / depth, size / 2 - focal * y / depth, depth], -1)
