"""One photo's colours on the head's chart: how they differ from the model, and how far they are to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d
from torch.nn.functional import interpolate as resize

from likeness.appearance.chart import chart_of
from likeness.appearance.openings import dark_features
from likeness.appearance.photo_view import cut
from likeness.appearance.read import Appearance, bounded_shading
from likeness.cameras import Similarity
from likeness.face import Face
from likeness.filters import smoothstep
from likeness.lighting import light_on_facing, srgb_to_linear
from likeness.meshes import vertex_normals
from likeness.render import interpolate

# Geometry and light are smooth: they are laid out at this size at most.
COARSE = 512
_GRAZING, _FACING = 0.28, 0.62
# Log of linear colour is taken above this.
_NOISE = 0.003
_MAX_CROP = 2048
# In mm, at glasses' frames, and in pixels of the photo.
_RIM_MM, _FRAME_RIM_MM, _RIM_PX = 1.0, 1.7, 1.2


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """``excess`` (3, S, S): log(colour / (light · expected albedo)) in every texel the photo may show;
    ``seen`` (S', S') in [0, 1] how squarely it is seen, ``skin`` (S', S') the confidence that it is skin there,
    ``reached`` (S, S) whether the photo goes so far; S' = min(S, COARSE)."""

    excess: Float[Tensor, "3 S S"]
    reached: Bool[Tensor, "S S"]
    seen: Float[Tensor, "s s"]
    skin: Float[Tensor, "s s"]
    px_per_texel: float


def unwrap(
    appearance: Appearance,
    pixels: UInt8[np.ndarray, "H W 3"],
    expected: Float[Tensor, "3 s s"],
    *,
    size: int,
) -> Unwrapped:
    """Look up every texel's pixel. ``expected`` is the linear albedo that the model puts there."""
    face = appearance.view.face
    coarse = expected.shape[-1]
    light, seen, skin = _geometry(appearance, coarse)
    crop, scale = _crop(face, size)
    picture, in_photo = cut(pixels, crop, scale)
    chart = chart_of(face.head, size)
    where = interpolate(
        crop.transform(face.camera.project(face.vertices[None])), face.head.topology.triangles_tensor, chart.fragments
    )
    grid = where * (2 / scale) - 1
    source = torch.cat([picture, in_photo[..., None]], -1).permute(2, 0, 1)[None]
    colour = grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    model = (light * expected + _NOISE).log()
    excess = (srgb_to_linear(colour[:3]) + _NOISE).log_().sub_(_enlarged(model, size))
    reached = colour[3] > 0.999
    seen = seen * (resize(reached[None, None].float(), (coarse, coarse), mode="area")[0, 0] > 0.999)
    return Unwrapped(excess, reached, seen, skin, float(crop.inverse().scale[0]) * scale / size)


def _geometry(appearance: Appearance, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shading (3, s, s), how squarely each texel is seen and the skin mask there."""
    view, face = appearance.view, appearance.view.face
    topology, chart = face.head.topology, chart_of(face.head, size)
    normals = vertex_normals(face.vertices, topology.triangles_tensor)
    facing = (normals * face.camera.towards(face.vertices[None])[0]).sum(-1, keepdim=True)
    shading = view.vertex_basis @ appearance.light
    attributes = torch.cat([face.vertices, facing, shading], -1)
    texels = interpolate(attributes[None], topology.triangles_tensor, chart.fragments)[0][chart.inside]
    squarely = smoothstep(texels[:, 3], _GRAZING, _FACING)
    candidate = squarely > 0
    squarely[candidate] *= face.view.visible(texels[candidate, :3]).float()
    place = face.view.camera.project(texels[None, :, :3])
    # A pixel beside one that is no skin holds some of it.
    rim_mm = _FRAME_RIM_MM if appearance.glasses else _RIM_MM
    rim = round(max(rim_mm * view.px_per_mm, _RIM_PX * float(face.view.crop.scale)))
    whole = _over_all(appearance)
    mask = -max_pool2d(-whole[None, None], 2 * rim + 1, 1, rim)
    mask = torch.maximum(mask, dark_features(view, glasses=appearance.glasses) * whole)
    skin = grid_sample(mask, place[:, None] * (2 / mask.shape[-1]) - 1, align_corners=False)[0, 0].T
    light = bounded_shading(texels[:, 4:], appearance.light)
    maps = chart.image(torch.cat([light, squarely[:, None], skin], -1))
    maps[:3, ~chart.inside] = light_on_facing(appearance.light)[:, None]
    return maps[:3], maps[3], maps[4]


def _over_all(appearance: Appearance) -> Float[Tensor, "S S"]:
    """The mask; 1 beside the head, where no rim is wanted."""
    view = appearance.view
    return torch.where(view.where & view.in_photo, appearance.mask, 1.0)


def _crop(face: Face, size: int) -> tuple[Similarity, int]:
    """The square of the photo about the head, so large that a texel of the face is about a pixel."""
    box = face.view.crop.inverse()
    # The chart's face is about two thirds of its width, as the head's picture is of its own.
    scale = min(int(size * 1.1), _MAX_CROP)
    ratio = float(box.scale[0]) * face.view.fragments.triangle.shape[-1] / scale
    crop = Similarity(1 / torch.tensor([ratio]), torch.zeros(1), -box.translation / ratio)
    return crop, scale


def _enlarged(image: Tensor, size: int) -> Tensor:
    if image.shape[-1] == size:
        return image
    return resize(image[None], (size, size), mode="bilinear", align_corners=False)[0]
