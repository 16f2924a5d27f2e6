"""A photo as the head sees it: the square about the head, with what surface each pixel shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from likeness.appearance.anatomy import PARTS, Zones
from likeness.appearance.chart import ZONE_NAMES, anatomy_of, zone_maps
from likeness.appearance.self_shadowing import shadowed_basis
from likeness.cameras import Similarity
from likeness.face import Face
from likeness.lighting import irradiance_basis, srgb_to_linear
from likeness.meshes import vertex_normals
from likeness.render import interpolate, sample_texture

# A border row or column whose values differ by no more than this (of 255) is a bar, not photo; so many pixels beside it
# are neither.
_BAR, _MIXED = 20, 2
# How much of its own shadow is taken back in eye sockets and mouth, and on teeth, which are bright themselves.
_TO_AND_FRO, _ON_TEETH = 0.5, 0.9


@dataclass(frozen=True, eq=False)
class PhotoView:
    """Of the S × S pixels of ``face.view``, the P that show the mesh (``where``), and what the photo has there.

    ``colour`` are linear sRGB; ``shown`` is False beyond the photo's borders and in its letterbox bars, where
    ``colour`` means nothing. ``basis`` is what each coefficient of a light in the camera frame adds to the shading
    (own soft shadows included). ``vertex_basis`` are the same at
    the vertices. ``facing`` is the cosine between normal and view, ``part`` the index of
    `anatomy.PARTS`, ``uv`` the place in the head's chart.
    """

    face: Face
    srgb: Float[Tensor, "S S 3"]
    in_photo: Bool[Tensor, "S S"]
    where: Bool[Tensor, "S S"]
    colour: Float[Tensor, "P 3"]
    shown: Bool[Tensor, " P"]
    vertex_basis: Float[Tensor, "V 9"]
    basis: Float[Tensor, "P 9"]
    facing: Float[Tensor, " P"]
    part: Int[Tensor, " P"]
    uv: Float[Tensor, "P 2"]

    @cached_property
    def zones(self) -> Zones:
        """The anatomy of every pixel."""
        values = sample_texture(zone_maps(self.face.head)[None], self.uv[None])[0]
        return Zones(**dict(zip(ZONE_NAMES, values.unbind(-1), strict=True)))

    @cached_property
    def px_per_mm(self) -> float:
        """The view's scale at the head's middle."""
        return float(self.face.view.camera.project(_ALONG_X).diff(dim=1).norm()) / 10

    def image(self, values: Float[Tensor, "P C"], background: float = 0.0) -> Float[Tensor, "C S S"]:
        """Values of the pixels as a picture."""
        picture = values.new_full((values.shape[1], *self.where.shape), background)
        picture[:, self.where] = values.T
        return picture


_ALONG_X = torch.tensor([[[-5.0, 0.0, 0.0], [5.0, 0.0, 0.0]]])


def view_photo(face: Face, pixels: UInt8[np.ndarray, "H W 3"], vertex_basis: Tensor | None = None) -> PhotoView:
    """Look at the photo through `face.view`. ``vertex_basis`` (V, 9) saves computing `lit_basis` anew."""
    view, topology = face.view, face.head.topology
    triangles = topology.triangles_tensor
    basis = lit_basis(face) if vertex_basis is None else vertex_basis
    surface = torch.cat([face.vertices, vertex_normals(face.vertices, triangles), basis], -1)
    where = view.fragments.mask[0]
    seen = interpolate(surface[None], triangles, view.fragments)[0][where]
    normals = normalize(seen[:, 3:6], dim=-1)
    facing = (normals * face.camera.towards(seen[None, :, :3])[0]).sum(-1)
    srgb, in_photo = cut(pixels, view.crop, len(where))
    return PhotoView(
        face=face,
        srgb=srgb,
        in_photo=in_photo,
        where=where,
        colour=srgb_to_linear(srgb[where]),
        shown=in_photo[where],
        vertex_basis=basis,
        basis=seen[:, 6:],
        facing=facing,
        part=anatomy_of(face.head).parts[view.fragments.triangle[0][where].long()],
        uv=_uv(face)[where],
    )


def lit_basis(face: Face) -> Float[Tensor, "V 9"]:
    """`shadowed_basis` of a Face in its camera's frame; in eye sockets and mouth half of the shadow is taken back,
    as light goes to and fro between wet walls there, and on teeth nearly all of it."""
    rotation, triangles = face.camera.rotation[0], face.head.topology.triangles_tensor
    shadowed = shadowed_basis(face.vertices, triangles, rotation)
    free = irradiance_basis(vertex_normals(face.vertices, triangles) @ rotation.T)
    anatomy = anatomy_of(face.head)
    lit = torch.stack([anatomy.region(part) for part in PARTS[1:]]).amax(0) * _TO_AND_FRO
    lit = torch.where(anatomy.region("teeth") > 0, _ON_TEETH, lit)
    return shadowed + lit[:, None] * (free - shadowed)


def cut(
    pixels: UInt8[np.ndarray, "H W 3"], crop: Similarity, size: int
) -> tuple[Float[Tensor, "S S 3"], Bool[Tensor, "S S"]]:
    """An upright crop of the photo, resampled with a filter as wide as needed, and where it holds photo.

    Beyond the photo and in its bars the picture is black.
    """
    inverse = crop.inverse()
    step = float(inverse.scale[0])
    offset = inverse.translation[0].tolist()
    top, bottom, left, right = content_box(pixels)
    columns = _covered(left, right, offset[0], step, size)
    rows = _covered(top, bottom, offset[1], step, size)
    picture = torch.zeros(size, size, 3)
    inside = torch.zeros(size, size, dtype=torch.bool)
    if columns[0] < columns[1] and rows[0] < rows[1]:
        box = (*(offset[0] + step * c for c in columns), *(offset[1] + step * r for r in rows))
        box = (max(box[0], left), max(box[2], top), min(box[1], right), min(box[3], bottom))
        new_size = (columns[1] - columns[0], rows[1] - rows[0])
        part = Image.fromarray(pixels).resize(new_size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
        window = slice(rows[0], rows[1]), slice(columns[0], columns[1])
        picture[window] = torch.from_numpy(np.array(part)).float() / 255
        inside[window] = True
    return picture, inside


def content_box(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what lies between letterbox bars (or plain borders, which show no face either)."""
    top, bottom = _between_bars(pixels, axis=1)
    left, right = _between_bars(pixels[top:bottom], axis=0)
    return top, bottom, left, right


