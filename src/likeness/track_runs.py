"""A whole run of tracking: a person's rig driven by a video, as the command line does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from likeness.atomic import atomic_folder
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads.personal import PersonalHead
from likeness.landmarks import MediaPipe
from likeness.landmarks.base import Landmarks
from likeness.methods.inorig.driving import blendshapes_of, motion_of
from likeness.methods.inorig.method import InorigMethod
from likeness.methods.inorig.outputs import write_clips
from likeness.methods.protocol import Photo
from likeness.videos import VideoReader

# Official tracking looks at the whole clip at once; so many frames of it are held in memory.
_MOST_OFFICIAL_FRAMES = 1500


def track_video(
    video: Path,
    rig: Path,
    out: Path,
    *,
    method: InorigMethod,
    target: Path | None = None,
    report: Callable[[str], None],
) -> None:
    """Follow the largest face of a video with a personal rig; write its motion and the clips that show it.

    ``rig`` is a Face of the method "inorig"; ``target``, another such Face, wears the same motion beside it. Leaves
    ``motion.safetensors`` and the clips in ``out``. Raises InputError when a Face has no personal rig or the video
    shows no face, ImageError when the video cannot be read, OutputError when ``out`` cannot be written.
    """
    face, worn = _face(rig), None if target is None else _face(target)
    own, other = method.rig(face), None if worn is None else method.rig(worn)
    with VideoReader(video) as reader:
        pairs = _frames_with_landmarks(reader, video)
        if method.compat == "official":
            pairs = _held(pairs, video)
        tracked = []
        for frame in method.track(own, pairs):
            tracked.append(frame)
            if len(tracked) % 25 == 0:
                report(f"{video}: {len(tracked)} frames solved")
        fps = reader.fps
        motion = motion_of(tracked, own, blendshapes_of(_personal(face, rig)), fps=fps)
        n_skipped = sum(1 for _ in reader) - len(tracked)
        pictures = (frame.pixels for frame in islice(reader, n_skipped, None))
        with atomic_folder(out) as folder:
            motion.save(folder / "motion.safetensors")
            write_clips(folder, zip(pictures, tracked, strict=True), own, fps=fps, target=other)
    report(f"{video} -> {out}")


def _face(path: Path) -> Face:
    face = Face.load(path)
    _personal(face, path)
    return face


def _personal(face: Face, path: Path) -> PersonalHead:
    if face.method != "inorig" or not isinstance(face.head, PersonalHead):
        raise InputError(
            f"{path}: a Face of the method '{face.method}', which has no personal rig to track with. Reconstruct the "
            "person with `likeness reconstruct --method inorig --same-person`."
        )
    return face.head


def _frames_with_landmarks(reader: VideoReader, video: Path) -> Iterator[tuple[Photo, Landmarks | None]]:
    """Each frame with the face that the first face of the video has become."""
    detector = MediaPipe()
    for number, frame in enumerate(reader):
        found = detector.track(np.ascontiguousarray(frame.pixels), max_faces=1)
        yield Photo(frame.pixels, f"{video} frame {number}"), found[0].landmarks if found else None


def _held(pairs: Iterator[tuple[Photo, Landmarks | None]], video: Path) -> list[tuple[Photo, Landmarks | None]]:
    frames = list(islice(pairs, _MOST_OFFICIAL_FRAMES + 1))
    if len(frames) > _MOST_OFFICIAL_FRAMES:
        raise InputError(
            f"{video}: official tracking looks at the whole clip at once, at most {_MOST_OFFICIAL_FRAMES} frames. Cut "
            "it, or track without --compat official."
        )
    return frames
