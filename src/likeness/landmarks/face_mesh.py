"""MediaPipe's attention mesh: 478 points of a face in a square window.

Grishchenko et al., *Attention Mesh: High-fidelity Face Mesh Prediction in Real-time*, 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

from likeness.landmarks.face_detector import Detections
from likeness.landmarks.sessions import Device, run_network
from likeness.landmarks.windows import Window, sample_window

N_PIXELS = 192
WINDOW_SCALE = 1.5
EYE_CORNERS = (33, 263)  # the outer ones


def fit_mesh(
    image: UInt8[np.ndarray, "H W 3"], windows: Sequence[Window], *, device: Device = "auto"
) -> tuple[Float32[np.ndarray, "B 478 3"], Float32[np.ndarray, "B"]]:
    """For each window the points, in pixels of the picture and with relative depth, and face presence in [0, 1]."""
    if not windows:
        return np.zeros((0, 478, 3), np.float32), np.zeros(0, np.float32)
    batch = np.stack([sample_window(image, window, N_PIXELS, outside="edge") for window in windows])
    points, presence = run_network("face_mesh", ["points", "presence"], batch, device)
    for face, window in zip(points, windows, strict=True):
        affine = window.to_image(N_PIXELS)
        face[:, :2] = face[:, :2] @ affine[:, :2].T + affine[:, 2]
        face[:, 2] *= window.side / N_PIXELS
    return points, presence


def inner_features(
    image: UInt8[np.ndarray, "H W 3"],
    faces: Sequence[Float[np.ndarray, "478 D"]],
    *,
    mirrored: bool = False,
    device: Device = "auto",
) -> Float32[np.ndarray, "B 1792"]:
    """What two inner layers of the network hold of faces whose points are known: 128 × 3 × 3 and 160 × 2 × 2 numbers.

    ``mirrored`` shows the network the mirror image of each face.
    """
    windows = [window_of_points(points) for points in faces]
    batch = np.stack([sample_window(image, window, N_PIXELS, outside="edge") for window in windows])
    if mirrored:
        batch = np.ascontiguousarray(batch[:, :, ::-1])
    layers = run_network("face_mesh", ["features_3", "features_2"], batch, device)
    return np.concatenate([layer.reshape(len(batch), -1) for layer in layers], axis=1)


def windows_of_detections(found: Detections) -> list[Window]:
    """MediaPipe's crop: 1.5 times the longer side of the box, square, turned so that the eyes are level."""
    eyes = found.keypoints[:, 1] - found.keypoints[:, 0]
    return [_window(box, eye) for box, eye in zip(found.boxes, eyes, strict=True)]


def window_of_points(points: Float[np.ndarray, "478 D"]) -> Window:
    """MediaPipe's crop for the next frame of a video, from the points of this one."""
    planar = points[:, :2].astype(np.float64)
    box = np.concatenate([planar.min(axis=0), planar.max(axis=0)])
    return _window(box, planar[EYE_CORNERS[1]] - planar[EYE_CORNERS[0]])


def _window(box: np.ndarray, eye_line: np.ndarray) -> Window:
    x, y = (box[:2] + box[2:]) / 2
    side = WINDOW_SCALE * float(np.max(box[2:] - box[:2]))
    return Window(float(x), float(y), side, float(np.arctan2(eye_line[1], eye_line[0])))
