"""Whole runs of tracking, as the command line does them: everyone in a video, or a personal rig driven by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import likeness
from likeness.atomic import atomic_folder, write_text
from likeness.errors import InputError, NoFaceError
from likeness.face import Face
from likeness.heads import load_head
from likeness.heads.personal import PersonalHead
from likeness.landmarks import MediaPipe
from likeness.landmarks.base import Landmarks
from likeness.landmarks.sessions import Device
from likeness.methods.inorig.driving import blendshapes_of, motion_of
from likeness.methods.inorig.method import InorigMethod
from likeness.methods.inorig.outputs import write_clips
from likeness.methods.open.calibration import calibrate
from likeness.methods.open.method import OpenMethod, Quality
from likeness.methods.protocol import Photo
from likeness.tracking.checkpoint import Checkpoint
from likeness.tracking.overlay import Overlay, Style
from likeness.tracking.people import find_people
from likeness.tracking.sightings import find_sightings, read_sightings
from likeness.tracking.solving import TrackedPerson, solve_person
from likeness.videos import VideoReader, VideoWriter

# Official tracking looks at the whole clip at once; so many frames of it are held in memory.
_MOST_OFFICIAL_FRAMES = 1500


@dataclass(frozen=True)
class TrackingOptions:
    """How everyone in a video is followed. ``rig`` is a Face on the open head: this person's, who is then the only one
    followed. ``overlay`` None writes no video; ``smoothing`` is `likeness.animate.filters.smooth`'s strength."""

    quality: Quality = "balanced"
    rig: Path | None = None
    overlay: Style | None = "mesh"
    side_by_side: bool = False
    smoothing: float = 1.0
    max_people: int | None = None
    restart: bool = False
    device: Device = "auto"


Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how many frames are done, and of how many where that is known."""


def track_people(
    video: Path, out: Path, options: TrackingOptions, *, report: Callable[[str], None], progress: Progress
) -> list[Path]:
    """Follow everyone in a video; returns the folder of each person, the one most seen first.

    One person's results lie in ``out``, several people's in ``out/person-1``, ``out/person-2`` …: ``face.safetensors``,
    ``motion.safetensors`` and ``motion.csv``, ``head.glb`` with the animation, ``overlay.mp4`` and ``tracking.json``. A
    run that was stopped goes on where it was when it is started again with the same video, rig and quality. Raises
    NoFaceError when nobody is seen, ImageError when the video cannot be read, InputError when the rig is not on the
    open head, OutputError.
    """
    given = None if options.rig is None else _open_face(options.rig)
    method, calibration = OpenMethod(quality=options.quality), calibrate(load_head("open"), "mediapipe478")
    with VideoReader(video) as reader:
        checkpoint = Checkpoint(out, _fingerprint(video, options))
        if options.restart:
            checkpoint.clear()
            checkpoint = Checkpoint(out, _fingerprint(video, options))
        n_expected = reader.n_frames_estimate
        n_frames = find_sightings(
            reader, checkpoint, device=options.device, progress=lambda n: progress("finding faces", n, n_expected)
        )
        people, n_left_out = find_people(read_sightings(checkpoint), fps=reader.fps)
        if not people:
            checkpoint.clear()
            raise NoFaceError(f"{video}: no face in any of its {n_frames} frames.")
        if n_left_out:
            report(f"{video}: {n_left_out} short appearances of other faces left out")
        chosen = people[: 1 if given else options.max_people]
        folders = [out] if len(chosen) == 1 else [out / f"person-{k}" for k in range(1, len(chosen) + 1)]
        for number, (person, folder) in enumerate(zip(chosen, folders, strict=True), 1):
            tracked = solve_person(
                reader,
                checkpoint,
                person,
                name=f"person-{number}",
                n_frames=n_frames,
                method=method,
                calibration=calibration,
                given=given,
                smoothing=options.smoothing,
                progress=lambda n, p=person: progress("solving", n, p.n_frames),
            )
            _write(folder, video, reader, tracked, options, lambda n: progress("drawing", n, n_frames))
            report(f"{video} -> {folder}")
    checkpoint.clear()
    return folders


def _write(folder: Path, video: Path, reader: VideoReader, tracked: TrackedPerson, options, progress) -> None:
    with atomic_folder(folder) as temporary:
        tracked.face.save(temporary / "face.safetensors")
        tracked.motion.save(temporary / "motion.safetensors")
        tracked.motion.save(temporary / "motion.csv")
        tracked.rig.save(temporary / "head.glb", motion=tracked.motion)
        write_text(temporary / "tracking.json", json.dumps(_summary(tracked), indent=1) + "\n")
        if options.overlay is None:
            return
        overlay = Overlay(tracked, style=options.overlay, side_by_side=options.side_by_side)
        with VideoWriter(temporary / "overlay.mp4", fps=reader.fps, sound_from=video, preset="veryfast") as writer:
            for number, drawn in enumerate(overlay.frames(frame.pixels for frame in reader.steady()), 1):
                writer.write(drawn)
                progress(number)


def _summary(tracked: TrackedPerson) -> dict[str, Any]:
    """What a person wants to know of a run, and which frames no face was seen in ([first, last], counted from 0)."""
    confidence = tracked.motion.confidence
    assert confidence is not None
    seen = confidence > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[True], seen, [True]]).astype(int)))
    return {
        "frames": len(seen),
        "fps": tracked.motion.fps,
        "frames_seen": int(seen.sum()),
        "held": [[int(a), int(b) - 1] for a, b in edges.reshape(-1, 2)],
        "mean_confidence": round(float(confidence[seen].mean()), 4),
        "focal_px": round(tracked.focal, 2),
        "image_size": list(tracked.face.image_size),
    }


def _fingerprint(video: Path, options: TrackingOptions) -> dict[str, Any]:
    """What the checkpoints of a run depend on."""
    return {
        "likeness": likeness.__version__,
        "video": _identity_of(video),
        "rig": None if options.rig is None else _identity_of(options.rig),
        "quality": options.quality,
        "head": load_head("open").version,
    }


def _identity_of(path: Path) -> list[Any]:
    status = path.stat()
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def is_personal(rig: Path) -> bool:
    """Whether a Face has a personal rig (INORig) to track with, by `track_video`. Raises FileFormatError."""
    return Face.load(rig).method == "inorig"


def _open_face(path: Path) -> Face:
    face = Face.load(path)
    if face.head.name != "open":
        raise InputError(
            f"{path}: a Face on the head '{face.head.name}'; video is followed with Faces on the open head (or "
            "personal rigs of INORig). Reconstruct the person with `likeness reconstruct --method open`."
        )
    return face


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
