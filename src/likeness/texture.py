"""Albedo from a photo: the colours the camera saw, in the head's UV chart, completed where it saw nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.face import Face
from likeness.meshes import vertex_normals
from likeness.render import interpolate, rasterize_uv

# Cosines between normal and view: below the first a texel is too foreshortened to be trusted, above the second fully.
_GRAZING, _FACING = 0.25, 0.65
# A mirrored colour counts so much of a directly seen one: it only shows where the photo shows nothing.
_MIRRORED = 0.02


@dataclass(frozen=True, eq=False)
class _Sight:
    """Colours (T, 3) for texels and how well each was seen (T,)."""

    colour: Tensor
    weight: Tensor


def albedo_from_photo(
    face: Face, pixels: UInt8[np.ndarray, "H W 3"], *, size: int = 1024
) -> Float[Tensor, "3 size size"]:
    """The photo's colours on the head's UV chart, sRGB in [0, 1], row 0 at v = 1.

    Texels the camera saw take its pixels; those it did not take the other side's, where the head has a mirror; the
    rest is filled smoothly from what surrounds it. The light of the photo stays in.
    """
    topology, vertices = face.head.topology, face.vertices
    uv = torch.from_numpy(topology.uv)
    chart = rasterize_uv(uv, torch.from_numpy(topology.uv_triangles), (size, size))
    inside = chart.mask[0]
    surface = torch.cat([vertices, vertex_normals(vertices, topology.triangles_tensor)], -1)
    photo = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255

    def seen_from(attributes: Tensor) -> _Sight:
        texels = interpolate(attributes[None], topology.triangles_tensor, chart)[0][inside]
        return _look_up(face, photo, texels[:, :3], functional.normalize(texels[:, 3:], dim=-1))

    sights = [seen_from(surface)]
    if topology.mirror is not None:
        mirrored = seen_from(surface[torch.from_numpy(topology.mirror.astype(np.int64))])
        sights.append(_Sight(mirrored.colour, mirrored.weight * _MIRRORED))
    weight = torch.stack([sight.weight for sight in sights])
    colour = torch.stack([sight.colour for sight in sights])
    total = weight.sum(0)
    image = torch.zeros(4, size, size)
    image[:3, inside] = ((colour * weight[..., None]).sum(0) / total.clamp_min(1e-8)[:, None]).T
    image[3, inside] = (total / _MIRRORED).clamp_max(1.0)
    return fill_holes(image[:3], image[3])


def _look_up(face: Face, photo: Tensor, points: Float[Tensor, "T 3"], normals: Float[Tensor, "T 3"]) -> _Sight:
    """What the photo shows at surface points, weighted by how squarely the camera looks at them."""
    projected = face.camera.project_with_depth(points[None])[0]
    facing = (normals * face.camera.towards(points[None])[0]).sum(-1)
    squarely = ((facing - _GRAZING) / (_FACING - _GRAZING)).clamp(0, 1)
    weight = squarely.square() * (3 - 2 * squarely)
    height, width = photo.shape[2:]
    x, y = projected[:, 0], projected[:, 1]
    candidate = (weight > 0) & (x >= 0.5) & (x <= width - 0.5) & (y >= 0.5) & (y <= height - 0.5)
    shown = torch.zeros_like(candidate)
    shown[candidate] = face.view.visible(points[candidate])
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], -1)[None, None]
    colour = functional.grid_sample(photo, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _Sight(colour[0, :, 0].T, weight * shown)


def fill_holes(image: Float[Tensor, "C H W"], weight: Float[Tensor, "H W"]) -> Float[Tensor, "C H W"]:
    """Complete an image where its weight in [0, 1] is low, from ever coarser averages of what is known (push-pull,
    Gortler et al. 1996)."""
    if min(image.shape[1:]) <= 1:
        return image
    total = functional.avg_pool2d((image * weight)[None], 2, ceil_mode=True)
    known = functional.avg_pool2d(weight[None, None], 2, ceil_mode=True)
    coarse = fill_holes((total / known.clamp_min(1e-8))[0], (known[0, 0] * 4).clamp_max(1.0))
    smooth = functional.interpolate(coarse[None], image.shape[1:], mode="bilinear", align_corners=False)[0]
    return image * weight + smooth * (1 - weight)
