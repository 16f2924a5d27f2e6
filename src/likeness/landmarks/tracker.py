"""Following faces through a video: every frame's crop comes from the points of the frame before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from likeness.landmarks.base import Landmarks, box_area, check_image
from likeness.landmarks.face_detector import box_overlap
from likeness.landmarks.face_mesh import window_of_points
from likeness.landmarks.search import FoundFaces, distinct_faces, find_faces, find_faces_quickly, fit_windows
from likeness.landmarks.sessions import Device

# A lost face that comes back near its old place within this many frames keeps its id.
REMEMBERED_FRAMES = 30
# While there is no face at all, every so many frames unlikely places are searched too.
THOROUGH_EVERY = 30
SAME_PLACE_OVERLAP = 0.3


@dataclass(frozen=True)
class Track:
    """One face in one frame; `id` stays with the face through the video."""

    id: int
    landmarks: Landmarks


@dataclass
class _Known:
    id: int
    points: np.ndarray
    n_frames_unseen: int = 0


class Tracker:
    """Follows the faces of one video.

    Each known face is fitted in the window that its last points span, and lost when its presence falls below
    `min_score`. New faces are looked for while fewer than `max_faces` are known (always, if that is None).
    """

    def __init__(self, *, device: Device = "auto", min_score: float = 0.5, max_faces: int | None = None) -> None:
        self.device: Device = device
        self.min_score = min_score
        self.max_faces = max_faces
        self._known: list[_Known] = []
        self._n_ids = 0
        self._n_frames_empty = 0

    def update(self, image: UInt8[np.ndarray, "H W 3"]) -> list[Track]:
        """The faces of the next frame, largest first. Raises `InputError` for an array that is no RGB picture."""
        check_image(image, self.max_faces)
        visible = [face for face in self._known if face.n_frames_unseen == 0]
        windows = [window_of_points(face.points) for face in visible]
        found = fit_windows(image, windows, min_score=self.min_score, device=self.device)
        if self.max_faces is None or len(found) < self.max_faces:
            found = self._with_newcomers(image, found)
        self._n_frames_empty = 0 if len(found) else self._n_frames_empty + 1
        return self._named(found)

    def snapshot(self) -> dict[str, np.ndarray]:
        """What the next frame depends on, as arrays; `restore` goes on from there."""
        return {
            "ids": np.array([face.id for face in self._known], np.int64),
            "points": np.array([face.points for face in self._known], np.float32).reshape(-1, 478, 3),
            "unseen": np.array([face.n_frames_unseen for face in self._known], np.int64),
            "counts": np.array([self._n_ids, self._n_frames_empty], np.int64),
        }

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Go on from a `snapshot`, of this or another tracker."""
        rows = zip(snapshot["ids"].tolist(), snapshot["points"], snapshot["unseen"].tolist(), strict=True)
        self._known = [_Known(id_, points, unseen) for id_, points, unseen in rows]
        self._n_ids, self._n_frames_empty = snapshot["counts"].tolist()

    @property
    def n_visible(self) -> int:
        """How many faces the last frame showed."""
        return sum(face.n_frames_unseen == 0 for face in self._known)

    def _with_newcomers(self, image: np.ndarray, found: FoundFaces) -> FoundFaces:
        look = find_faces if not len(found) and self._n_frames_empty % THOROUGH_EVERY == 0 else find_faces_quickly
        only_one = self.max_faces == 1
        seen = look(image, min_score=self.min_score, device=self.device, only_one=only_one)
        points = np.concatenate([found.points, seen.points])
        presence = np.concatenate([found.presence, seen.presence])
        kept = distinct_faces(points)
        if self.max_faces is not None:  # the known ones first, then the largest
            kept = sorted(kept, key=lambda i: (i >= len(found), -box_area(points[i])))[: self.max_faces]
        return FoundFaces(points[kept], presence[kept])

    def _named(self, found: FoundFaces) -> list[Track]:
        """Give every face the id of the known face at its place, the best matches first, or a new one."""
        overlaps = np.array([[_overlap(k.points, p) for p in found.points] for k in self._known])
        overlaps = overlaps.reshape(len(self._known), len(found))
        ids: dict[int, int] = {}
        for flat in np.argsort(-overlaps, axis=None, kind="stable"):
            known, face = divmod(int(flat), len(found))
            taken = face in ids or self._known[known].id in ids.values()
            if not taken and overlaps[known, face] >= SAME_PLACE_OVERLAP:
                ids[face] = self._known[known].id
        for face in range(len(found)):
            if face not in ids:
                ids[face], self._n_ids = self._n_ids, self._n_ids + 1
        self._remember({ids[face]: found.points[face] for face in range(len(found))})
        tracks = [
            Track(ids[face], Landmarks("mediapipe478", found.points[face], float(found.presence[face])))
            for face in range(len(found))
        ]
        return sorted(tracks, key=lambda track: -box_area(track.landmarks.points))

    def _remember(self, seen: dict[int, np.ndarray]) -> None:
        unseen = [
            _Known(face.id, face.points, face.n_frames_unseen + 1)
            for face in self._known
            if face.id not in seen and face.n_frames_unseen < REMEMBERED_FRAMES
        ]
        self._known = [_Known(id_, points) for id_, points in seen.items()] + unseen


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    boxes = [np.concatenate([p[:, :2].min(axis=0), p[:, :2].max(axis=0)]) for p in (first, second)]
    return float(box_overlap(boxes[0], boxes[1][None])[0])
