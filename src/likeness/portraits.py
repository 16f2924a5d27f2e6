"""Pictures of a Face: the overview that people judge a result by, re-renders, depth in the photo."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from likeness.appearance.rerender import relit_layer
from likeness.cameras import Similarity
from likeness.displaced import displaced_surface
from likeness.errors import InputError
from likeness.face import Face, SurfaceLandmarks
from likeness.render import rasterize
from likeness.render.pictures import (
    CLAY,
    Albedo,
    Texture,
    depth_picture,
    over,
    portrait_camera,
    shaded_view,
    to_uint8,
    wireframe,
)

_PANEL = 448
_GREEN, _RED, _YELLOW = (60, 220, 90), (235, 60, 50), (255, 210, 60)
_CAPTION_HEIGHT = 26
_PAPER, _INK = (237, 237, 240), (40, 40, 45)

Material = Literal["clay", "albedo"]


def render_face(
    face: Face,
    *,
    size: int = 512,
    yaw: float = 0.0,
    pitch: float = 0.0,
    material: Material = "clay",
    neutral: bool = False,
) -> UInt8[np.ndarray, "size size 3"]:
    """The head alone in soft portrait light, turned by ``yaw`` (to its left) and ``pitch`` (down) degrees.

    Raises InputError when the material is unknown or the Face has no albedo.
    """
    vertices = (face.neutral_vertices if neutral else face.vertices)[None]
    camera = portrait_camera(vertices, (size, size), yaw=yaw, pitch=pitch)
    layer = shaded_view(
        vertices, face.head.topology.triangles_tensor, camera, (size, size), albedo=_albedo(face, material)
    )
    return to_uint8(over(layer))


def render_in_photo(face: Face, pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """The photo with the head drawn over it, in its own albedo and light (`appearance.rerender`).

    Raises InputError when the Face has no albedo or no light.
    """
    crop, size = _crop_of_head(face, pixels.shape[:2])
    layer = relit_layer(face, face.camera.apply(crop), size)
    left, top = (-crop.translation[0]).round().long().tolist()
    window = slice(top, top + size[0]), slice(left, left + size[1])
    picture = np.array(pixels)
    picture[window] = to_uint8(over(layer, _to_tensor(picture[window])))
    return picture


def _crop_of_head(face: Face, size: tuple[int, int]) -> tuple[Similarity, tuple[int, int]]:
    """The part of the photo about the head, to the pixel: at least one of them."""
    outline = face.camera.project(face.vertices[None])[0]
    limit = torch.tensor([size[1], size[0]])
    low = outline.amin(0).floor().long().clamp_min(0).minimum(limit - 1)
    high = outline.amax(0).ceil().long().minimum(limit).maximum(low + 1)
    width, height = (high - low).tolist()
    return Similarity(torch.ones(1), torch.zeros(1), -low[None].float()), (height, width)


def depth_of(face: Face) -> Float[np.ndarray, "H W"]:
    """Depth in mm at every pixel of the photo, NaN where the head is not: the distance along the viewing axis; from a
    weak-perspective camera, which stands nowhere, the distance behind the nearest point of the head, plus 1."""
    height, width = face.image_size
    scale = min(1.0, _MAX_DEPTH_SIDE / max(height, width))
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    camera = face.camera.apply(_scaling(scale))
    vertices_px = camera.project_with_depth(face.vertices[None])
    fragments = rasterize(vertices_px, face.head.topology.triangles_tensor, size, perspective=camera.perspective)
    depth = torch.where(fragments.mask, fragments.depth, torch.nan)[0]
    if not camera.perspective:
        depth = depth - depth[fragments.mask[0]].amin() + 1 if fragments.mask.any() else depth
    if scale < 1:
        depth = functional.interpolate(depth[None, None], (height, width), mode="nearest")[0, 0]
    return depth.numpy()


# A depth map of a larger photo is rasterised at this size and enlarged: it is smooth, and memory stays bounded.
_MAX_DEPTH_SIDE = 4096


def overview(pixels: UInt8[np.ndarray, "H W 3"], face: Face) -> UInt8[np.ndarray, "h w 3"]:
    """One picture to look at: photo with detected and projected landmarks, mesh overlay, clay views, colour, depth."""
    crop = _crop_around(face)
    photo = _cut(pixels, crop)
    panels = [
        ("photo: detected", _with_points(photo, crop, face)),
        ("projected (red: hidden)", _with_landmarks(photo, crop, face.landmarks("ibug68"))),
        ("mesh", _with_mesh(photo, crop, face)),
        ("shape in the photo", _with_clay(photo, crop, face)),
        ("front", render_face(face, size=_PANEL)),
        ("three-quarter", render_face(face, size=_PANEL, yaw=40)),
        ("neutral", render_face(face, size=_PANEL, yaw=-25, neutral=True)),
        ("depth", _depth_panel(crop, face)),
    ]
    if face.albedo is not None and face.light is not None:
        layer = relit_layer(face, face.camera.apply(crop), (_PANEL, _PANEL))
        panels.insert(4, ("re-render", to_uint8(over(layer, _to_tensor(photo)))))
    if face.albedo is not None:
        panels.insert(5, ("texture", _texture_panel(face)))
        panels.insert(6, ("colour", render_face(face, size=_PANEL, yaw=25, material="albedo")))
        panels.insert(7, ("colour", render_face(face, size=_PANEL, yaw=-50, material="albedo")))
    if face.displacement is not None and bool(face.displacement.any()):
        panels.insert(4, ("detail", render_detail(face, size=_PANEL)))
    return _sheet(panels, columns=-(-len(panels) // 2))


def render_detail(face: Face, *, size: int = 512, yaw: float = 0.0) -> UInt8[np.ndarray, "size size 3"]:
    """The face alone, near by, in clay with its displacement. Raises InputError when the head has no UV chart."""
    surface = displaced_surface(face, n_subdivisions=3)
    regions = face.head.topology.regions
    near = torch.from_numpy(regions["face"]) if "face" in regions else slice(None)
    camera = portrait_camera(face.vertices[None, near], (size, size), yaw=yaw, fill=1.0)
    layer = shaded_view(surface.vertices[None], surface.triangles, camera, (size, size), normals=surface.normals[None])
    return to_uint8(over(layer))


# ---------------------------------------------------------------- panels


def _crop_around(face: Face) -> Similarity:
    """The square of the photo about the head, as a panel shows it."""
    outline = face.camera.project(face.vertices[None])[0]
    box = torch.cat([outline.amin(0), outline.amax(0)])[None]
    return Similarity.from_box(box, size=_PANEL, margin=1.15)


def _cut(pixels: UInt8[np.ndarray, "H W 3"], crop: Similarity) -> UInt8[np.ndarray, "P P 3"]:
    inverse = crop.inverse()
    scale = float(inverse.scale[0])
    left, top = inverse.translation[0].tolist()
    matrix = (scale, 0.0, left, 0.0, scale, top)
    image = Image.fromarray(pixels)
    if scale > 2:  # shrunk far: average first, or thin lines flicker
        image = image.reduce(int(scale))
        factors = pixels.shape[1] / image.width, pixels.shape[0] / image.height
        matrix = (scale / factors[0], 0.0, left / factors[0], 0.0, scale / factors[1], top / factors[1])
    cut = image.transform((_PANEL, _PANEL), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=_PAPER)
    return np.asarray(cut)


def _with_points(photo: np.ndarray, crop: Similarity, face: Face) -> np.ndarray:
    if face.detected is None:
        return photo
    points = crop.transform(torch.from_numpy(face.detected.points[None, :, :2]))[0].numpy()
    return _dots(photo, points, [_YELLOW] * len(points), radius=1.0 if len(points) > 100 else 2.0)


def _with_landmarks(photo: np.ndarray, crop: Similarity, landmarks: SurfaceLandmarks) -> np.ndarray:
    points = crop.transform(torch.from_numpy(landmarks.image.astype(np.float32))[None])[0].numpy()
    return _dots(photo, points, [_GREEN if shown else _RED for shown in landmarks.visible], radius=2.5)


def _dots(photo: np.ndarray, points: np.ndarray, colours: list, *, radius: float) -> np.ndarray:
    image = Image.fromarray(photo)
    draw = ImageDraw.Draw(image)
    for (x, y), colour in zip(points, colours, strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(image)


def _with_mesh(photo: np.ndarray, crop: Similarity, face: Face) -> np.ndarray:
    lines = wireframe(
        face.vertices[None], face.head.topology.triangles_tensor, face.camera.apply(crop), (_PANEL, _PANEL), width=0.7
    )
    return to_uint8(over(lines, _to_tensor(photo), opacity=0.55))


def _with_clay(photo: np.ndarray, crop: Similarity, face: Face) -> np.ndarray:
    layer = shaded_view(
        face.vertices[None], face.head.topology.triangles_tensor, face.camera.apply(crop), (_PANEL, _PANEL)
    )
    return to_uint8(over(layer, _to_tensor(photo), opacity=0.92))


def _depth_panel(crop: Similarity, face: Face) -> np.ndarray:
    camera = face.camera.apply(crop)
    vertices_px = camera.project_with_depth(face.vertices[None])
    triangles = face.head.topology.triangles_tensor
    return to_uint8(depth_picture(rasterize(vertices_px, triangles, (_PANEL, _PANEL), perspective=camera.perspective)))


def _texture_panel(face: Face) -> np.ndarray:
    picture = face.albedo_image()
    assert picture is not None  # the caller looked
    return np.asarray(Image.fromarray(picture).resize((_PANEL, _PANEL), Image.Resampling.BOX))


def _albedo(face: Face, material: Material) -> Albedo:
    if material == "clay":
        return CLAY
    if material != "albedo":
        raise InputError(f"unknown material '{material}'; choose clay or albedo.")
    topology = face.head.topology
    if face.albedo is None or topology.uv is None or topology.uv_triangles is None:
        raise InputError("this Face has no albedo map; render it as clay.")
    uv_triangles = torch.from_numpy(topology.uv_triangles.astype(np.int64))
    return Texture(face.albedo[None], torch.from_numpy(topology.uv), uv_triangles)


def _sheet(panels: list[tuple[str, np.ndarray]], *, columns: int) -> UInt8[np.ndarray, "h w 3"]:
    rows = -(-len(panels) // columns)
    cell = _PANEL + _CAPTION_HEIGHT
    sheet = Image.new("RGB", (columns * _PANEL, rows * cell), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    for index, (caption, picture) in enumerate(panels):
        x, y = index % columns * _PANEL, index // columns * cell
        sheet.paste(Image.fromarray(picture), (x, y + _CAPTION_HEIGHT))
        draw.text((x + 8, y + 4), caption, fill=_INK, font=font)
    return np.asarray(sheet)


def _scaling(scale: float) -> Similarity:
    return Similarity(torch.tensor([scale]), torch.zeros(1), torch.zeros(1, 2))


def _to_tensor(picture: np.ndarray) -> Float[Tensor, "1 3 H W"]:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
