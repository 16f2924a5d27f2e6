"""Portrait-animation sets as the changed DECA of Lin et al. makes them: one source photo under other expressions.

Its numbers, texel by texel: the texture is always fetched from the photo at the places the *source's* surface has
there, hidden or not; nothing is lit anew; the eye region may be frozen, and the upper face exaggerated. The
differences of our own sets are told in ``docs/reenactment.md``.

Lin, Lindell, Chan, Wetzstein: *3D GAN Inversion for Controllable Portrait Image Animation*, 2022.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from likeness.heads.flame_layer import Flame
from likeness.methods.deca.detail import decode_detail, texture_to_albedo
from likeness.methods.deca.files import TextureSpace
from likeness.methods.deca.geometry import DecaCode, Geometry, surface_geometry
from likeness.methods.deca.model import DecaModel, UvSurface, chart_surface
from likeness.methods.deca.pictures import Buffers, Frame, draw_buffers
from likeness.methods.deca.shading import sh_shading
from likeness.render import interpolate as interpolate_surface
from likeness.render import rasterize

SMOOTHING_WINDOW = 5
EXAGGERATION = 2.0
"""What ``--scale_expressions`` multiplies the upper face's expressions by."""

# Of FLAME's average head, metres: brows and above; and a box about each eye.
_UPPER_Y = 0.038
_EYE_Y = (0.011, 0.034)
_RIGHT_EYE_X, _LEFT_EYE_X = (-0.052, -0.014), (0.014, 0.053)
# The masked picture is black where the mask's byte is below this.
_MASKED_BELOW = 100


@dataclass(frozen=True, eq=False)
class ForkModel:
    """DECA with the fork's resolutions: textures of ``uv_size`` texels, a photo crop of ``image_size`` pixels."""

    model: DecaModel
    surface: UvSurface
    mask: Float[Tensor, "1 1 S S"]
    textures: TextureSpace | None
    image_size: int

    @property
    def uv_size(self) -> int:
        return self.mask.shape[-1]


@dataclass(frozen=True, eq=False)
class ForkSource:
    """What is kept of the source: its code, its crop, where its surface lies in that crop, and its posed eye region."""

    code: DecaCode
    crop: Float[Tensor, "1 3 I I"]
    vertices_image: Float[Tensor, "1 V 3"]
    eyes: Float[Tensor, "E 3"]


@dataclass(frozen=True, eq=False)
class ForkFrame:
    """``rendered`` over its background, the soft ``mask`` of what was drawn, and the texture worn."""

    geometry: Geometry
    buffers: Buffers
    rendered: Float[Tensor, "1 3 H W"]
    mask: Float[Tensor, "1 1 H W"]
    texture: Float[Tensor, "1 3 S S"]
    detail_normals: Float[Tensor, "1 3 S S"]
    vertices_frame: Float[Tensor, "1 V 3"]


def fork_model(
    model: DecaModel, textures: TextureSpace | None = None, *, uv_size: int = 1024, image_size: int = 1024
) -> ForkModel:
    """The fork's setting of a model. ``textures`` is the texture space with all of its 512² pixels."""
    surface = chart_surface(model.triangles, model.uv, model.uv_triangles, uv_size)
    mask = interpolate(model.displacement.mask[None, None], (uv_size, uv_size))
    return ForkModel(model, surface, mask, textures, image_size)


def read_source(fork: ForkModel, code: DecaCode, crop: Float[Tensor, "1 3 I I"]) -> ForkSource:
    """The source's surface in its own crop of ``image_size`` pixels."""
    flame = fork.model.flame
    vertices = flame(code.shape, code.expression, code.rotations)
    geometry = surface_geometry(fork.model, code, vertices, "official")
    return ForkSource(code, crop, geometry.vertices_image, vertices[0, eye_region(flame)])


def draw_source(fork: ForkModel, source: ForkSource) -> ForkFrame:
    """The source with its own expression, alone on black in its crop: the fork's first pass."""
    geometry = surface_geometry(fork.model, source.code, _vertices(fork, source, source.code), "official")
    black = Frame(torch.zeros_like(source.crop), crop_size=fork.image_size)
    return _draw(fork, source, source.code, geometry, black)


def draw_target(
    fork: ForkModel,
    source: ForkSource,
    expression: Float[Tensor, "1 50"],
    jaw: Float[Tensor, "1 3"],
    frame: Frame,
    *,
    exaggeration: float = 1.0,
    freeze_eyes: bool = True,
) -> ForkFrame:
    """The source with another expression and jaw, in its original photo. The fork always freezes the eyes."""
    code = replace(source.code, expression=expression, jaw=jaw)
    vertices = _vertices(fork, source, code, exaggeration=exaggeration, freeze_eyes=freeze_eyes)
    return _draw(fork, source, code, surface_geometry(fork.model, code, vertices, "official"), frame)


