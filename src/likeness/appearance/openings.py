"""Eyes and mouth as the detector saw them: pixels between lids or lips show no skin, whatever the mesh says there."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from PIL import Image, ImageDraw
from torch import Tensor

from likeness.appearance.photo_view import PhotoView
from likeness.landmarks.conventions import LEFT_EYE, LIPS_INNER, RIGHT_EYE

EYES = {"mediapipe478": (RIGHT_EYE, LEFT_EYE), "ibug68": (tuple(range(36, 42)), tuple(range(42, 48)))}
MOUTH = {"mediapipe478": (LIPS_INNER,), "ibug68": (tuple(range(60, 68)),)}


def eye_openings(view: PhotoView) -> list[Bool[Tensor, "S S"]]:
    """The pixels between the lids of the eye on the photo's left, then of the other; none without landmarks."""
    return _outlines(view, EYES)


def openings(view: PhotoView) -> Bool[Tensor, "S S"]:
    """The pixels between lids or between lips."""
    found = torch.zeros_like(view.where)
    for mask in (*_outlines(view, EYES), *_outlines(view, MOUTH)):
        found = found | mask
    return found


def _outlines(view: PhotoView, groups: dict[str, tuple[tuple[int, ...], ...]]) -> list[Bool[Tensor, "S S"]]:
    detected = view.face.detected
    if detected is None or detected.convention not in groups:
        return []
    points = view.face.view.crop.transform(torch.from_numpy(detected.points[None, :, :2]).float())[0]
    return [_filled(points[list(group)], view.where.shape) for group in groups[detected.convention]]


def _filled(outline: Tensor, shape: torch.Size) -> Bool[Tensor, "S S"]:
    """Pixels inside a polygon. PIL counts from pixel centres, we from their corners."""
    canvas = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(canvas).polygon([(x - 0.5, y - 0.5) for x, y in outline.tolist()], fill=1)
    return torch.frombuffer(bytearray(canvas.convert("L").tobytes()), dtype=torch.uint8).view(shape) > 0
