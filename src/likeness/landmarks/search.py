"""Finding every face of a picture: first where MediaPipe looks, then, if there is none, in less likely places."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageFilter

from likeness.landmarks.closer_look import confirm_faces
from likeness.landmarks.face_detector import Detections, Range, box_overlap, detect_faces
from likeness.landmarks.face_mesh import fit_mesh, window_of_points, windows_of_detections
from likeness.landmarks.sessions import Device
from likeness.landmarks.windows import Window

SAME_FACE_OVERLAP = 0.5
QUARTER_TURNS = np.pi / 2 * np.arange(4)
# Tiles smaller than this hold no face worth fitting 478 points to.
SMALLEST_TILE = 96
SMALLEST_OF_MANY_TILES = 256
N_WINDOWS_AT_ONCE = 16
# (scale, step aside in parts of the window, turn) of the windows in which a profile is tried.
WINDOW_CHANGES = tuple(itertools.product((0.8, 1.25), (-0.1, 0.1), (-0.3, 0.0, 0.3)))
# Longer side of a smoothed picture, roughly, and the widths of the smoothing in parts of it. With noise of 60 in 255
# upon the pixels, nothing finds one of 11 faces without; with, ten are found, to 2 % of the face.
SMOOTH_SIDE = 512
SMOOTHING = (1 / 400, 1 / 200, 1 / 130)


@dataclass(frozen=True)
class FoundFaces:
    """Points in pixels of the picture with relative depth, and face presence in [0, 1]."""

    points: Float[np.ndarray, "B 478 3"]
    presence: Float[np.ndarray, "B"]

    def __len__(self) -> int:
        return len(self.presence)


Step = Callable[[float, Device], FoundFaces]


def find_faces(
    image: UInt8[np.ndarray, "H W 3"], *, min_score: float, device: Device, only_one: bool = False
) -> FoundFaces:
    """The faces of a picture, each once; an empty result if there is none.

    Upright faces that fill a twentieth of the picture or more are found at first sight. If there are none, the picture
    is tried in other windows, padded, turned, smoothed and cut into overlapping tiles, until one such step finds faces.
    """
    found = find_faces_quickly(image, min_score=min_score, device=device, only_one=only_one)
    for look in (_profiles, _other_places, _smoother_pictures, _smaller_places):
        for step in look(image):
            if len(found):
                return found
            found = step(min_score, device)
    return found


def find_faces_quickly(
    image: UInt8[np.ndarray, "H W 3"], *, min_score: float, device: Device, only_one: bool = False
) -> FoundFaces:
    """The first look of `find_faces` alone: the whole picture, upright, seen by both detectors.

    With `only_one`, the second detector is asked only where the first finds nothing.
    """
    whole = [_whole(image)]
    (seen,) = detect_faces(image, whole, "short", device=device)
    n_short = len(seen)
    if not (only_one and n_short):
        seen = _joined([seen, *detect_faces(image, whole, "full", device=device)])
    is_rough = np.arange(len(seen)) >= n_short
    return _fitted(image, seen, is_rough, min_score, device)


def fit_windows(
    image: UInt8[np.ndarray, "H W 3"], windows: list[Window], *, min_score: float, device: Device
) -> FoundFaces:
    """The faces that the mesh finds in the windows; where two are the same face, the earlier."""
    points, presence = fit_mesh(image, windows, device=device)
    present = np.flatnonzero(presence >= min_score)
    kept = present[distinct_faces(points[present])]
    return FoundFaces(points[kept], presence[kept])


def distinct_faces(points: Float[np.ndarray, "B 478 3"]) -> list[int]:
    """Indices without repeats: where two results lie on the same face, the earlier one's."""
    planar = points[..., :2]
    return _distinct(np.concatenate([planar.min(axis=1), planar.max(axis=1)], axis=1))


def _distinct(boxes: Float[np.ndarray, "B 4"]) -> list[int]:
    kept: list[int] = []
    for i, box in enumerate(boxes):
        if not kept or box_overlap(box, boxes[kept]).max() < SAME_FACE_OVERLAP:
            kept.append(i)
    return kept


def _profiles(image: np.ndarray) -> Iterator[Step]:
    yield partial(_in_other_windows, image)


def _in_other_windows(image: np.ndarray, min_score: float, device: Device) -> FoundFaces:
    """Where a face is seen that the mesh does not know in the usual window, the best of a dozen about it.

    Of rendered heads at 72° to 80° of yaw, whose mesh the usual window yields three times in ten, this yields all.
    """
    (seen,) = detect_faces(image, [_whole(image)], "short", device=device)
    seen, _ = confirm_faces(image, seen, np.zeros(len(seen), bool), device=device)
    best = []
    for window in windows_of_detections(seen):
        tried = [_changed(window, *change) for change in WINDOW_CHANGES]
        _, presence = fit_mesh(image, tried, device=device)
        best.append(tried[int(np.argmax(presence))])
    return fit_windows(image, best, min_score=min_score, device=device)