def _between_bars(pixels: np.ndarray, *, axis: int) -> tuple[int, int]:
    lines = pixels if axis == 1 else pixels.swapaxes(0, 1)
    n, step = len(lines), max(lines.shape[1] // 512, 1)
    first = next((i for i in range(n) if not _is_bar(lines[i, ::step])), None)
    if first is None:  # a picture without any contrast has no bars either
        return 0, n
    last = next(i for i in range(n, 0, -1) if not _is_bar(lines[i - 1, ::step]))
    # Beside a bar, resampling and compression have mixed it into the photo.
    mixed = _MIXED if last - first > 4 * _MIXED else 0
    return first + mixed * (first > 0), last - mixed * (last < n)


def _is_bar(line: np.ndarray) -> bool:
    low, high = np.percentile(line, [3, 97], axis=0)
    return bool((high - low <= _BAR).all())


def _covered(low: float, high: float, offset: float, step: float, size: int) -> tuple[int, int]:
    """First and last + 1 pixel of the crop that lie wholly within [low, high] of the photo."""
    first = int(np.ceil((low - offset) / step - 1e-4))
    last = int(np.floor((high - offset) / step + 1e-4))
    return max(first, 0), min(last, size)


def _uv(face: Face) -> Float[Tensor, "S S 2"]:
    topology = face.head.topology
    if topology.uv is None or topology.uv_triangles is None:
        return torch.zeros(*face.view.fragments.triangle.shape[1:], 2)
    uv_triangles = torch.from_numpy(topology.uv_triangles.astype(np.int64))
    return interpolate(torch.from_numpy(topology.uv), uv_triangles, face.view.fragments)[0]
