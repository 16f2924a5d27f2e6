"""Pictures for people: shaded clay or textured views, wireframes, depth, and their overlay on a photo.

Pictures are sRGB (B, 3, H, W) in [0, 1], layers (B, 4, H, W) the same with the share of each pixel they cover.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, normalize, pad
from torch.nn.functional import interpolate as interpolate_image

from likeness.cameras import Camera, Pinhole, Similarity, WeakPerspective
from likeness.lighting import linear_to_srgb, srgb_to_linear
from likeness.meshes import vertex_normals
from likeness.render.interpolation import interpolate
from likeness.render.rasterization import Fragments, rasterize
from likeness.render.textures import sample_texture

CLAY = (0.80, 0.72, 0.66)
"""sRGB albedo of the neutral material."""

PAPER = (0.93, 0.93, 0.94)
"""sRGB background of pictures without a photo."""

# The usual three lights of a portrait, in the camera frame (+x right, +y down, +z away from the camera): direction
# towards the light, linear colour, and how far round the form it wraps, 0 hard … 1 half-way to the back.
_LIGHTS = (
    ((-0.60, -0.70, -0.70), (1.05, 0.99, 0.92), 0.12),  # key: above, left, a little warm
    ((0.90, -0.05, -0.60), (0.13, 0.15, 0.18), 0.40),  # fill: right, dim, cool
    ((0.60, -0.50, 0.65), (0.55, 0.58, 0.62), 0.00),  # rim: from behind, draws the outline
)
_SKY, _GROUND = (0.15, 0.16, 0.18), (0.08, 0.07, 0.065)
_GLOSS, _SHININESS = 0.07, 22.0

# Less light reaches the inside of a surface: the mouth, a cut neck.
_LIGHT_INSIDE = 0.4

# Radii, in parts of the mesh's height in the picture, and strength of the darkening of hollows.
_HOLLOWS = ((0.012, 0.5), (0.04, 0.35))


@dataclass(frozen=True, eq=False)
class Texture:
    """An sRGB albedo map and where it sits on the triangles (row for row the mesh's)."""

    image: Float[Tensor, "B 3 H W"]
    uv: Float[Tensor, "U 2"]
    uv_triangles: Int[Tensor, "T 3"]


Albedo = tuple[float, float, float] | Tensor | Texture
"""What colour the surface has: one sRGB colour, colours at vertices ((V, 3) or (B, V, 3)), or a texture."""


def portrait_camera(
    vertices: Float[Tensor, "B V 3"],
    size: tuple[int, int],
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    fill: float = 0.9,
    distance: float | None = 1200.0,
) -> Pinhole | WeakPerspective:
    """A camera that looks the head in the face and has all of it, `fill` of the picture's size (height, width).

    `yaw` and `pitch` in degrees turn the head to its left (to the right in the picture) and down. `distance` in mm,
    1.2 m being a portrait photographer's; None for an orthographic view.
    """
    turn = roma.euler_to_rotmat("XY", vertices.new_tensor([pitch, yaw]), degrees=True)
    facing = torch.diag(vertices.new_tensor([1.0, -1.0, -1.0]))
    rotation = (facing @ turn).expand(len(vertices), 3, 3)
    seen = vertices @ rotation.mT
    middle = (seen.amin(1) + seen.amax(1)) / 2
    one, origin = seen.new_ones(len(seen)), seen.new_zeros(len(seen), 2)
    if distance is None:
        camera = WeakPerspective(rotation, one, origin)
    else:
        place = torch.cat([-middle[:, :2], distance - middle[:, 2:]], -1)
        camera = Pinhole.from_focal(rotation=rotation, translation=place, focal=one, centre=origin)
    outline = camera.project(vertices)
    low, high = outline.amin(1), outline.amax(1)
    space = seen.new_tensor([size[1], size[0]])
    scale = fill * (space / (high - low)).amin(-1)
    shift = space / 2 - scale[:, None] * (low + high) / 2
    return camera.apply(Similarity(scale, torch.zeros_like(scale), shift))


def shaded_view(
    vertices: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "T 3"],
    camera: Camera,
    size: tuple[int, int],
    *,
    albedo: Albedo = CLAY,
    normals: Float[Tensor, "B V 3"] | None = None,
    supersampling: int = 2,
) -> Float[Tensor, "B 4 H W"]:
    """The mesh in soft three-point light that stands with the camera, as a layer to lay over a background.

    Two-sided, with hollows darkened a little. `normals` (unit, head frame) default to the vertices' own.
    """
    big = (size[0] * supersampling, size[1] * supersampling)
    camera = _magnified(camera, supersampling)
    vertices_px = camera.project_with_depth(vertices)
    fragments = rasterize(vertices_px, triangles, big, perspective=camera.perspective)
    normals = vertex_normals(vertices, triangles) if normals is None else normals
    dense_normals = interpolate(normals @ camera.rotation.mT, triangles, fragments)
    # From here on (P, 3): only the pixels that see the mesh.
    mask = fragments.mask
    inside = _sees_inside(fragments, vertices_px, triangles)[mask][:, None]
    seen_normals = normalize(dense_normals[mask], dim=-1)
    seen_normals = torch.where(inside, -seen_normals, seen_normals)
    light = _light_on(seen_normals) * _hollows(fragments, vertices_px, dense_normals[..., 2])[mask][:, None]
    light = torch.where(inside, _LIGHT_INSIDE * light, light)
    colour = light * _albedo_seen(albedo, triangles, fragments) + _gloss_on(seen_normals)
    return _layer(colour, mask, supersampling)


