"""The scaled orthographic camera of the descent and its six normalised numbers.

The crop frame: pixels, origin at the centre of the 256² crop, +x right, +y up, +z towards the viewer. The crop's image
frame has whole numbers at pixel centres: column = x + 128, row = 127 - y.
"""

from __future__ import annotations

import math

import roma
import torch
from jaxtyping import Float
from torch import Tensor

CROP_SIZE = 256
_HALF = CROP_SIZE / 2
# scale (pixels per micrometre) = 5e-4 · number + 1.25e-3; shift (pixels) = 10 · number.
_SCALE, _SCALE_OFFSET, _SHIFT = 5e-4, 1.25e-3, 10.0


def split_pose(
    pose: Float[Tensor, "V 6"],
) -> tuple[Float[Tensor, "V 3 3"], Float[Tensor, " V"], Float[Tensor, "V 2"]]:
    """Normalised (pitch, yaw, roll, scale, x, y) → rotation Rz·Ry·Rx, scale in px/µm, shift in px."""
    # By way of degrees and with this order of products, as in the reference: what is visible hangs on the last digits.
    angles = pose[:, :3] * 180 / math.pi * math.pi / 180
    about_x, about_y, about_z = (roma.rotvec_to_rotmat(angles[:, k, None] * axis) for k, axis in enumerate(_axes(pose)))
    return about_z @ (about_y @ about_x), pose[:, 3] * _SCALE + _SCALE_OFFSET, pose[:, 4:] * _SHIFT


def pose_vertices(pose: Float[Tensor, "#V 6"], vertices: Float[Tensor, "#V N 3"]) -> Float[Tensor, "V N 3"]:
    """Object space (µm) → crop frame (px)."""
    rotation, scale, shift = split_pose(pose)
    moved = (vertices * scale[:, None, None]) @ rotation.mT
    return moved + torch.nn.functional.pad(shift, (0, 1))[:, None]


def crop_to_pixels(points: Float[Tensor, "*B N 3"]) -> Float[Tensor, "*B N 2"]:
    """Crop frame → (column, row) in the crop, whole numbers at pixel centres."""
    return torch.stack([points[..., 0] + _HALF, CROP_SIZE - (points[..., 1] + _HALF) - 1], -1)


def _axes(like: Tensor) -> Float[Tensor, "3 3"]:
    return torch.eye(3, dtype=like.dtype, device=like.device)
