"""The first pass over a video: which faces each frame shows, and how sharply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Float, Int, UInt8

from likeness.landmarks import Track, Tracker
from likeness.landmarks.sessions import Device
from likeness.tracking.checkpoint import Checkpoint
from likeness.videos import VideoFrame, VideoReader

CHUNK = 250
"""Frames between two checkpoints. Later passes begin anew at each, so that a resumed run gives the same bytes."""

# While everyone known is in sight, newcomers are looked for every so many frames: looking costs as much as following.
LOOK_ROUND_EVERY = 8
_SHARPNESS_SIDE = 96
_NAME = "sightings"


@dataclass(frozen=True, eq=False)
class Sightings:
    """Faces seen in a stretch of video: for each its ``frame``, track ``id``, landmarks (pixels), detection ``score``,
    and ``sharpness``, the mean squared Laplacian of its gray levels at a fixed size."""

    frame: Int[np.ndarray, " S"]
    id: Int[np.ndarray, " S"]
    points: Float[np.ndarray, "S 478 3"]
    score: Float[np.ndarray, " S"]
    sharpness: Float[np.ndarray, " S"]

    def of(self, ids: set[int]) -> Sightings:
        """Only those of some tracks."""
        chosen = np.isin(self.id, sorted(ids))
        return Sightings(*(getattr(self, name)[chosen] for name in _FIELDS))


_FIELDS = ("frame", "id", "points", "score", "sharpness")


def find_sightings(
    video: VideoReader, checkpoint: Checkpoint, *, device: Device = "auto", progress: Callable[[int], None]
) -> int:
    """Detect and follow the faces of a whole video into the checkpoint; returns its number of frames.

    Chunks that are there already are not done again. ``progress`` is told how many frames are done.
    """
    tracker = FaceFollower(device=device)
    done = checkpoint.n_chunks(_NAME)
    n_frames = 0
    if done:
        header, arrays = checkpoint.read(_NAME, done - 1)
        n_frames = header["n_frames"]
        tracker.restore({key.removeprefix("tracker/"): value for key, value in arrays.items() if "tracker/" in key})
        if header["last"]:
            return n_frames
    frames = video.steady(first=n_frames)
    while True:
        stretch, n_new = _follow(islice(frames, CHUNK), n_frames, tracker, progress)
        n_frames += n_new
        state = {f"tracker/{key}": value for key, value in tracker.snapshot().items()}
        arrays = {name: getattr(stretch, name) for name in _FIELDS} | state
        checkpoint.write(_NAME, done, arrays, n_frames=n_frames, last=n_new < CHUNK)
        done += 1
        if n_new < CHUNK:
            return n_frames


def read_sightings(checkpoint: Checkpoint) -> Iterator[Sightings]:
    """The finished stretches, one at a time."""
    for arrays in checkpoint.chunks(_NAME):
        yield Sightings(*(arrays[name] for name in _FIELDS))


class FaceFollower:
    """A `Tracker` that looks for newcomers now and then while all are in sight."""

    def __init__(self, *, device: Device = "auto") -> None:
        self._tracker = Tracker(device=device)
        self._n_since = 0

    def update(self, pixels: UInt8[np.ndarray, "H W 3"]) -> list[Track]:
        """The faces of the next frame."""
        known = self._tracker.n_visible
        look_round = known == 0 or self._n_since >= LOOK_ROUND_EVERY
        self._n_since = 0 if look_round else self._n_since + 1
        # With as many found as it may have, the tracker does not search; with one lost, it does.
        self._tracker.max_faces = None if look_round else known
        return self._tracker.update(np.ascontiguousarray(pixels))

    def snapshot(self) -> dict[str, np.ndarray]:
        """See `Tracker.snapshot`."""
        return self._tracker.snapshot() | {"since": np.array([self._n_since])}

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """See `Tracker.restore`."""
        self._tracker.restore(snapshot)
        self._n_since = int(snapshot["since"][0])


def _follow(
    frames: Iterator[VideoFrame], first: int, follower: FaceFollower, progress: Callable[[int], None]
) -> tuple[Sightings, int]:
    rows: list[tuple[int, int, np.ndarray, float, float]] = []
    n_new = 0
    for frame in frames:
        for track in follower.update(frame.pixels):
            found = track.landmarks
            rows.append((first + n_new, track.id, found.points, found.score, sharpness(frame.pixels, found.points)))
        n_new += 1
        progress(first + n_new)
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    return Sightings(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float32).reshape(-1, 478, 3),
        np.array(columns[3], np.float32),
        np.array(columns[4], np.float32),
    ), n_new


def sharpness(pixels: UInt8[np.ndarray, "H W 3"], points: Float[np.ndarray, "L 3"]) -> float:
    """Mean squared Laplacian of the gray levels of a face, at most `_SHARPNESS_SIDE` pixels a side; 0 outside."""
    height, width = pixels.shape[:2]
    low = np.floor(points[:, :2].min(0)).astype(int).clip(0, (width, height))
    high = np.ceil(points[:, :2].max(0)).astype(int).clip(0, (width, height))
    step = max(1, int(max(high - low)) // _SHARPNESS_SIDE)
    # Green is most of what the eye calls bright, and what cameras resolve best.
    gray = pixels[low[1] : high[1] : step, low[0] : high[0] : step, 1].astype(np.float32)
    if min(gray.shape) < 3:
        return 0.0
    middle = gray[1:-1, 1:-1]
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * middle
    return float(np.square(laplacian).mean())
