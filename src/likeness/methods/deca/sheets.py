"""DECA's columns side by side, in the crop or the whole photo: inputs, landmarks, shape, detail, render, depth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from likeness.landmarks.drawing import draw_landmarks
from likeness.methods.deca.method import Decoded
from likeness.methods.deca.pictures import Frame, Pictures, draw_pictures


def draw_columns(decoded: Decoded, *, whole_photo: bool = False) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """Every picture of a face by the name the original gives it, all of the crop's or of the photo's size."""
    frame = decoded.photo if whole_photo else decoded.crop
    pictures = draw_frame(decoded, frame)
    geometry = decoded.geometry
    photo = to_uint8(frame.image)
    contour = frame.to_pixels(geometry.landmarks_contour_image)[0].cpu().numpy()
    fixed = frame.to_pixels(geometry.landmarks_fixed_image)[0, :, :2].cpu().numpy()
    visible = geometry.landmarks_visible[0].cpu().numpy()
    columns = {
        "inputs": photo,
        "landmarks2d": draw_landmarks(photo, contour, np.ones(len(contour), bool)),
        "landmarks3d": draw_landmarks(photo, fixed, visible),
        "shape_images": to_uint8(pictures.shape),
        "shape_detail_images": to_uint8(pictures.shape_detail),
    }
    if pictures.rendered is not None:
        columns["rendered_images"] = to_uint8(pictures.rendered)
    return columns | {"depth_images": to_uint8(pictures.depth.expand(-1, 3, -1, -1))}


def draw_frame(decoded: Decoded, frame: Frame) -> Pictures:
    """The pictures of a decoded face on a frame."""
    return draw_pictures(
        decoded.model,
        decoded.code,
        decoded.geometry,
        decoded.detail,
        frame,
        albedo=decoded.textures.albedo,
        compat=decoded.compat,
    )


def sheet(columns: Mapping[str, UInt8[np.ndarray, "H W 3"]], *, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures beside each other at one height."""
    return np.concatenate([resized(picture, height) for picture in columns.values()], 1)


def stacked(rows: list[UInt8[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Rows below each other, the narrower ones on black."""
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


def resized(picture: UInt8[np.ndarray, "H W 3"], height: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of another height and the same proportions."""
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def to_uint8(picture: Float[Tensor, "1 3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The first of a batch of pictures, as DECA writes them: truncated, not rounded."""
    return (picture[0].permute(1, 2, 0) * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
