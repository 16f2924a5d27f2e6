"""What drives a portrait: the expression of every driving photo or video frame, in one head's own space.

Read once and kept for all sources: a few hundred numbers a frame. A frame without a face keeps its error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from likeness.animate.filters import WEIGHT_NOISE, smooth_values
from likeness.animate.lids import even_lids, lid_pairs
from likeness.api import read_photo
from likeness.errors import InputError, LikenessError, NoFaceError
from likeness.images import find_photos
from likeness.landmarks import MediaPipe
from likeness.landmarks.base import Landmarks
from likeness.methods import Method, Photo
from likeness.reenactment.wearing import Driven
from likeness.videos import VideoReader

VIDEO_ENDINGS = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"})
# The driver is held in memory, and shorter drives are what sets are made of.
MOST_FRAMES = 100_000
# Left and right of a driver who is seen from one side differ by how they are seen. What differs for so many frames
# is no expression.
_LONG_ENOUGH = 25
_GAZE = "eyeLook"


@dataclass(frozen=True, eq=False)
class Driver:
    """The frames of a driver in order: ``names`` for messages, and what each does, or why it could not be read."""

    names: tuple[str, ...]
    frames: tuple[Driven | LikenessError, ...]
    fps: float | None = None
    """Frames a second of a video; None for photos."""
    blinks_shut: bool = False
    """Whether eyeBlink 1 means that an eye is shut, not so many millimetres of the head's own shape."""

    def __len__(self) -> int:
        return len(self.frames)


def read_driver(
    targets: Sequence[Path], method: Method, *, detector: MediaPipe, report: Callable[[int], None] | None = None
) -> Driver:
    """The expressions of photos, folders of photos and videos, in the order given.

    ``report`` is told how many frames are read. Raises ImageError when a folder holds no photo, InputError when there
    is nothing or too much.
    """
    names: list[str] = []
    frames: list[Driven | LikenessError] = []
    videos = [path for path in targets if path.suffix.lower() in VIDEO_ENDINGS]
    fps = None
    if videos:
        with VideoReader(videos[0]) as video:
            fps = video.fps if len(targets) == 1 else None
    for photo, landmarks in _sightings(targets, detector):
        names.append(photo if isinstance(photo, str) else photo.name)
        frames.append(_driven(photo, landmarks, method))
        check_length(len(frames))
        if report is not None:
            report(len(frames))
    if not frames:
        raise InputError("there is nothing to drive with; give photos, a folder of photos or a video.")
    return Driver(tuple(names), tuple(frames), fps)


def check_length(n_frames: int) -> None:
    """Raise InputError for a driver that is too long to be held."""
    if n_frames > MOST_FRAMES:
        raise InputError(f"more than {MOST_FRAMES:,} driving frames; drive with a part of them at a time.")


def smoothed(driver: Driver, window: int) -> Driver:
    """Means over so many frames about each, weighted towards the middle: nothing is late. 1 changes nothing.

    Frames that could not be read are left out and stay what they are.
    """
    if window < 0:
        raise InputError(f"a smoothing window of {window} frames; give 0 or 1 for none, 3 or more to smooth.")
    half = window // 2
    if half == 0:
        return driver
    kernel = np.hanning(2 * half + 3)[1:-1]
    kernel /= kernel.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        padded = np.concatenate([np.repeat(values[:1], half, 0), values, np.repeat(values[-1:], half, 0)])
        return np.stack([np.tensordot(kernel, padded[i : i + len(kernel)], 1) for i in range(len(values))])

    return _mapped(driver, mean)


def calmed(driver: Driver) -> Driver:
    """A video's motion without the tracker's noise; blinks and closing lips stay as sharp as they were."""
    fps = driver.fps
    if fps is None:
        return driver
    return _mapped(driver, lambda values: smooth_values(values, fps=fps, limit=WEIGHT_NOISE))


def evened(driver: Driver, names: Sequence[str]) -> Driver:
    """A video's expressions without what stays uneven between left and right: it is the view, not the face.

    Each pair of shapes gives half of the median of its difference to the other side. Lids are asked more often, as
    they are seen differently whenever the head turns: of a pair that differs for longer than a wink lasts, the eye
    that is more open is believed. Winks and crooked smiles that come and go stay. Heads without named shapes, and
    drivers that are no video, are left as they are.
    """
    pairs = [(i, names.index(_other_side(name))) for i, name in enumerate(names) if _other_side(name) in names]
    fps = driver.fps
    if fps is None or not pairs or len(driver) < _LONG_ENOUGH:
        return driver
    lids = lid_pairs(names)
    others = [pair for pair in pairs if pair not in lids and not names[pair[0]].startswith(_GAZE)]

    def even(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        for left, right in others:
            half = np.median(values[:, left] - values[:, right]) / 2
            values[:, left] -= half
            values[:, right] += half
        return even_lids(np.maximum(values, 0), names, fps=fps)

    return _mapped(driver, even, expression_only=True)


def _other_side(name: str) -> str:
    return f"{name[: -len('Left')]}Right" if name.endswith("Left") else ""


def _mapped(driver: Driver, change: Callable[[np.ndarray], np.ndarray], *, expression_only: bool = False) -> Driver:
    """With the numbers of all readable frames, as rows, changed together."""
    read = [frame for frame in driver.frames if isinstance(frame, Driven)]
    if not read:
        return driver
    expression = torch.from_numpy(change(torch.stack([frame.expression for frame in read]).numpy()).astype(np.float32))
    joints = torch.stack([frame.joints for frame in read])
    if not expression_only:
        moved = change(joints.flatten(1).numpy()).astype(np.float32)
        joints = torch.from_numpy(moved).view_as(joints)
    changed = iter(replace(frame, expression=e, joints=j) for frame, e, j in zip(read, expression, joints, strict=True))
    return replace(driver, frames=tuple(next(changed) if isinstance(f, Driven) else f for f in driver.frames))


def _sightings(targets: Sequence[Path], detector: MediaPipe) -> Iterator[tuple[Photo | str, Landmarks | LikenessError]]:
    for path in targets:
        if path.suffix.lower() in VIDEO_ENDINGS:
            yield from _of_video(path, detector)
            continue
        for file in find_photos([path]):
            try:
                photo = read_photo(file)
                found = detector.detect(photo.pixels, max_faces=1)
            except LikenessError as error:
                yield str(file), error
                continue
            yield photo, found[0] if found else NoFaceError(f"{file}: no face found; use a photo that shows one.")


def _of_video(path: Path, detector: MediaPipe) -> Iterator[tuple[Photo | str, Landmarks | LikenessError]]:
    follower = MediaPipe(device=detector.device, min_score=detector.min_score)
    with VideoReader(path) as video:
        for number, frame in enumerate(video):
            name = f"{path} frame {number}"
            found = follower.track(frame.pixels, max_faces=1)
            yield Photo(frame.pixels, name), found[0].landmarks if found else NoFaceError(f"{name}: no face found.")


def _driven(photo: Photo | str, landmarks: Landmarks | LikenessError, method: Method) -> Driven | LikenessError:
    if isinstance(landmarks, LikenessError):
        return landmarks
    assert not isinstance(photo, str), "landmarks belong to a photo"
    try:
        face = method.reconstruct(photo, landmarks)
    except LikenessError as error:
        return error
    return Driven(face.expression.clone(), face.joints.clone(), face.camera.rotation[0].clone())
