"""A Face drawn again with its own albedo under its own light, and how far that is from the photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d

from likeness.appearance.anatomy import PARTS
from likeness.appearance.chart import ZONE_NAMES, anatomy_of, zone_maps
from likeness.appearance.photo_view import cut, lit_basis
from likeness.appearance.read import bounded_shading
from likeness.cameras import Camera, Similarity
from likeness.errors import InputError
from likeness.face import Face
from likeness.lighting import linear_to_srgb, srgb_to_linear
from likeness.render import interpolate, rasterize, sample_texture

_SUPERSAMPLING = 2
# The face: this far into the middle zone, and what lies between lids and lips.
_FACE = 0.25


@dataclass(frozen=True, eq=False)
class RerenderError:
    """Over the pixels of the face region, in sRGB from 0 to 1: mean absolute and root mean square difference, and the
    latter as peak signal-to-noise ratio in dB."""

    mean_absolute: float
    rms: float

    @property
    def psnr(self) -> float:
        return float(-20 * np.log10(max(self.rms, 1e-6)))


def relit_layer(
    face: Face, camera: Camera, size: tuple[int, int], *, vertex_basis: Float[Tensor, "V 9"] | None = None
) -> Float[Tensor, "1 4 H W"]:
    """The head with its albedo in its light as ``camera`` sees it: a layer to lay over a picture of (height, width).

    ``camera`` turns with the photo's (a crop of it, say), as the light is in the photo's camera frame; shadows that
    the head casts on itself are in the light (`appearance.self_shadowing`). Raises InputError without albedo or light.
    """
    topology = face.head.topology
    if face.albedo is None or face.light is None or topology.uv is None or topology.uv_triangles is None:
        raise InputError("this Face has no albedo or no light; reconstruct it with a quality that finds them.")
    if vertex_basis is None:
        vertex_basis = lit_basis(face)
    s = _SUPERSAMPLING
    camera = camera.apply(Similarity(torch.tensor([float(s)]), torch.zeros(1), torch.zeros(1, 2)))
    vertices_px = camera.project_with_depth(face.vertices[None])
    fragments = rasterize(
        vertices_px, topology.triangles_tensor, (size[0] * s, size[1] * s), perspective=camera.perspective
    )
    mask = fragments.mask
    shading = interpolate((vertex_basis @ face.light)[None], topology.triangles_tensor, fragments)[mask]
    uv_triangles = torch.from_numpy(topology.uv_triangles.astype(np.int64))
    uv = interpolate(torch.from_numpy(topology.uv), uv_triangles, fragments)[mask]
    albedo = srgb_to_linear(sample_texture(face.albedo[None], uv[None])[0])
    layer = torch.zeros(*mask.shape, 4)
    layer[mask] = torch.cat([albedo * bounded_shading(shading, face.light), torch.ones(len(albedo), 1)], -1)
    layer = avg_pool2d(layer.permute(0, 3, 1, 2), s)
    cover = layer[:, 3:]
    return torch.cat([linear_to_srgb((layer[:, :3] / cover.clamp_min(1e-6)).clamp(0, 1)), cover], 1)


def rerender_error(
    face: Face, pixels: UInt8[np.ndarray, "H W 3"], *, vertex_basis: Float[Tensor, "V 9"] | None = None
) -> RerenderError:
    """How far the re-rendered face is from the photo, seen through `face.view`.

    The face region is the middle of the face (brows to chin, cheek to cheek), eyes and mouth with it, as far as it is
    in the photo, whether or not something hides it there. An error of 1 when nothing of it is.
    """
    view = face.view
    size = view.fragments.triangle.shape[-1]
    layer = relit_layer(face, view.camera, (size, size), vertex_basis=vertex_basis)[0]
    photo, in_photo = cut(pixels, view.crop, size)
    region = face_region(face) & in_photo & (layer[3] > 0.99)
    if not bool(region.any()):
        return RerenderError(1.0, 1.0)
    difference = layer[:3, region].T - photo[region]
    return RerenderError(float(difference.abs().mean()), float(difference.square().mean().sqrt()))


def face_region(face: Face) -> Bool[Tensor, "S S"]:
    """The pixels of `face.view` that show the middle of the face, the eyes or the inside of the mouth."""
    topology, fragments = face.head.topology, face.view.fragments
    if topology.uv is None or topology.uv_triangles is None:
        raise InputError(f"the head '{face.head.name}' has no UV chart, so its face region is not known.")
    where = fragments.mask[0]
    uv = interpolate(torch.from_numpy(topology.uv), torch.from_numpy(topology.uv_triangles.astype(np.int64)), fragments)
    centre = zone_maps(face.head)[ZONE_NAMES.index("centre")]
    value = sample_texture(centre[None, None], uv[0][where][None])[0, :, 0]
    part = anatomy_of(face.head).parts[fragments.triangle[0][where].long()]
    region = torch.zeros_like(where)
    region[where] = (value > _FACE) | (part > PARTS.index("skin"))
    return region
