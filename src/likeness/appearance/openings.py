"""Eyes and mouth as the detector saw them: pixels between lids or lips show no skin, whatever the mesh says there."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor

from likeness.appearance.photo_view import PhotoView
from likeness.landmarks.conventions import (
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    N_POINTS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)

EYES = {"mediapipe478": (RIGHT_EYE, LEFT_EYE), "ibug68": (tuple(range(36, 42)), tuple(range(42, 48)))}
LIPS = {"mediapipe478": (LIPS_OUTER,), "ibug68": (tuple(range(48, 60)),)}
# ibug68's brows are lines: there and back again.
BROWS = {
    "mediapipe478": (RIGHT_BROW, LEFT_BROW),
    "ibug68": ((*range(17, 22), *range(20, 17, -1)), (*range(22, 27), *range(25, 22, -1))),
}
# How far lashes and folds, and a brow's hairs, reach beyond the detected outlines.
_LIDS_MM, _BROW_MM = 4.0, 2.0
_WITH_GLASSES = 0.4
# Of the iris's radius: what surely is neither pupil nor white.
_PUPIL, _EDGE = 0.45, 0.92
MOUTH = {"mediapipe478": (LIPS_INNER,), "ibug68": (tuple(range(60, 68)),)}


def eye_openings(view: PhotoView) -> list[Bool[Tensor, "S S"]]:
    """The pixels between the lids of the eye on the photo's left, then of the other; none without landmarks."""
    return _outlines(view, EYES)


def iris_rings(view: PhotoView) -> list[Bool[Tensor, "S S"]]:
    """The pixels between the pupil's and the iris's edge, eye by eye as `eye_openings`; none without iris landmarks."""
    points = landmarks_in_view(view)
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


def dark_features(view: PhotoView, *, glasses: bool = False) -> Float[Tensor, "S S"]:
    """Soft map in [0, 1] of what is dark on every face and yet belongs to it: brows, lashes and lid folds, nostrils.

    Where the detector saw brows and eyes, drawn narrower when ``glasses`` are about them; on the anatomy's zones when
    there is no detector's word.
    """
    points, detected = landmarks_in_view(view), view.face.detected
    found = view.image((view.zones.nose * 0.8)[:, None])[0]
    if points is None or detected is None or detected.convention not in EYES:
        return torch.maximum(found, view.image(torch.maximum(view.zones.brows, view.zones.lids)[:, None])[0])
    convention, grow = detected.convention, (_WITH_GLASSES if glasses else 1.0) * view.px_per_mm
    outlines = [points[list(group)] for group in BROWS[convention]]
    near = [_filled(outline, view.where.shape, grow=grow * _BROW_MM) for outline in outlines]
    near += [_filled(points[list(group)], view.where.shape, grow=grow * _LIDS_MM) for group in EYES[convention]]
    return torch.maximum(found, torch.stack(near).any(0).float())


def lips_seen(view: PhotoView) -> Float[Tensor, "S S"]:
    """1 where the detector saw lips (and the mouth between them); the anatomy's zone when it said nothing."""
    outlines = _outlines(view, LIPS)
    return outlines[0].float() if outlines else view.image(view.zones.lips[:, None])[0]


def _outlines(view: PhotoView, groups: dict[str, tuple[tuple[int, ...], ...]]) -> list[Bool[Tensor, "S S"]]:
    points, detected = landmarks_in_view(view), view.face.detected
    if points is None or detected is None or detected.convention not in groups:
        return []
    return [_filled(points[list(group)], view.where.shape) for group in groups[detected.convention]]


def landmarks_in_view(view: PhotoView) -> Float[Tensor, "N 2"] | None:
    """The detected landmarks in the view's pixels."""
    detected = view.face.detected
    if detected is None:
        return None
    return view.face.view.crop.transform(torch.from_numpy(detected.points[None, :, :2]).float())[0]


def _filled(outline: Tensor, shape: torch.Size, *, grow: float = 0.0) -> Bool[Tensor, "S S"]:
    """Pixels inside a polygon, or within ``grow`` pixels. PIL counts from pixel centres, we from their corners."""
    canvas = Image.new("1", (shape[1], shape[0]))
    corners = [(x - 0.5, y - 0.5) for x, y in outline.tolist()]
    draw = ImageDraw.Draw(canvas)
    draw.polygon(corners, fill=1)
    if grow > 0:
        draw.line([*corners, *corners[:2]], fill=1, width=round(2 * grow), joint="curve")
    return torch.frombuffer(bytearray(canvas.convert("L").tobytes()), dtype=torch.uint8).view(shape) > 0
