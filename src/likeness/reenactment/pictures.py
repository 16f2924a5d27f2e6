"""The files of one frame of a portrait-animation set.

The first four kinds bear the names of Lin et al.'s data, which trainers of 3D GANs read; the others show the geometry.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from likeness.atomic import write_bytes
from likeness.displaced import displaced_surface
from likeness.errors import InputError
from likeness.face import Face
from likeness.files.maps import write_depth
from likeness.files.obj import write_obj
from likeness.landmarks.drawing import draw_landmarks
from likeness.methods import follow_expression
from likeness.reenactment.portrait import Portrait, PortraitFrame
from likeness.render.pictures import over, shaded_view, to_uint8
from likeness.topology import Mesh, Topology

ImageFormat = Literal["png", "jpg", "webp"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = ("png", "jpg", "webp")
DEPTH_SCALE = 0.1
"""Millimetres a step of the 16-bit depth."""

_QUALITY = 95
# A clay picture of a larger photo is drawn at this size and enlarged.
_CLAY_PIXELS = 1_500_000


@dataclass(frozen=True, eq=False)
class FrameOutput:
    """One frame, and what is only made when a file of it is asked for."""

    portrait: Portrait
    worn: Face
    frame: PortraitFrame

    @cached_property
    def detailed(self) -> Face:
        """With the wrinkles of its expression, where its method has such."""
        return follow_expression(self.worn)


KINDS: dict[str, Callable[[FrameOutput], UInt8[np.ndarray, "H W C"]]] = {
    "rendered_images": lambda made: made.frame.picture,
    "masked_rendered_images": lambda made: made.frame.masked,
    "mask": lambda made: (made.frame.mask * 255 + 0.5).astype(np.uint8),
    "landmarks2d": lambda made: _landmarks(made, solid=False),
    "landmarks3d": lambda made: _landmarks(made, solid=True),
    "shape_images": lambda made: _clay(made, made.worn, detailed=False),
    "shape_detail_images": lambda made: _clay(made, made.detailed, detailed=True),
}
FILES = (*KINDS, "depth", "obj", "detail_obj")
"""Everything that can be written of a frame."""
DEFAULT_FILES = tuple(name for name in FILES if not name.endswith("obj"))


def check_files(files: Collection[str], image_format: str) -> None:
    """Raise InputError on an unknown kind of file or image."""
    unknown = sorted(set(files) - set(FILES))
    if unknown or not files:
        raise InputError(f"unknown file '{unknown[0] if unknown else ''}'; a frame has {', '.join(FILES)}.")
    if image_format not in IMAGE_FORMATS:
        raise InputError(f"unknown image format '{image_format}'; choose from {', '.join(IMAGE_FORMATS)}.")


def write_frame(
    folder: Path, name: str, made: FrameOutput, files: Collection[str], image_format: ImageFormat = "png"
) -> list[Path]:
    """Write a frame's files, each whole or not at all, and return them. Depth is a 16-bit PNG whatever the format.

    Raises OutputError when a file cannot be written.
    """
    written = []
    for kind, draw in KINDS.items():
        if kind in files:
            written.append(folder / f"{name}_{kind}.{image_format}")
            write_picture(written[-1], draw(made), image_format)
    if "depth" in files:
        written.append(folder / f"{name}_depth.png")
        write_depth(written[-1], made.frame.depth, scale=DEPTH_SCALE)
    if "obj" in files:
        written.append(folder / f"{name}.obj")
        write_obj(written[-1], made.worn.mesh())
    if "detail_obj" in files:
        written.append(folder / f"{name}_detail.obj")
        write_obj(written[-1], _detailed_mesh(made.detailed))
    return written


def write_picture(path: Path, pixels: UInt8[np.ndarray, "H W C"], image_format: ImageFormat) -> None:
    """Write an 8-bit picture. Raises OutputError."""
    buffer, options = io.BytesIO(), {"compress_level": 1}
    if image_format != "png":
        options = {"quality": _QUALITY}
    Image.fromarray(pixels).save(buffer, {"jpg": "JPEG"}.get(image_format, image_format.upper()), **options)
    write_bytes(path, buffer.getvalue())


def _landmarks(made: FrameOutput, *, solid: bool) -> UInt8[np.ndarray, "H W 3"]:
    """iBUG's landmarks on the frame: those of the outline as a 2D detector sees them, or fixed points of the skin."""
    points = made.portrait.landmarks(made.worn, follow_outline=not solid)
    visible = made.worn.landmarks("ibug68").visible if solid else np.ones(len(points), bool)
    return draw_landmarks(made.frame.picture, points, visible)


def _clay(made: FrameOutput, face: Face, *, detailed: bool) -> UInt8[np.ndarray, "H W 3"]:
    """The shape in the photo, without the photo's colours."""
    picture = made.frame.picture
    height, width = picture.shape[:2]
    window = made.portrait.clay_window(_CLAY_PIXELS)
    vertices, triangles, normals = face.vertices, made.portrait.triangles, None
    if detailed:
        surface = displaced_surface(face)
        vertices, triangles, normals = surface.vertices, surface.triangles, surface.normals[None]
    camera = face.camera.apply(window.similarity)
    layer = shaded_view(vertices[None], triangles, camera, window.size, normals=normals, supersampling=1)
    left, top = window.left, window.top
    before = picture[top : top + window.height, left : left + window.width]
    layer = torch.nn.functional.interpolate(layer, before.shape[:2], mode="bilinear", align_corners=False)
    background = torch.from_numpy(np.array(before)).permute(2, 0, 1)[None].float() / 255
    drawn = picture.copy()
    drawn[top : min(top + window.height, height), left : min(left + window.width, width)] = to_uint8(
        over(layer, background)
    )
    return drawn


def _detailed_mesh(face: Face) -> Mesh:
    surface = displaced_surface(face)
    triangles = surface.triangles.cpu().numpy()
    topology = Topology(triangles, uv=surface.uv.cpu().numpy(), uv_triangles=triangles)
    return Mesh(_numbers(surface.vertices), topology)


def _numbers(tensor: torch.Tensor) -> Float[np.ndarray, "N C"]:
    return tensor.detach().cpu().numpy()
