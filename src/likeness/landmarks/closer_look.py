"""A closer look at doubtful detections, in four turns.

The detectors are trained on upright faces. At a face that is turned or upside down they often fire too, but weakly and
with the keypoints in the wrong places; and at a large distance they take some textures for faces.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

from likeness.landmarks.face_detector import Detections, box_overlap, detect_faces
from likeness.landmarks.face_mesh import fit_mesh, window_of_points, windows_of_detections
from likeness.landmarks.second_look import disagreement
from likeness.landmarks.sessions import Device
from likeness.landmarks.windows import Window

# Over 69 photos and renders, the short-range detector gave upright faces 0.80 to 0.98 (above 0.86 but for one in
# twenty), the same ones upside down at most 0.84.
SURE_SCORE = 0.86
SURE_ANGLE = np.radians(40)
# What replaces a detection must score this much: 101 faces, turned, cut by the border or small, scored 0.68 to 0.95
# at a closer look (above 0.75 but for the worst cut), 71 textures at most 0.74.
CONFIRMED_SCORE = 0.74
# Faces that are upside down score 0.09 to 0.37 more so than as they stand; and the eyes and brows above a medical
# mask, which look like a mouth and chin from there, up to 0.09. Where upright is no farther behind, the mesh is asked.
NEARLY_AS_GOOD = 0.2
# Upright, faces that are upside down raise at least 1.8 times the doubt; masked ones at most 1.3 times.
UPRIGHT_FAVOUR = 0.7
N_TURNS = 4
CLOSER_SIDE = 2.0  # side of the window, in sides of the detected box
SAME_PLACE_OVERLAP = 0.2


def confirm_faces(
    image: UInt8[np.ndarray, "H W 3"], seen: Detections, is_rough: Bool[np.ndarray, "N"], *, device: Device
) -> tuple[Detections, Bool[np.ndarray, "N"]]:
    """Drop what is no face at a closer look, and set turned faces right; also says which detections were replaced.

    Sure detections are passed on as they are. `is_rough` marks those that are always replaced by what the closer look
    sees: those of the full-range detector and of turned, padded or cut pictures.
    """
    eyes = seen.keypoints[:, 1] - seen.keypoints[:, 0]
    is_level = np.abs(np.arctan2(eyes[:, 1], eyes[:, 0])) < SURE_ANGLE
    doubtful = np.flatnonzero(is_rough | ~is_level | (seen.scores < SURE_SCORE))
    windows = [window for i in doubtful for window in _four_turns(seen.boxes[i])]
    looks = detect_faces(image, windows, "short", device=device) if windows else []

    boxes, keypoints, scores = seen.boxes.copy(), seen.keypoints.copy(), seen.scores.copy()
    is_face, is_changed = np.ones(len(seen), bool), np.zeros(len(seen), bool)
    for n, i in enumerate(doubtful):
        turns = looks[n * N_TURNS : (n + 1) * N_TURNS]
        places = [_at_the_place(turn, seen.boxes[i]) for turn in turns]
        values = [0.0 if at is None else turn.scores[at] for turn, at in zip(turns, places, strict=True)]
        highest = best = int(np.argmax(values))
        upright, at = places[0], places[best]
        is_close = highest != 0 and values[0] > values[highest] - NEARLY_AS_GOOD
        if upright is not None and at is not None and is_close:
            best = 0 if _is_steadier(image, _one(turns[0], upright), _one(turns[best], at), device) else best
            at = places[best]
        is_changed[i] = highest != 0 or is_rough[i]
        is_face[i] = at is not None and (not is_changed[i] or values[highest] >= CONFIRMED_SCORE)
        if at is not None and is_changed[i]:
            boxes[i], keypoints[i], scores[i] = turns[best].boxes[at], turns[best].keypoints[at], values[best]
    return Detections(boxes[is_face], keypoints[is_face], scores[is_face]), is_changed[is_face]


def _is_steadier(image: np.ndarray, upright: Detections, turned: Detections, device: Device) -> bool:
    """Whether the mesh does not change its mind much more in the first view: the wrong way round, a face is guesswork.

    Of 114 faces painted with a medical mask and 126 turned by 45° to 180°, none is taken the wrong way round; of 28
    that are masked and upside down, half are.
    """
    doubts = []
    for seen in (upright, turned):
        points, _ = fit_mesh(image, windows_of_detections(seen), device=device)
        points, _ = fit_mesh(image, [window_of_points(points[0])], device=device)
        doubts.append(disagreement(image, points[0], device=device))
    return UPRIGHT_FAVOUR * doubts[0] < doubts[1]


def _one(seen: Detections, at: int) -> Detections:
    only = slice(at, at + 1)
    return Detections(seen.boxes[only], seen.keypoints[only], seen.scores[only])


def _four_turns(box: np.ndarray) -> list[Window]:
    x, y = (box[:2] + box[2:]) / 2
    side = CLOSER_SIDE * float(np.max(box[2:] - box[:2]))
    return [Window(float(x), float(y), side, turn * np.pi / 2) for turn in range(N_TURNS)]


def _at_the_place(seen: Detections, box: np.ndarray) -> int | None:
    """Index of the best detection that overlaps `box` enough to be the same face; detections come best first."""
    same = np.flatnonzero(box_overlap(box, seen.boxes) > SAME_PLACE_OVERLAP) if len(seen) else []
    return int(same[0]) if len(same) else None
