"""Pictures of meshes over photos: geometry, colours, albedo and light, in the photo's own pixels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from likeness.methods.inorig.crop import Square
from likeness.methods.inorig.illumination import light_basis, outward_normals
from likeness.methods.inorig.pose import CROP_SIZE, crop_to_pixels
from likeness.methods.inorig.rig import NeuralRig
from likeness.render import interpolate, rasterize

_GREY = 0.75


def draw(
    picture: UInt8[np.ndarray, "H W 3"],
    points: Float[Tensor, "N 3"],
    triangles: Int[Tensor, "T 3"],
    colours: Float[Tensor, "N 3"],
) -> UInt8[np.ndarray, "H W 3"]:
    """A mesh with colours in [0, 1] over a picture; ``points`` are (x px, y px, depth), pixel centres at +0.5."""
    fragments = rasterize(points[None], triangles, picture.shape[:2], perspective=False)
    drawn = interpolate(colours, triangles, fragments)[0].clamp(0, 1).cpu().numpy()
    mask = fragments.mask[0].cpu().numpy()
    return np.where(mask[..., None], (drawn * 255).astype(np.uint8), picture)


def crop_to_photo(vertices: Float[Tensor, "N 3"], square: Square) -> Float[Tensor, "N 3"]:
    """Crop frame (px) → (x px, y px, depth) in the photo the square was cropped of."""
    corners = crop_to_pixels(vertices) + 0.5
    scaled = torch.cat([corners, -vertices[:, 2:]], -1) / square.zoom
    return scaled + scaled.new_tensor([square.left, square.top, 0.0])


def crop_points(vertices: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Crop frame → (x px, y px, depth) in the crop itself."""
    return crop_to_photo(vertices, Square(0, 0, CROP_SIZE, CROP_SIZE))


def geometry_colours(vertices: Float[Tensor, "N 3"], rig: NeuralRig) -> Float[Tensor, "N 3"]:
    """Grey under a light from the viewer: how far the surface faces us."""
    normals = outward_normals(vertices[None], rig.template.triangles, rig.template.vertex_triangles)[0]
    return (_GREY * normals[:, 2:]).expand(-1, 3)


def lit_colours(
    vertices: Float[Tensor, "N 3"], rig: NeuralRig, light: Float[Tensor, "9 3"], albedo: Float[Tensor, "N 3"] | None
) -> Float[Tensor, "N 3"]:
    """An albedo (grey when None) under a light of the method's basis."""
    normals = outward_normals(vertices[None], rig.template.triangles, rig.template.vertex_triangles)[0]
    return (_GREY if albedo is None else albedo) * (light_basis(normals) @ light)
