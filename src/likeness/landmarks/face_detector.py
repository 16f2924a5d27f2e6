"""MediaPipe's face detectors (BlazeFace): boxes and six keypoints, found at once over a square window.

Two networks: "short" sees 128 pixels a side and likes faces that fill a good part of its window; "full" sees 192 and
finds smaller ones. Bazarevsky et al., *BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs*, 2019.
Anchors, decoding and suppression follow MediaPipe's published graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from likeness.landmarks.sessions import Device, run_network
from likeness.landmarks.windows import Window, sample_window

Range = Literal["short", "full"]
N_PIXELS: dict[Range, int] = {"short": 128, "full": 192}
# Stride of a feature map and the number of anchors in each of its cells.
ANCHOR_LAYERS: dict[Range, tuple[tuple[int, int], ...]] = {"short": ((8, 2), (16, 6)), "full": ((4, 1),)}
MIN_SCORE: dict[Range, float] = {"short": 0.5, "full": 0.6}
SAME_FACE_OVERLAP = 0.3


@dataclass(frozen=True)
class Detections:
    """Faces in pixels of the picture: upright boxes (x0, y0, x1, y1), keypoints and scores in [0, 1], best first.

    The keypoints: eye on the left of a frontal photo, eye on the right, nose tip, mouth, ear on the left, on the right.
    """

    boxes: Float[np.ndarray, "N 4"]
    keypoints: Float[np.ndarray, "N 6 2"]
    scores: Float[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.scores)


def detect_faces(
    image: UInt8[np.ndarray, "H W 3"], windows: Sequence[Window], kind: Range, *, device: Device = "auto"
) -> list[Detections]:
    """Look for faces in each of the windows, in one batch; beyond the picture the network sees black."""
    n_pixels = N_PIXELS[kind]
    batch = np.stack([sample_window(image, window, n_pixels, outside="black") for window in windows])
    raw, logits = run_network(f"face_detector_{kind}", ["boxes", "scores"], batch, device)
    return [
        _project(_suppress(_decode(r, s, kind)), window)
        for r, s, window in zip(raw, logits[..., 0], windows, strict=True)
    ]


def _decode(raw: np.ndarray, logits: np.ndarray, kind: Range) -> Detections:
    """Candidates above the threshold, in [0, 1] across the window."""
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))
    kept = np.flatnonzero(scores >= MIN_SCORE[kind])
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    points = raw[kept].reshape(-1, 8, 2) / N_PIXELS[kind]
    anchors = _anchors(kind)[kept]
    centre, half = points[:, 0] + anchors, points[:, 1] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return Detections(boxes, points[:, 2:] + anchors[:, None], scores[kept])


@cache
def _anchors(kind: Range) -> Float[np.ndarray, "A 2"]:
    """Cell centres of the feature maps, (x, y) in [0, 1], each repeated for its anchors."""
    layers = []
    for stride, n_anchors in ANCHOR_LAYERS[kind]:
        n_cells = N_PIXELS[kind] // stride
        y, x = (np.mgrid[:n_cells, :n_cells].reshape(2, -1) + 0.5) / n_cells
        layers.append(np.repeat(np.stack([x, y], axis=1), n_anchors, axis=0))
    return np.concatenate(layers)


def _suppress(found: Detections) -> Detections:
    """Weighted non-maximum suppression: every group of overlapping candidates becomes its score-weighted mean."""
    boxes, keypoints, scores = [], [], []
    left = np.arange(len(found))
    while len(left):
        same = box_overlap(found.boxes[left[0]], found.boxes[left]) > SAME_FACE_OVERLAP
        same[0] = True
        group = left[same]
        weights = found.scores[group] / found.scores[group].sum()
        boxes.append(np.tensordot(weights, found.boxes[group], axes=1))
        keypoints.append(np.tensordot(weights, found.keypoints[group], axes=1))
        scores.append(found.scores[group[0]])
        left = left[~same]
    return Detections(np.reshape(boxes, (-1, 4)), np.reshape(keypoints, (-1, 6, 2)), np.array(scores))


def box_overlap(box: Float[np.ndarray, "4"], boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N"]:
    """Intersection over union of one box (x0, y0, x1, y1) with many."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    union = np.prod(np.maximum(box[2:] - box[:2], 0)) + areas - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def _project(found: Detections, window: Window) -> Detections:
    """From [0, 1] across the window to pixels of the picture; a turned box becomes an upright one of its own size."""
    affine = window.to_image(1)
    keypoints = found.keypoints @ affine[:, :2].T + affine[:, 2]
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 @ affine[:, :2].T + affine[:, 2]
    halves = (found.boxes[:, 2:] - found.boxes[:, :2]) / 2 * window.side
    return Detections(np.concatenate([centres - halves, centres + halves], axis=1), keypoints, found.scores)
