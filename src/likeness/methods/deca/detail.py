"""DECA in UV: displacement, detailed normals, albedo, the texture seen in the photo, and the dense mesh.

Maps are 256², row 0 at v = 1. Displacements are metres along the normal of the coarse surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from likeness.methods.deca.crop import Compat
from likeness.methods.deca.files import UV_SIZE, TextureSpace
from likeness.methods.deca.geometry import DecaCode, Geometry, normalise
from likeness.methods.deca.model import DecaModel
from likeness.methods.deca.shading import sh_shading

# Texels whose coarse normal looks away from the camera by more than this are not seen in the photo.
SEEN_NORMAL_Z = -0.05
_GREY = 0.7


@dataclass(frozen=True, eq=False)
class Detail:
    """``network`` is the decoder's own map, ``displacement`` that plus the constant part, both unmasked."""

    network: Float[Tensor, "B 1 256 256"]
    displacement: Float[Tensor, "B 1 256 256"]
    surface: Float[Tensor, "B 3 256 256"]
    coarse_normals: Float[Tensor, "B 3 256 256"]
    normals: Float[Tensor, "B 3 256 256"]


@dataclass(frozen=True, eq=False)
class Textures:
    """``albedo`` from the texture code (None without a texture space), ``lit`` the albedo under the light and detailed
    normals, ``photo`` the photo's colours carried onto the chart, ``seen`` where those are the face's own."""

    albedo: Float[Tensor, "B 3 256 256"] | None
    lit: Float[Tensor, "B 3 256 256"] | None
    photo: Float[Tensor, "B 3 256 256"]
    seen: Float[Tensor, "B 1 256 256"]
    combined: Float[Tensor, "B 3 256 256"]


def decode_detail(model: DecaModel, code: DecaCode, geometry: Geometry, compat: Compat = "default") -> Detail:
    """Displacement and detailed normals of a posed head."""
    network = model.displacement.decoder(code.jaw, code.expression, code.detail)
    surface, coarse = model.uv_surface.warp(geometry.vertices), model.uv_surface.warp(geometry.normals)
    mask, fixed = model.displacement.mask, model.displacement.fixed
    displaced = surface + (network * mask + fixed) * coarse
    normals = grid_normals(displaced, compat) * mask + coarse * (1 - mask)
    if compat == "default":
        # A mix of two unit vectors is shorter than either; outside the chart there is no normal.
        normals = normalise(normals, dim=1)
    return Detail(network, network + fixed, surface, coarse, normals)


def grid_normals(points: Float[Tensor, "B 3 H W"], compat: Compat = "default") -> Float[Tensor, "B 3 H W"]:
    """Normals of a grid of points taken as a mesh, two triangles a cell; zero in the margin, which has no cells.

    Cells start in columns 2…W-4 and rows 5…H-7. The same as vertex normals of the explicit mesh, without its 122,990
    triangles.
    """
    total = torch.zeros_like(points)
    height, width = points.shape[-2:]
    rows, columns = slice(5, height - 6), slice(2, width - 3)
    below, right = slice(6, height - 5), slice(3, width - 2)
    a, b = points[..., rows, columns], points[..., rows, right]
    c, d = points[..., below, columns], points[..., below, right]
    first = torch.linalg.cross(c - a, b - a, dim=1)
    second = torch.linalg.cross(c - b, d - b, dim=1)
    for row, column, area in (
        (rows, columns, first),
        (below, columns, first + second),
        (rows, right, first + second),
        (below, right, second),
    ):
        total[..., row, column] += area
    return normalise(total, compat, dim=1)


def texture_to_albedo(space: TextureSpace, texture: Float[Tensor, "B 50"]) -> Float[Tensor, "B 3 S S"]:
    """The albedo of a texture code, RGB, about [0, 1], not clamped."""
    return space.mean + torch.einsum("chwk,bk->bchw", space.components, texture)


def decode_textures(
    model: DecaModel,
    code: DecaCode,
    geometry: Geometry,
    detail: Detail,
    image: Float[Tensor, "B 3 H W"],
    grid: Float[Tensor, "B V 3"],
    compat: Compat = "default",
    *,
    extract: bool = True,
) -> Textures:
    """Textures of a posed head. ``grid`` are the vertices in the image's own [-1, 1] coordinates.

    The photo's colours fill the face; what is hidden in the photo, or outside the face, comes from the texture space
    where there is one. ``official`` takes the photo's colours for hidden parts too. ``extract=False`` leaves the photo
    out.
    """
    albedo = None if model.textures is None else texture_to_albedo(model.textures, code.texture)
    lit = None if albedo is None else albedo * sh_shading(detail.normals, code.light)
    places = model.uv_surface.warp(grid)[:, :2].permute(0, 2, 3, 1)
    photo = grid_sample(image, places, mode="bilinear", padding_mode="zeros", align_corners=False)
    seen = model.displacement.mask.expand(len(photo), 1, UV_SIZE, UV_SIZE)
    if compat == "default":
        facing = model.uv_surface.warp(geometry.normals_image)[:, 2:] < SEEN_NORMAL_Z
        inside = (places.abs() <= 1).all(-1)[:, None]
        seen = seen * facing * inside
    elsewhere = lit if lit is not None else torch.full_like(photo, _GREY)
    combined = photo * seen + elsewhere * (1 - seen) if extract or lit is None else lit
    return Textures(albedo, lit, photo, seen, combined)


@dataclass(frozen=True, eq=False)
class DenseMesh:
    """The detailed mesh of one face: metres in the world, colours in [0, 1], UV of each vertex."""

    vertices: Float[Tensor, "N 3"]
    colours: Float[Tensor, "N 3"]
    triangles: Tensor
    uv: Float[Tensor, "N 2"]


def dense_mesh(
    model: DecaModel, geometry: Geometry, displacement: Float[Tensor, "1 256 256"], colours: Float[Tensor, "3 256 256"]
) -> DenseMesh:
    """The head with a vertex at every texel of the chart, displaced (the first of the batch).

    Needs the dense template: see `DecaModel.dense`.
    """
    template = model.dense
    assert template is not None, "ask for a dense mesh only when its template is installed"
    # Double precision: neighbours are a tenth of a millimetre apart.
    vertices, normals = (x[0].double().cpu() for x in (geometry.vertices, geometry.normals))
    corners, weights = torch.from_numpy(template.corners), torch.from_numpy(template.barycentric)[..., None]
    column, row = torch.from_numpy(template.pixels).unbind(1)
    points = (vertices[corners] * weights).sum(1)
    directions = torch.nn.functional.normalize((normals[corners] * weights).sum(1), dim=1)
    lifted = points + displacement[0].double().cpu()[row, column, None] * directions
    uv = torch.stack([(column + 0.5) / UV_SIZE, 1 - (row + 0.5) / UV_SIZE], 1)
    return DenseMesh(lifted, colours.cpu()[:, row, column].T.clamp(0, 1), torch.from_numpy(template.triangles), uv)