def wireframe(
    vertices: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "T 3"],
    camera: Camera,
    size: tuple[int, int],
    *,
    colour: tuple[float, float, float] = (0.1, 0.75, 0.95),
    width: float = 0.8,
    edges: Bool[Tensor, "T 3"] | None = None,
    supersampling: int = 2,
) -> Float[Tensor, "B 4 H W"]:
    """The visible edges as a layer: lines `width` pixels wide. `edges` chooses them, for one, a quad mesh's own.

    Edge i of a triangle runs from its corner i to its corner i + 1.
    """
    camera = _magnified(camera, supersampling)
    vertices_px = camera.project_with_depth(vertices)
    big = (size[0] * supersampling, size[1] * supersampling)
    fragments = rasterize(vertices_px, triangles, big, perspective=camera.perspective)
    image, row, column = torch.nonzero(fragments.mask, as_tuple=True)
    seen = fragments.triangle[image, row, column].long()
    corners = vertices_px[image[:, None], triangles[seen], :2]
    along = normalize(corners.roll(-1, dims=1) - corners, dim=-1)
    offset = torch.stack([column, row], -1)[:, None] + 0.5 - corners
    distance = (along[..., 0] * offset[..., 1] - along[..., 1] * offset[..., 0]).abs()
    if edges is not None:
        distance = torch.where(edges[seen], distance, torch.inf)
    # Either neighbour draws its half of the line.
    drawn = distance.amin(-1) < width * supersampling / 2
    mask = fragments.mask.index_put((image, row, column), drawn)
    ink = srgb_to_linear(vertices.new_tensor(colour)).expand(int(mask.sum()), 3)
    return _layer(ink, mask, supersampling)


def depth_picture(fragments: Fragments) -> Float[Tensor, "B 3 H W"]:
    """Depth as gray, the nearest point white, the farthest dark, nothing black; each image in its own range."""
    depth, mask = fragments.depth, fragments.mask
    near = depth.amin((1, 2), keepdim=True)
    far = torch.where(mask, depth, -torch.inf).amax((1, 2), keepdim=True)
    gray = 1 - 0.85 * (depth - near) / (far - near).clamp_min(1e-6)
    return torch.where(mask, gray, 0.0)[:, None].expand(-1, 3, -1, -1)


def over(
    layer: Float[Tensor, "B 4 H W"],
    background: Float[Tensor, "#B 3 H W"] | tuple[float, float, float] = PAPER,
    *,
    opacity: float = 1.0,
) -> Float[Tensor, "B 3 H W"]:
    """A layer laid over a photo or a plain sRGB colour."""
    if not isinstance(background, Tensor):
        background = layer.new_tensor(background)[None, :, None, None]
    alpha = layer[:, 3:] * opacity
    mixed = alpha * srgb_to_linear(layer[:, :3]) + (1 - alpha) * srgb_to_linear(background)
    return linear_to_srgb(mixed)


