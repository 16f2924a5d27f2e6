"""Finding every face of a picture: first where MediaPipe looks, then, if there is none, in less likely places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from likeness.landmarks.face_detector import Detections, Range, box_overlap, detect_faces
from likeness.landmarks.face_mesh import fit_mesh, window_of_points, windows_of_detections
from likeness.landmarks.sessions import Device
from likeness.landmarks.windows import Window

SAME_FACE_OVERLAP = 0.5
# Tiles smaller than this hold no face worth fitting 478 points to.
SMALLEST_TILE = 96
N_WINDOWS_AT_ONCE = 16


@dataclass(frozen=True)
class FoundFaces:
    """Points in pixels of the picture with relative depth, and face presence in [0, 1]."""

    points: Float[np.ndarray, "B 478 3"]
    presence: Float[np.ndarray, "B"]

    def __len__(self) -> int:
        return len(self.presence)


def find_faces(
    image: UInt8[np.ndarray, "H W 3"], *, min_score: float, device: Device, only_one: bool = False
) -> FoundFaces:
    """The faces of a picture, each once; an empty result if there is none.

    Upright faces that fill a twentieth of the picture or more are found at first sight. If there are none, the picture
    is padded, turned and cut into overlapping tiles, until one such step finds faces.
    """
    found = find_faces_quickly(image, min_score=min_score, device=device, only_one=only_one)
    for kind, windows in _further_places(image):
        if len(found):
            break
        found = _fit_all(image, windows, kind, min_score, device)
    return found


def find_faces_quickly(
    image: UInt8[np.ndarray, "H W 3"], *, min_score: float, device: Device, only_one: bool = False
) -> FoundFaces:
    """The first look of `find_faces` alone: the whole picture, upright, seen by both detectors.

    With `only_one`, the second detector is asked only where the first finds nothing.
    """
    whole = [_whole(image)]
    (found,) = detect_faces(image, whole, "short", device=device)
    if not (only_one and len(found)):
        (smaller,) = detect_faces(image, whole, "full", device=device)
        found = _joined([found, smaller])
    return _fitted(image, found, min_score, device)


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


def _further_places(image: np.ndarray) -> Iterator[tuple[Range, list[Window]]]:
    whole = _whole(image)
    quarters = np.pi / 2 * np.arange(4)
    # A face that is cut by the border, or fills the picture, is smaller and whole in a padded one.
    yield "short", [_zoomed(whole, scale) for scale in (1.5, 2.0, 3.0)]
    for angles in (quarters[1:], quarters + np.pi / 4):
        for kind in ("short", "full"):
            yield kind, [Window(whole.x, whole.y, whole.side, float(angle)) for angle in angles]
    side = max(image.shape[:2]) / 2
    while side >= SMALLEST_TILE and side > max(image.shape[:2]) / 10:
        tiles = _tiles(image, side)
        yield "full", tiles
        yield "full", [Window(t.x, t.y, t.side, float(angle)) for t in tiles for angle in quarters[1:]]
        side /= 2


def _whole(image: np.ndarray) -> Window:
    height, width = image.shape[:2]
    return Window(width / 2, height / 2, max(width, height))


def _zoomed(window: Window, scale: float) -> Window:
    return Window(window.x, window.y, window.side * scale, window.angle)


def _tiles(image: np.ndarray, side: float) -> list[Window]:
    """Windows that overlap by half, so that any face up to half a tile lies whole in one of them."""
    centres = []
    for extent in image.shape[:2]:
        n_steps = max(0, int(np.ceil((extent - side) / (side / 2))))
        ends = (side / 2, extent - side / 2) if extent > side else (extent / 2, extent / 2)
        centres.append(np.linspace(*ends, n_steps + 1))
    return [Window(float(x), float(y), side) for y in centres[0] for x in centres[1]]


def _fit_all(image: np.ndarray, windows: list[Window], kind: Range, min_score: float, device: Device) -> FoundFaces:
    """What the detector sees in all windows, fitted twice: the second crop comes from the first points."""
    seen: list[Detections] = []
    for begin in range(0, len(windows), N_WINDOWS_AT_ONCE):
        seen += detect_faces(image, windows[begin : begin + N_WINDOWS_AT_ONCE], kind, device=device)
    found = _fitted(image, _joined(seen), min_score, device)
    return _fit(image, [window_of_points(face) for face in found.points], min_score, device)


def _fitted(image: np.ndarray, seen: Detections, min_score: float, device: Device) -> FoundFaces:
    return _fit(image, windows_of_detections(seen), min_score, device)


def _fit(image: np.ndarray, windows: list[Window], min_score: float, device: Device) -> FoundFaces:
    points, presence = fit_mesh(image, windows, device=device)
    present = np.flatnonzero(presence >= min_score)
    kept = present[distinct_faces(points[present])]
    return FoundFaces(points[kept], presence[kept])


def _joined(seen: list[Detections]) -> Detections:
    """Detections of several looks at one picture; of those on the same face, the first stays."""
    boxes, keypoints, scores = (
        np.concatenate([getattr(s, name) for s in seen]) for name in ("boxes", "keypoints", "scores")
    )
    kept = _distinct(boxes)
    return Detections(boxes[kept], keypoints[kept], scores[kept])