def smooth_window(codes: Float[Tensor, "F C"], window: int = SMOOTHING_WINDOW) -> Float[Tensor, "F C"]:
    """The mean of each frame and the four before it; the first five all get the mean of frames 0 to 4."""
    starts = [max(0, frame - window + 1) for frame in range(len(codes))]
    return torch.stack([codes[start : start + window].mean(0) for start in starts])


def exaggerated(flame: Flame, scale: float = 1.0, *, component: int = 0, component_scale: float = 1.0) -> Flame:
    """FLAME with expressions ``scale`` times as strong in the upper face, one component of them more so."""
    factors = torch.full((flame.n_expression,), float(scale), device=flame.template.device)
    factors[component] *= component_scale
    return flame.exaggerate(factors, upper_region(flame))


def upper_region(flame: Flame) -> Bool[Tensor, " V"]:
    """Vertices from the brows upwards."""
    return flame.template.view(3, -1)[1] >= _UPPER_Y


def eye_region(flame: Flame) -> Bool[Tensor, " V"]:
    """Vertices in a box about either eye, through the whole head."""
    x, y, _ = flame.template.view(3, -1)
    right = (x >= _RIGHT_EYE_X[0]) & (x <= _RIGHT_EYE_X[1])
    left = (x >= _LEFT_EYE_X[0]) & (x < _LEFT_EYE_X[1])
    return (y >= _EYE_Y[0]) & (y <= _EYE_Y[1]) & (right | left)


def frame_pictures(fork: ForkModel, drawn: ForkFrame) -> dict[str, UInt8[Tensor, "H W 3"]]:
    """The four pictures of a frame under the fork's names, truncated to bytes as it does."""
    rendered, mask = _bytes(drawn.rendered), _bytes(drawn.mask.expand(-1, 3, -1, -1))
    masked = torch.where(mask < _MASKED_BELOW, torch.zeros_like(rendered), rendered)
    depth = _bytes(square_depth(fork, drawn).expand(-1, 3, -1, -1))
    return {"depth": depth, "rendered_images": rendered, "mask": mask, "masked_rendered_images": masked}


def square_depth(fork: ForkModel, drawn: ForkFrame) -> Float[Tensor, "1 1 I I"]:
    """Nearest vertex 1, farthest 0, nothing 0: always a square, into which the fork squashes any other photo."""
    size = fork.image_size
    grid = drawn.vertices_frame
    pixels = torch.cat([(grid[..., :2] + 1) / 2 * size, grid[..., 2:]], -1)
    triangles = fork.model.triangles
    fragments = rasterize(pixels, triangles, (size, size), perspective=False)
    z = grid[..., 2] - grid[..., 2].min()
    seen = interpolate_surface(((z.max() - z) / z.max())[..., None], triangles, fragments)
    return seen.permute(0, 3, 1, 2)


# ------------------------------------------------------------------ the steps


def _vertices(
    fork: ForkModel, source: ForkSource, code: DecaCode, *, exaggeration: float = 1.0, freeze_eyes: bool = False
) -> Float[Tensor, "1 V 3"]:
    flame = fork.model.flame
    posed = exaggerated(flame, exaggeration) if exaggeration != 1 else flame
    vertices = posed(code.shape, code.expression, code.rotations)
    if freeze_eyes:
        vertices = vertices.clone()
        vertices[0, eye_region(flame)] = source.eyes
    return vertices


def _draw(fork: ForkModel, source: ForkSource, code: DecaCode, geometry: Geometry, frame: Frame) -> ForkFrame:
    # Drawn at 256, where the decoder's maps are, then enlarged without smoothing.
    normals = interpolate(decode_detail(fork.model, code, geometry, "official").normals, (fork.uv_size,) * 2)
    texture, covered = _texture(fork, source, normals)
    buffers = draw_buffers(fork.model, geometry, frame)
    mask = buffers.sample(covered) * buffers.coverage
    rendered = buffers.sample(texture) * mask + frame.image * (1 - mask)
    vertices_frame = frame.to_grid(geometry.vertices_image)
    return ForkFrame(geometry, buffers, rendered, mask, texture, normals, vertices_frame)


def _texture(
    fork: ForkModel, source: ForkSource, normals: Float[Tensor, "1 3 S S"]
) -> tuple[Float[Tensor, "1 3 S S"], Float[Tensor, "1 1 S S"]]:
    """The photo where the source's surface lies in it, and how much of the face that is; the rest is the model's."""
    places = fork.surface.warp(source.vertices_image)[:, :2].permute(0, 2, 3, 1)
    photo, crop = (
        grid_sample(image, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        for image in (source.crop, torch.ones_like(source.crop[:, :1]))
    )
    covered = fork.mask * crop
    if fork.textures is None:
        return photo, covered
    albedo = interpolate(texture_to_albedo(fork.textures, source.code.texture), (fork.uv_size,) * 2)
    lit = albedo * sh_shading(normals, source.code.light)
    return photo * covered + lit * (1 - covered), covered


def _bytes(picture: Float[Tensor, "1 3 H W"]) -> UInt8[Tensor, "H W 3"]:
    return (picture[0].permute(1, 2, 0) * 255).clamp(0, 255).to(torch.uint8).cpu()
