"""Eyes and mouth as the detector saw them: pixels between lids or lips show no skin, whatever the mesh says there."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor

from likeness.appearance.photo_view import PhotoView
from likeness.landmarks.conventions import LEFT_EYE, LEFT_IRIS, LIPS_INNER, N_POINTS, RIGHT_EYE, RIGHT_IRIS

EYES = {"mediapipe478": (RIGHT_EYE, LEFT_EYE), "ibug68": (tuple(range(36, 42)), tuple(range(42, 48)))}
# Of the iris's radius: what surely is neither pupil nor white.
_PUPIL, _EDGE = 0.45, 0.92
MOUTH = {"mediapipe478": (LIPS_INNER,), "ibug68": (tuple(range(60, 68)),)}


def eye_openings(view: PhotoView) -> list[Bool[Tensor, "S S"]]:
    """The pixels between the lids of the eye on the photo's left, then of the other; none without landmarks."""
    return _outlines(view, EYES)


def iris_rings(view: PhotoView) -> list[Bool[Tensor, "S S"]]:
    """The pixels between the pupil's and the iris's edge, eye by eye as `eye_openings`; none without iris landmarks."""
    points = _landmarks(view)
    if points is None or len(points) != N_POINTS["mediapipe478"]:
        return []
    y, x = (torch.arange(n, dtype=torch.float32) + 0.5 for n in view.where.shape)
    found = []
    for centre, *around in (points[list(RIGHT_IRIS)], points[list(LEFT_IRIS)]):
        radius = (torch.stack(around) - centre).norm(dim=-1).mean()
        away = torch.hypot(x[None] - centre[0], y[:, None] - centre[1])
        found.append((away > _PUPIL * radius) & (away < _EDGE * radius))
    return found


def openings(view: PhotoView) -> Bool[Tensor, "S S"]:
    """The pixels between lids or between lips."""
    found = torch.zeros_like(view.where)
    for mask in (*_outlines(view, EYES), *_outlines(view, MOUTH)):
        found = found | mask
    return found


def _outlines(view: PhotoView, groups: dict[str, tuple[tuple[int, ...], ...]]) -> list[Bool[Tensor, "S S"]]:
    points, detected = _landmarks(view), view.face.detected
    if points is None or detected is None or detected.convention not in groups:
        return []
    return [_filled(points[list(group)], view.where.shape) for group in groups[detected.convention]]


def _landmarks(view: PhotoView) -> Float[Tensor, "N 2"] | None:
    """The detected landmarks in the view's pixels."""
    detected = view.face.detected
    if detected is None:
        return None
    return view.face.view.crop.transform(torch.from_numpy(detected.points[None, :, :2]).float())[0]


def _filled(outline: Tensor, shape: torch.Size) -> Bool[Tensor, "S S"]:
    """Pixels inside a polygon. PIL counts from pixel centres, we from their corners."""
    canvas = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(canvas).polygon([(x - 0.5, y - 0.5) for x, y in outline.tolist()], fill=1)
    return torch.frombuffer(bytearray(canvas.convert("L").tobytes()), dtype=torch.uint8).view(shape) > 0
