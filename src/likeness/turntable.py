"""The head turning: coloured on the left, its relief in clay on the right, as a film or an animated picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import roma
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from likeness.atomic import atomic_path
from likeness.cameras import Camera
from likeness.displaced import displaced_surface
from likeness.errors import InputError
from likeness.face import Face
from likeness.meshes import vertex_normals
from likeness.render.pictures import CLAY, Albedo, Texture, over, portrait_camera, shaded_view, to_uint8
from likeness.videos import VideoWriter

Turn = Literal["swing", "full"]
"""There and back, 60° to either side; or once round."""

SECONDS = 4.0
"""Of one turn, whose end is its beginning."""

_SWING = 60.0
_FILM_FPS, _FILM_SIZE = 30, 512
# A GIF holds its pictures nearly uncompressed: fewer and smaller ones. Players round its hundredths of a second.
_GIF_FPS, _GIF_SIZE = 20, 320
_ASPECT = 13 / 16
# Two cuts of each edge are triangles of a pixel or two at the size of these pictures.
_SUBDIVISIONS = 2


def write_turntable(path: str | Path, face: Face, *, turn: Turn = "swing", size: int | None = None) -> None:
    """Write ``.mp4`` (H.264) or ``.gif`` (endless), ``size`` pixels high.

    Raises InputError on another ending, turn or a size under 16, OutputError when the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() == ".mp4":
        frames = turntable_frames(face, fps=_FILM_FPS, turn=turn, size=_FILM_SIZE if size is None else size)
        with VideoWriter(path, fps=_FILM_FPS) as film:
            for frame in frames:
                film.write(frame)
    elif path.suffix.lower() == ".gif":
        size = _GIF_SIZE if size is None else size
        write_gif(path, turntable_frames(face, fps=_GIF_FPS, turn=turn, size=size), fps=_GIF_FPS)
    else:
        raise InputError(f"{path}: a turntable is written as .mp4 or .gif; choose such a name.")


def turntable_frames(
    face: Face, *, fps: float, turn: Turn = "swing", size: int = _FILM_SIZE
) -> Iterator[UInt8[np.ndarray, "size W 3"]]:
    """The pictures of one turn of `SECONDS`, in the expression of the photo and in light that stands with the camera.

    Coloured and clay stand side by side; a Face without albedo shows clay alone. Raises InputError.
    """
    if turn not in get_args(Turn):
        raise InputError(f"unknown turn '{turn}'; choose from {', '.join(get_args(Turn))}.")
    if size < 16:
        raise InputError(f"a turntable of {size} pixels shows nothing; choose 16 or more.")
    yaws = yaws_of(turn, round(SECONDS * fps))
    return _drawn(_sides(face), yaws, (size, round(_ASPECT * size)))


def yaws_of(turn: Turn, n: int) -> Float[np.ndarray, " n"]:
    """Degrees, frame by frame. A swing slows at its ends like a head; its way back is the way there, to the bit."""
    phase = np.arange(n) / n
    if turn == "full":
        return 360 * phase
    return np.round(_SWING * np.sin(2 * math.pi * phase), 9)


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two heads: its mesh about the axis of the turn, normals, and colour."""

    vertices: Float[Tensor, "V 3"]
    normals: Float[Tensor, "V 3"]
    triangles: Int[Tensor, "T 3"]
    albedo: Albedo


def _drawn(sides: list[_Side], yaws: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    camera = _camera(sides[-1].vertices, yaws, size)
    left = Counter(yaws.tolist())  # a swing passes each yaw twice
    kept: dict[float, np.ndarray] = {}
    for yaw in yaws.tolist():
        picture = kept.pop(yaw, None)
        if picture is None:
            picture = np.concatenate([_picture(side, yaw, camera, size) for side in sides], 1)
        left[yaw] -= 1
        if left[yaw]:
            kept[yaw] = picture
        yield picture


def _picture(side: _Side, yaw: float, camera: Camera, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    turn = _turning(yaw)
    layer = shaded_view(
        (side.vertices @ turn.mT)[None],
        side.triangles,
        camera,
        size,
        albedo=side.albedo,
        normals=(side.normals @ turn.mT)[None],
    )
    return to_uint8(over(layer))


def _camera(vertices: Float[Tensor, "V 3"], yaws: np.ndarray, size: tuple[int, int]) -> Camera:
    """One camera for all pictures, that has the head in view throughout."""
    some = yaws[:: max(1, len(yaws) // 16)]
    swept = torch.cat([vertices @ _turning(float(yaw)).mT for yaw in some])
    return portrait_camera(swept[None], size)


def _turning(yaw: float) -> Float[Tensor, "3 3"]:
    return roma.rotvec_to_rotmat(torch.tensor([0.0, math.radians(yaw), 0.0]))


def _sides(face: Face) -> list[_Side]:
    face = face.to("cpu")
    clay = _clay(face)
    middle = (clay.vertices.amin(0) + clay.vertices.amax(0)) / 2
    sides = [clay] if face.albedo is None else [_coloured(face), clay]
    return [_Side(side.vertices - middle, side.normals, side.triangles, side.albedo) for side in sides]


def _clay(face: Face) -> _Side:
    if face.displacement is None:
        triangles = face.head.topology.triangles_tensor
        return _Side(face.vertices, vertex_normals(face.vertices[None], triangles)[0], triangles, CLAY)
    surface = displaced_surface(face, n_subdivisions=_SUBDIVISIONS)
    return _Side(surface.vertices, surface.normals, surface.triangles, CLAY)


def _coloured(face: Face) -> _Side:
    topology, albedo = face.head.topology, face.albedo
    assert albedo is not None
    if topology.uv is None or topology.uv_triangles is None:
        raise InputError(f"the head '{face.head.name}' has no UV chart, in which its colour could lie.")
    triangles = topology.triangles_tensor
    normals = vertex_normals(face.vertices[None], triangles)[0]
    texture = Texture(
        albedo[None], torch.from_numpy(topology.uv), torch.from_numpy(topology.uv_triangles.astype(np.int64))
    )
    return _Side(face.vertices, normals, triangles, texture)


def write_gif(path: Path, frames: Iterator[np.ndarray], *, fps: float) -> None:
    """An endless animated picture; one palette for all frames, so that colours stand still."""
    pictures = [Image.fromarray(frame) for frame in frames]
    palette = _shared_palette(pictures)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    with atomic_path(path) as temporary:
        indexed[0].save(
            temporary,
            "GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=round(1000 / fps),
            loop=0,
            optimize=False,
        )


def _shared_palette(pictures: list[Image.Image]) -> Image.Image:
    """256 colours of a few pictures of the turn, side by side."""
    some = pictures[:: max(1, len(pictures) // 8)]
    sheet = Image.new("RGB", (sum(picture.width for picture in some), some[0].height))
    left = 0
    for picture in some:
        sheet.paste(picture, (left, 0))
        left += picture.width
    return sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