def to_uint8(picture: Float[Tensor, "1 3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """A picture as an 8-bit array, rounded."""
    return (picture[0].clamp(0, 1).permute(1, 2, 0) * 255 + 0.5).to(torch.uint8).cpu().numpy()


def _magnified(camera: Camera, factor: int) -> Camera:
    rotation = camera.rotation
    scale = rotation.new_full((len(rotation),), float(factor))
    return camera.apply(Similarity(scale, torch.zeros_like(scale), rotation.new_zeros(len(rotation), 2)))


def _sees_inside(fragments: Fragments, vertices_px: Tensor, triangles: Tensor) -> Bool[Tensor, "B H W"]:
    a, b, c = (vertices_px[:, triangles[:, corner], :2] for corner in range(3))
    u, v = b - a, c - a
    from_behind = u[..., 0] * v[..., 1] > u[..., 1] * v[..., 0]
    seen = fragments.triangle.clamp_min(0).long()
    return from_behind.gather(1, seen.flatten(1)).view_as(seen) & fragments.mask


def _light_on(normals: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
    """Linear diffuse light on camera-frame normals."""
    up = (0.5 - 0.5 * normals[..., 1:2]).clamp(0, 1)
    light = up * normals.new_tensor(_SKY) + (1 - up) * normals.new_tensor(_GROUND)
    for direction, colour, wrap in _LIGHTS:
        cosine = normals @ normalize(normals.new_tensor(direction), dim=0)
        strength = ((cosine + wrap) / (1 + wrap)).clamp_min(0)
        light = light + strength[..., None] * normals.new_tensor(colour)
    return light


def _gloss_on(normals: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
    """A faint sheen of the key light (Blinn and Phong), the viewer taken as far away."""
    direction, colour, _ = _LIGHTS[0]
    half_way = normalize(normalize(normals.new_tensor(direction), dim=0) + normals.new_tensor([0, 0, -1.0]), dim=0)
    return _GLOSS * (normals @ half_way).clamp_min(0)[..., None] ** _SHININESS * normals.new_tensor(colour)


def _albedo_seen(albedo: Albedo, triangles: Tensor, fragments: Fragments) -> Tensor:
    """Linear albedo in each covered pixel: (P, 3), or (3,) where it is the same everywhere."""
    if isinstance(albedo, Texture):
        uv = interpolate(albedo.uv, albedo.uv_triangles, fragments)
        return srgb_to_linear(sample_texture(albedo.image, uv)[fragments.mask])
    if isinstance(albedo, Tensor):
        return srgb_to_linear(interpolate(albedo, triangles, fragments)[fragments.mask])
    return srgb_to_linear(fragments.barycentric.new_tensor(albedo))


def _hollows(
    fragments: Fragments, vertices_px: Float[Tensor, "B V 3"], facing: Float[Tensor, "B H W"]
) -> Float[Tensor, "B H W"]:
    """The light left where the surface lies behind the mean of its surroundings: a cheap ambient occlusion.

    Less of it where the surface turns away from us, as it lies behind there without being hollow.
    """
    mask = fragments.mask[:, None].to(torch.float32)
    depth = torch.where(fragments.mask, fragments.depth, 0.0)[:, None]
    height_px = (vertices_px[..., 1].amax() - vertices_px[..., 1].amin()).item()
    extent_mm = (vertices_px[..., 2].amax(1) - vertices_px[..., 2].amin(1))[:, None, None, None]
    left = torch.ones_like(depth)
    for radius, strength in _HOLLOWS:
        sigma = max(radius * height_px, 0.5)
        around = _blur(depth, sigma) / _blur(mask, sigma).clamp_min(1e-6)
        behind = ((depth - around) / (radius * extent_mm).clamp_min(1e-6)).clamp(0, 1.5)
        left = left * torch.exp(-strength * behind * facing[:, None] ** 2)
    return left[:, 0]


def _blur(picture: Float[Tensor, "B 1 H W"], sigma: float) -> Float[Tensor, "B 1 H W"]:
    """Gaussian, with zeros around the picture. A wide one is taken on a coarser grid, where it is as smooth."""
    coarser = min(max(int(sigma / 2.5), 1), *picture.shape[-2:])
    radius = math.ceil(2.5 * sigma / coarser)
    steps = torch.arange(-radius, radius + 1, device=picture.device, dtype=picture.dtype)
    weights = torch.exp(-0.5 * (steps * coarser / sigma) ** 2)
    weights = (weights / weights.sum())[None, None, None]
    rest = [-side % coarser for side in picture.shape[-2:]]
    small = avg_pool2d(pad(picture, (0, rest[1], 0, rest[0])), coarser)
    rows = conv2d(pad(small, (radius, radius, 0, 0)), weights)
    blurred = conv2d(pad(rows, (0, 0, radius, radius)), weights.mT)
    whole = interpolate_image(blurred, scale_factor=coarser, mode="bilinear", align_corners=False)
    return whole[..., : picture.shape[-2], : picture.shape[-1]]


def _layer(colour: Float[Tensor, "P 3"], mask: Bool[Tensor, "B H W"], supersampling: int) -> Float[Tensor, "B 4 h w"]:
    """Linear colours of the covered pixels, averaged down: each pixel's colour over the part of it that is covered."""
    dense = colour.new_zeros(*mask.shape, 4)
    dense[mask] = torch.cat([colour, torch.ones_like(colour[:, :1])], -1)
    averaged = avg_pool2d(dense.permute(0, 3, 1, 2), supersampling)
    cover = averaged[:, 3:]
    srgb = linear_to_srgb((averaged[:, :3] / cover.clamp_min(1e-6)).clamp(0, 1))
    return torch.cat([srgb, cover], 1)
