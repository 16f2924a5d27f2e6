"""One person of a video: a head from the key frames, then pose, expression and gaze of every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from likeness.animate.closing import with_closing_blinks
from likeness.cameras import Pinhole
from likeness.errors import NoFaceError
from likeness.face import Face
from likeness.landmarks.base import Landmarks
from likeness.methods import Photo
from likeness.methods.open.calibration import Calibration
from likeness.methods.open.method import OpenMethod
from likeness.methods.open.tracking import FrameSolver, PersonModel, measure_open_eyes
from likeness.motion import Motion
from likeness.rig import Rig
from likeness.tracking.assembly import Solved, assemble, rest_weights
from likeness.tracking.checkpoint import Checkpoint
from likeness.tracking.key_frames import choose_key_frames
from likeness.tracking.people import Person
from likeness.tracking.sightings import Sightings, read_sightings
from likeness.videos import VideoReader

N_KEY_FRAMES = 8
# Frames in which the eyes are measured; more would tell no more.
_N_EYE_FRAMES = 120
CONVENTION = "mediapipe478"


@dataclass(frozen=True, eq=False)
class TrackedPerson:
    """Who was followed: a Face with the identity of all frames, and the motion of every frame of the video.

    ``focal`` (pixels) and the face's ``image_size`` are the camera's; the motion's ``head`` and ``position`` place the
    head before it.
    """

    face: Face
    motion: Motion
    focal: float

    @cached_property
    def rig(self) -> Rig:
        """What the motion drives."""
        return with_closing_blinks(self.face.rig())

    def camera(self, frame: int) -> Pinhole:
        """The camera of a frame: head frame (mm) to pixels."""
        return camera_of(self.motion, frame, self.focal, self.face.image_size)


def camera_of(motion: Motion, frame: int, focal: float, image_size: tuple[int, int]) -> Pinhole:
    """The camera that sees the head as it is placed in one frame of a tracked motion."""
    assert motion.position is not None
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    turn = torch.from_numpy(Rotation.from_rotvec(motion.head[frame].astype(float)).as_matrix()).float()
    height, width = image_size
    return Pinhole.from_focal(
        rotation=(upright @ turn)[None],
        translation=(upright @ torch.from_numpy(motion.position[frame]).float())[None],
        focal=torch.tensor([focal]),
        centre=torch.tensor([[width / 2, height / 2]]),
    )


def solve_person(
    video: VideoReader,
    checkpoint: Checkpoint,
    person: Person,
    *,
    name: str,
    n_frames: int,
    method: OpenMethod,
    calibration: Calibration,
    given: Face | None = None,
    smoothing: float = 1.0,
    progress: Callable[[int], None],
) -> TrackedPerson:
    """Follow one person through the video. ``given`` is a Face on the open head to follow with, if there is one.

    Raises NoFaceError when the key frames show no face to reconstruct.
    """

    def stretches() -> Iterator[Sightings]:
        return (seen.of(set(person.ids)) for seen in read_sightings(checkpoint))

    face, focal = _head(video, checkpoint, stretches, name, method, calibration, given)
    model = person_model(face, focal, calibration, _sample(stretches(), person.n_frames))
    _solve_chunks(model, checkpoint, stretches(), name, progress)
    solved = Solved.joined(checkpoint.chunks(f"{name}-solved"))
    if given is None:
        rest = rest_weights(solved.weights, face.head.expression_names)
        face, solved = with_rest_in_it(face, rest), replace(solved, weights=solved.weights - rest)
    return TrackedPerson(
        face, assemble(solved, face.rig(), fps=video.fps, n_frames=n_frames, smoothing=smoothing), focal
    )


# ---------------------------------------------------------------- the head


def _head(video, checkpoint: Checkpoint, stretches, name: str, method, calibration, given) -> tuple[Face, float]:
    file = checkpoint.file(f"{name}-face.safetensors")
    if file.is_file():
        face = Face.load(file)
        return face, float(face.codes["focal"])
    photos, landmarks = _key_photos(video, stretches, calibration)
    best, focal = head_of_photos(method if given is None else OpenMethod(quality="fast"), photos, landmarks)
    if given is not None:
        best = replace(given, image_size=best.image_size, camera=best.camera, detected=best.detected)
    best = replace(best, codes={**best.codes, "focal": torch.tensor(focal)})
    best.save(file)
    return best, focal


def head_of_photos(method: OpenMethod, photos: list[Photo], landmarks: list[Landmarks]) -> tuple[Face, float]:
    """The surest of the Faces that one person's frames give together, and the camera's focal length in pixels."""
    faces = method.reconstruct_together(photos, landmarks)
    # Photos of one video share a camera; each fit finds its own focal length, the middle one is believed.
    found = torch.tensor([float(f.camera.intrinsics[0, 0, 0]) for f in faces if isinstance(f.camera, Pinhole)])
    # In single precision, as the checkpoint keeps it: a resumed run must go on with the same number.
    focal = found.quantile(0.5)
    best = max(faces, key=lambda face: face.confidence)
    return best, float(focal)


def _key_photos(video: VideoReader, stretches, calibration) -> tuple[list[Photo], list[Landmarks]]:
    chosen = choose_key_frames(stretches(), calibration, count=N_KEY_FRAMES)
    if not len(chosen):
        raise NoFaceError("No frame of the video shows a face that a head could be made from.")
    landmarks = {}
    for seen in stretches():
        for row in np.flatnonzero(np.isin(seen.frame, chosen)):
            landmarks[int(seen.frame[row])] = Landmarks(CONVENTION, seen.points[row], float(seen.score[row]))
    photos = [
        Photo(np.ascontiguousarray(next(video.steady(first=int(number))).pixels), f"frame {number}")
        for number in chosen
    ]
    return photos, [landmarks[int(number)] for number in chosen]


def with_rest_in_it(face: Face, rest: Float[np.ndarray, " E"]) -> Face:
    """The same surface with the person's rest weights moved from the expression into the neutral shape."""
    head, weights = face.head, torch.from_numpy(rest.astype(np.float32))
    moved = head.vertices(face.identity[None], weights[None])[0] - head.vertices(face.identity[None])[0]
    offsets = moved if face.offsets is None else face.offsets + moved
    return replace(face, offsets=offsets, expression=(face.expression - weights).clamp(0, 1))


