"""DECA's pictures of a decoded face, in its crop or in the whole photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from likeness.cameras import Similarity
from likeness.methods.deca.crop import Compat
from likeness.methods.deca.detail import Detail
from likeness.methods.deca.geometry import DecaCode, Geometry
from likeness.methods.deca.model import DecaModel
from likeness.methods.deca.networks import IMAGE_SIZE
from likeness.methods.deca.shading import lamp_shading, sh_shading
from likeness.render import interpolate, rasterize

_CLAY = 180 / 255
# Shape pictures leave out what turns away from the viewer further than this.
_TURNED_AWAY_Z = 0.15


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture to draw on, and where the pixels of a crop of ``crop_size`` lie in it (None: it is the crop)."""

    image: Float[Tensor, "B 3 H W"]
    from_crop: Similarity | None = None
    crop_size: int = IMAGE_SIZE

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[-2], self.image.shape[-1]

    def to_pixels(self, points_image: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Image space → pixels of this picture; a third coordinate stays."""
        pixels = (points_image[..., :2] + 1) / 2 * self.crop_size
        if self.from_crop is not None:
            pixels = self.from_crop.to(pixels.device, pixels.dtype).transform(pixels)
        return torch.cat([pixels, points_image[..., 2:]], -1)

    def to_grid(self, points_image: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Image space → [-1, 1] over this picture; a third coordinate stays."""
        height, width = self.size
        pixels = self.to_pixels(points_image)
        return torch.cat([2 * pixels[..., :2] / pixels.new_tensor([width, height]) - 1, pixels[..., 2:]], -1)


@dataclass(frozen=True, eq=False)
class Buffers:
    """What each pixel sees: ``coverage`` 0 or 1, ``grid`` its place in the UV maps in [-1, 1] (v down), world and
    image-space normals (not of unit length), and ``depth`` in image space. Zero where there is no face."""

    coverage: Float[Tensor, "B 1 H W"]
    grid: Float[Tensor, "B H W 2"]
    normals: Float[Tensor, "B 3 H W"]
    normals_image: Float[Tensor, "B 3 H W"]
    depth: Float[Tensor, "B 1 H W"]

    def sample(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C H W"]:
        """A UV map seen in the picture."""
        return grid_sample(maps, self.grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@dataclass(frozen=True, eq=False)
class Pictures:
    """RGB in [0, 1] over the frame's picture, except: ``normals`` the world normals, ``depth`` grey, near is bright.

    ``rendered`` and ``albedo`` are None without a texture space.
    """

    buffers: Buffers
    shape: Float[Tensor, "B 3 H W"]
    shape_detail: Float[Tensor, "B 3 H W"]
    normals: Float[Tensor, "B 3 H W"]
    depth: Float[Tensor, "B 1 H W"]
    albedo: Float[Tensor, "B 3 H W"] | None
    rendered: Float[Tensor, "B 3 H W"] | None


def draw_pictures(
    model: DecaModel,
    code: DecaCode,
    geometry: Geometry,
    detail: Detail,
    frame: Frame,
    *,
    albedo: Float[Tensor, "B 3 256 256"] | None = None,
    compat: Compat = "default",
) -> Pictures:
    """All pictures of a face on a frame. ``official`` renders the albedo without light, as the last release does."""
    buffers = draw_buffers(model, geometry, frame)
    front = buffers.coverage * (buffers.normals_image[:, 2:] < _TURNED_AWAY_Z)
    behind = frame.image * (1 - front)
    detailed = buffers.sample(detail.normals) * front
    flat = rendered = None
    if albedo is not None:
        background = frame.image * (1 - buffers.coverage)
        sampled = buffers.sample(albedo)
        flat = sampled * buffers.coverage + background
        rendered = flat
        if compat == "default":
            rendered = sampled * sh_shading(buffers.normals, code.light) * buffers.coverage + background
    return Pictures(
        buffers=buffers,
        shape=_CLAY * lamp_shading(buffers.normals) * front + behind,
        shape_detail=_CLAY * lamp_shading(detailed) * front + behind,
        normals=buffers.normals * buffers.coverage,
        depth=depth_picture(geometry, buffers),
        albedo=flat,
        rendered=rendered,
    )


def draw_buffers(model: DecaModel, geometry: Geometry, frame: Frame) -> Buffers:
    """Rasterise a face once, for every picture of it."""
    vertices_px = frame.to_pixels(geometry.vertices_image)
    fragments = rasterize(vertices_px, model.triangles, frame.size, perspective=False)
    values = torch.cat([geometry.normals, geometry.normals_image, geometry.vertices_image[..., 2:]], -1)
    seen = interpolate(values, model.triangles, fragments).permute(0, 3, 1, 2)
    uv = interpolate(grid_coordinates(model.uv), model.uv_triangles, fragments)
    coverage = fragments.mask[:, None].to(seen.dtype)
    return Buffers(coverage, uv, seen[:, :3], seen[:, 3:6], seen[:, 6:])


def depth_picture(geometry: Geometry, buffers: Buffers) -> Float[Tensor, "B 1 H W"]:
    """The nearest vertex of each head is 1, the farthest 0, and so is what is behind."""
    z = geometry.vertices_image[..., 2]
    far, near = (limit[:, None, None, None] for limit in (z.amax(1), z.amin(1)))
    return (far - buffers.depth) / (far - near) * buffers.coverage


def grid_coordinates(uv: Float[Tensor, "U 2"]) -> Float[Tensor, "U 2"]:
    """UV (v up) → coordinates of `grid_sample` (y down)."""
    return torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], 1)
