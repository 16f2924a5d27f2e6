"""From tracks to people: a track ends when its face is lost, and the same person may come back as another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from likeness.landmarks.face_detector import box_overlap
from likeness.tracking.sightings import Sightings

# A face that comes back to where one was lost is taken for the same person's.
_SAME_PLACE = 0.2
# Shorter appearances are passers-by and mistakes, unless there is nobody else.
_LEAST_SECONDS = 0.5


@dataclass(frozen=True)
class Person:
    """The tracks of one person, and in how many frames they are seen."""

    ids: frozenset[int]
    n_frames: int


@dataclass
class _Line:
    """Tracks joined so far: their first and last frame, and the box they were last seen in."""

    ids: set[int]
    last: int
    box: np.ndarray
    n_frames: int
    area: float


def find_people(stretches: Iterable[Sightings], *, fps: float) -> tuple[list[Person], int]:
    """People in the order of their part in the video, largest first; and how many short appearances are left out."""
    lines: list[_Line] = []
    by_id: dict[int, _Line] = {}
    for seen in stretches:
        for row in range(len(seen.frame)):
            frame, track, points = int(seen.frame[row]), int(seen.id[row]), seen.points[row, :, :2]
            box = np.concatenate([points.min(0), points.max(0)])
            if track not in by_id:
                by_id[track] = _line_for(track, frame, box, lines)
            line = by_id[track]
            line.last, line.box, line.n_frames = frame, box, line.n_frames + 1
            line.area += float(np.prod(box[2:] - box[:2]))
    lines.sort(key=lambda line: -line.area)
    long = [line for line in lines if line.n_frames >= _LEAST_SECONDS * fps] or lines[:1]
    return [Person(frozenset(line.ids), line.n_frames) for line in long], len(lines) - len(long)


def _line_for(track: int, frame: int, box: np.ndarray, lines: list[_Line]) -> _Line:
    """The person who was lost at this place, the latest first; or a new one."""
    absent = [line for line in lines if line.last < frame - 1]
    near = [line for line in absent if float(box_overlap(box, line.box[None])[0]) >= _SAME_PLACE]
    if near:
        line = max(near, key=lambda line: line.last)
        line.ids.add(track)
        return line
    lines.append(_Line({track}, frame, box, 0, 0.0))
    return lines[-1]