# ---------------------------------------------------------------- every frame


def person_model(face: Face, focal: float, calibration: Calibration, sample: list[torch.Tensor]) -> PersonModel:
    """What frames are solved with; ``sample`` are landmarks of frames in which the eyes are measured."""
    offsets = None if face.offsets is None else face.head.embeddings[CONVENTION].points(face.offsets)
    known = {"focal": focal, "image_size": face.image_size, "offsets": offsets}
    names = face.head.expression_names
    plain = PersonModel(calibration, names, face.identity, **known)
    return PersonModel(calibration, names, face.identity, **known, open_eyes=measure_open_eyes(plain, sample))


def _sample(stretches: Iterator[Sightings], n_frames: int) -> list[torch.Tensor]:
    """Landmarks of frames spread evenly over a person's part."""
    step = max(1, n_frames // _N_EYE_FRAMES)
    found, count = [], 0
    for seen in stretches:
        rows = np.flatnonzero((count + np.arange(len(seen.frame))) % step == 0)
        found += [torch.from_numpy(seen.points[row]).clone() for row in rows]
        count += len(seen.frame)
    return found


def _solve_chunks(
    model: PersonModel, checkpoint: Checkpoint, stretches: Iterator[Sightings], name: str, progress
) -> None:
    """Chunk by chunk, each begun anew, so that where a run was stopped does not show."""
    done, count = checkpoint.n_chunks(f"{name}-solved"), 0
    for number, seen in enumerate(stretches):
        if number >= done:
            checkpoint.write(f"{name}-solved", number, solve_sightings(model, seen, lambda i, c=count: progress(c + i)))
        count += len(seen.frame)


def solve_sightings(model: PersonModel, seen: Sightings, progress: Callable[[int], None]) -> dict[str, np.ndarray]:
    """The fields of `Solved` for a stretch of sightings of one person."""
    solver, fits = FrameSolver(model), []
    last: int | None = None
    for row, frame in enumerate(seen.frame.tolist()):
        if last is not None and frame != last + 1:
            solver.reset()
        fits.append(solver.solve(seen.points[row]))
        last = frame
        progress(row + 1)
    n_shapes = len(model.names)
    return {
        "frame": seen.frame,
        "rotation": np.array([fit.rotation.numpy() for fit in fits], np.float32).reshape(-1, 3, 3),
        "translation": np.array([fit.translation.numpy() for fit in fits], np.float32).reshape(-1, 3),
        "weights": np.array([fit.weights.numpy() for fit in fits], np.float32).reshape(-1, n_shapes),
        "residual": np.array([fit.residual_mm for fit in fits], np.float32),
        "score": seen.score,
    }
