"""A whole run of animation, as the command line does it: a Face, something that drives it, a film or a file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from likeness.animate.closing import with_closing_blinks
from likeness.animate.driving import DrivingOptions, motion_of_face, wear
from likeness.animate.film import Film, Material
from likeness.animate.posing import Puppet
from likeness.api import Reconstructor, read_photo
from likeness.atomic import atomic_folder
from likeness.errors import FileFormatError, InputError, NoFaceError
from likeness.face import Face
from likeness.files.motion import ENDINGS
from likeness.files.obj import write_obj
from likeness.heads import load_head
from likeness.landmarks.sessions import Device
from likeness.methods.open.calibration import calibrate
from likeness.methods.open.method import OpenMethod
from likeness.motion import Motion
from likeness.rig import Rig
from likeness.topology import Mesh
from likeness.tracking.checkpoint import Checkpoint
from likeness.tracking.live import LiveTracker
from likeness.tracking.people import find_people
from likeness.tracking.sightings import find_sightings, read_sightings
from likeness.tracking.solving import solve_person
from likeness.transfer_runs import VIDEO_ENDINGS
from likeness.turntable import write_gif
from likeness.videos import CameraReader, VideoReader, VideoWriter

MOTION_OUTPUTS = (".csv", ".json", ".safetensors")
OUTPUTS = (".mp4", ".gif", ".glb", *MOTION_OUTPUTS)
# Pictures of a GIF are held in memory until its palette is known.
_MOST_GIF_FRAMES = 1500
# OBJ files of a sequence: 18,000 are ten minutes.
_MOST_OBJ_FRAMES = 100_000

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class AnimationOptions:
    """``driving``: how the motion is worn. ``size``, ``material``, ``yaw`` and ``detail``: how a film shows it (see
    `Film`); ``side_by_side`` puts the driving video to the left. ``fps``: the rate of a motion file that does not tell.
    ``seconds``: how long a camera is followed; without it, until the run is interrupted."""

    driving: DrivingOptions = field(default_factory=DrivingOptions)
    size: int = 512
    material: Material = "auto"
    yaw: float = 0.0
    detail: bool = True
    side_by_side: bool = False
    fps: float | None = None
    seconds: float | None = None
    device: Device = "auto"


def animate(
    face: Path, drive: str, out: Path, options: AnimationOptions, *, report: Callable[[str], None], progress: Progress
) -> None:
    """Drive a saved Face and write what the ending of ``out`` names: a film, a GLB, a motion file, or a folder of OBJs.

    ``drive`` is a video, a photo, a motion file, a Face, a folder that `likeness track` made, or a camera's number.
    Raises LikenessError of the kind that fits: InputError on an ending that is not written, NoFaceError when the driver
    shows nobody, FileFormatError and ImageError when it cannot be read, OutputError when ``out`` cannot be written.
    """
    kind = _kind_of(out)
    rig = with_closing_blinks(Face.load(face).rig())
    motion = driving_motion(drive, options, progress)
    if not len(motion):
        raise NoFaceError(f"{drive}: nobody was seen, so there is no motion to wear.")
    worn = wear(motion, rig, options.driving)
    if kind == ".glb":
        rig.save(out, motion=worn)
    elif kind in MOTION_OUTPUTS:
        worn.save(out)
    elif kind == "":
        _write_meshes(out, rig, worn, progress)
    else:
        _write_film(out, kind, rig, worn, Path(drive), options, progress)
    report(f"{drive} -> {out}")


def _kind_of(out: Path) -> str:
    kind = out.suffix.lower()
    if kind and kind not in OUTPUTS:
        raise InputError(f"{out}: animation is written as {', '.join(OUTPUTS)} or a folder of OBJ files, not '{kind}'.")
    return kind


# ---------------------------------------------------------------- the driver


def driving_motion(drive: str, options: AnimationOptions, progress: Progress) -> Motion:
    """The motion of whatever drives. Raises as `animate`."""
    if drive.isdecimal():
        return _camera_motion(int(drive), options, progress)
    path = Path(drive)
    if path.is_dir():
        path = path / "motion.safetensors"
    if path.suffix.lower() in VIDEO_ENDINGS:
        return _video_motion(path, options, progress)
    if path.suffix.lower() == ".safetensors":
        return _motion_or_face(path)
    if path.suffix.lower() in ENDINGS:
        return Motion.load(path, fps=options.fps)
    reconstructor = Reconstructor(method="open", quality="fast", device=options.device, max_faces=1)
    return motion_of_face(reconstructor(read_photo(path)).faces[0])


def _motion_or_face(path: Path) -> Motion:
    try:
        return Motion.load(path)
    except FileFormatError as no_motion:
        try:
            return motion_of_face(Face.load(path))
        except FileFormatError:
            raise no_motion from None


def _video_motion(path: Path, options: AnimationOptions, progress: Progress) -> Motion:
    """The motion of the person who is seen most."""
    with VideoReader(path) as reader, tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder), {})
        expected = reader.n_frames_estimate
        n_frames = find_sightings(
            reader, checkpoint, device=options.device, progress=lambda n: progress("finding faces", n, expected)
        )
        people, _ = find_people(read_sightings(checkpoint), fps=reader.fps)
        if not people:
            raise NoFaceError(f"{path}: no face in any of its {n_frames} frames.")
        return solve_person(
            reader,
            checkpoint,
            people[0],
            name="driver",
            n_frames=n_frames,
            method=OpenMethod(quality="fast"),
            calibration=calibrate(load_head("open"), "mediapipe478"),
            progress=lambda n: progress("solving", n, people[0].n_frames),
        ).motion


def _camera_motion(number: int, options: AnimationOptions, progress: Progress) -> Motion:
    """Until the time is over or the run is interrupted; what was seen so far is kept."""
    frames: list[Motion] = []
    with CameraReader(number) as camera:
        tracker = LiveTracker(calibrate(load_head("open"), "mediapipe478"), fps=camera.fps, device=options.device)
        began = time.monotonic()
        try:
            for picture in camera:
                found = tracker.update(picture.pixels)
                if found is not None:
                    frames.append(found)
                progress("following the camera", len(frames), None)
                if options.seconds is not None and time.monotonic() - began >= options.seconds:
                    break
        except KeyboardInterrupt:
            pass
        elapsed = max(time.monotonic() - began, 1e-3)
    if not frames:
        raise NoFaceError(f"camera {number}: nobody was seen.")
    # Cameras promise rates that they do not keep.
    return _joined(frames, fps=min(len(frames) / elapsed, 1000.0) if len(frames) > 1 else camera.fps)


def _joined(frames: list[Motion], *, fps: float) -> Motion:
    return Motion(
        fps,
        frames[0].names,
        *(np.concatenate([getattr(frame, name) for frame in frames]) for name in ("weights", "head", "eyes")),
    )


# ---------------------------------------------------------------- the output


def _write_meshes(out: Path, rig: Rig, motion: Motion, progress: Progress) -> None:
    if len(motion) > _MOST_OBJ_FRAMES:
        raise InputError(f"{out}: {len(motion):,} OBJ files; at most {_MOST_OBJ_FRAMES:,} are written, cut the motion.")
    puppet = Puppet(rig)
    columns = puppet.columns(motion)
    with atomic_folder(out) as folder:
        for frame in range(len(motion)):
            vertices = puppet.vertices(columns[frame], motion.head[frame], motion.eyes[frame])
            write_obj(folder / f"frame_{frame:05d}.obj", Mesh(vertices, rig.topology))
            progress("writing meshes", frame + 1, len(motion))


def _write_film(
    out: Path, kind: str, rig: Rig, motion: Motion, drive: Path, options: AnimationOptions, progress: Progress
) -> None:
    film = Film(rig, size=options.size, material=options.material, yaw=options.yaw, detail=options.detail)
    is_video = drive.suffix.lower() in VIDEO_ENDINGS
    pictures: Iterator[np.ndarray] = film.frames(motion)
    if options.side_by_side:
        if not is_video or options.driving.fps is not None:
            raise InputError("only a driving video at its own rate can stand beside the film; drop --side-by-side.")
        pictures = _beside(drive, pictures, options.size)
    shown = _told(pictures, len(motion), progress)
    if kind == ".gif":
        if len(motion) > _MOST_GIF_FRAMES:
            raise InputError(f"{out}: {len(motion):,} frames, too many for a GIF ({_MOST_GIF_FRAMES:,}); write .mp4.")
        write_gif(out, shown, fps=motion.fps)
        return
    with VideoWriter(out, fps=motion.fps, sound_from=drive if is_video else None) as writer:
        for picture in shown:
            writer.write(picture)


def _told(pictures: Iterator[np.ndarray], total: int, progress: Progress) -> Iterator[np.ndarray]:
    for number, picture in enumerate(pictures, 1):
        yield picture
        progress("drawing", number, total)


def _beside(video: Path, pictures: Iterator[np.ndarray], height: int) -> Iterator[np.ndarray]:
    with VideoReader(video) as reader:
        for frame, picture in zip(reader.steady(), pictures, strict=False):
            width = max(1, round(reader.width * height / reader.height))
            driver = np.asarray(Image.fromarray(frame.pixels).resize((width, height), Image.Resampling.BILINEAR))
            yield np.concatenate([driver, picture], 1)