def _changed(window: Window, scale: float, aside: float, angle: float) -> Window:
    return Window(window.x + aside * window.side, window.y, scale * window.side, window.angle + angle)


def _other_places(image: np.ndarray) -> Iterator[Step]:
    whole = _whole(image)
    # A face that is cut by the border, or fills the picture, is smaller and whole in a padded one.
    yield _in_windows(image, "short", [Window(whole.x, whole.y, whole.side * scale) for scale in (1.5, 2.0, 3.0)])
    for kind in ("short", "full"):
        yield _in_windows(image, kind, _turned([whole], QUARTER_TURNS[1:]))


def _smoother_pictures(image: np.ndarray) -> Iterator[Step]:
    """The networks read single pixels of a large picture, and see the noise of a dark one rather than the face."""
    factor = max(1, max(image.shape[:2]) // SMOOTH_SIDE)
    reduced = Image.fromarray(image).reduce(factor)
    for share in SMOOTHING:
        smooth = np.asarray(reduced.filter(ImageFilter.GaussianBlur(share * max(reduced.size))))
        yield partial(_in_smaller, smooth, factor)


def _smaller_places(image: np.ndarray) -> Iterator[Step]:
    whole = _whole(image)
    half, quarter = (_tiles(image, whole.side / n, SMALLEST_TILE) for n in (2, 4))
    yield _in_windows(image, "full", half)
    yield _in_windows(image, "full", _turned([whole], QUARTER_TURNS + np.pi / 4))
    yield _in_windows(image, "full", quarter)
    yield _in_windows(image, "full", _turned(half, QUARTER_TURNS[1:]))
    yield _in_windows(image, "full", _tiles(image, whole.side / 8, SMALLEST_OF_MANY_TILES))


def _in_windows(image: np.ndarray, kind: Range, windows: list[Window]) -> Step:
    """A step that looks for faces in each of the windows."""

    def look(min_score: float, device: Device) -> FoundFaces:
        seen: list[Detections] = []
        for begin in range(0, len(windows), N_WINDOWS_AT_ONCE):
            seen += detect_faces(image, windows[begin : begin + N_WINDOWS_AT_ONCE], kind, device=device)
        if not seen:
            return FoundFaces(np.zeros((0, 478, 3), np.float32), np.zeros(0, np.float32))
        candidates = _joined(seen)
        return _fitted(image, candidates, np.ones(len(candidates), bool), min_score, device)

    return look


def _in_smaller(smooth: np.ndarray, factor: int, min_score: float, device: Device) -> FoundFaces:
    found = find_faces_quickly(smooth, min_score=min_score, device=device)
    return FoundFaces(found.points * np.float32(factor), found.presence)


def _whole(image: np.ndarray) -> Window:
    height, width = image.shape[:2]
    return Window(width / 2, height / 2, max(width, height))


def _turned(windows: list[Window], angles: np.ndarray) -> list[Window]:
    return [Window(w.x, w.y, w.side, float(angle)) for w in windows for angle in angles]


def _tiles(image: np.ndarray, side: float, smallest: float) -> list[Window]:
    """Windows that overlap by half, so that any face up to half a tile lies whole in one; none below `smallest`."""
    if side < smallest:
        return []
    centres = []
    for extent in image.shape[:2]:
        n_steps = max(0, int(np.ceil((extent - side) / (side / 2))))
        ends = (side / 2, extent - side / 2) if extent > side else (extent / 2, extent / 2)
        centres.append(np.linspace(*ends, n_steps + 1))
    return [Window(float(x), float(y), side) for y in centres[0] for x in centres[1]]


def _fitted(
    image: np.ndarray, seen: Detections, is_rough: Bool[np.ndarray, "N"], min_score: float, device: Device
) -> FoundFaces:
    """Fit the mesh; a second time, in the window of the first points, where the detection was changed or rough."""
    seen, is_changed = confirm_faces(image, seen, is_rough, device=device)
    windows = windows_of_detections(seen)
    changed = np.flatnonzero(is_changed)
    points, _ = fit_mesh(image, [windows[i] for i in changed], device=device)
    for i, face in zip(changed, points, strict=True):
        windows[i] = window_of_points(face)
    return fit_windows(image, windows, min_score=min_score, device=device)


def _joined(seen: list[Detections]) -> Detections:
    """Detections of several looks at one picture; of those on the same face, the first stays."""
    boxes, keypoints, scores = (
        np.concatenate([getattr(s, name) for s in seen]) for name in ("boxes", "keypoints", "scores")
    )
    kept = _distinct(boxes)
    return Detections(boxes[kept], keypoints[kept], scores[kept])
