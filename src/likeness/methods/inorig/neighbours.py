"""The five frames a video's frames are solved with in the reference: spread over yaw, renewed as the head turns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T")
N_NEIGHBOURS = 5


@dataclass(frozen=True)
class Neighbours(Generic[T]):
    """Frames with their yaw (normalised pose units: radians), sorted by yaw."""

    yaws: tuple[float, ...]
    frames: tuple[T, ...]

    @classmethod
    def start(cls, yaws: Sequence[float], frames: Sequence[T]) -> Neighbours[T]:
        """The first neighbours, in any order."""
        order = sorted(range(len(yaws)), key=lambda i: yaws[i])
        return cls(tuple(yaws[i] for i in order), tuple(frames[i] for i in order))

    def updated(self, yaw: float, frame: T) -> Neighbours[T]:
        """With one more frame, and without the one whose loss narrows the spread least; both extremes always stay."""
        place = bisect_left(self.yaws, yaw)
        yaws = (*self.yaws[:place], yaw, *self.yaws[place:])
        frames = (*self.frames[:place], frame, *self.frames[place:])
        drop = _least_needed(yaws)
        return Neighbours((*yaws[:drop], *yaws[drop + 1 :]), (*frames[:drop], *frames[drop + 1 :]))


def _least_needed(yaws: Sequence[float]) -> int:
    """Of the two frames closest to each other, the one with the nearer other neighbour."""
    gaps = [after - before for before, after in pairwise(yaws)]
    closest = gaps.index(min(gaps))
    if closest == 0:
        return 1
    if closest == len(gaps) - 1:
        return closest
    return closest if gaps[closest - 1] < gaps[closest + 1] else closest + 1


def first_neighbours(n_frames: int) -> list[int]:
    """The frames of a clip to start with, evenly spread."""
    return [k * int(n_frames / N_NEIGHBOURS) for k in range(N_NEIGHBOURS)]
