"""INORig as a method: photos of one person to a rig and Faces, frames of a video to expression codes and poses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.assets import require
from likeness.devices import pick_device
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads.bfm_assets import face3d_model
from likeness.heads.bfm_face3d import Face3dModel
from likeness.landmarks.base import Landmarks
from likeness.landmarks.conventions import to_ibug68
from likeness.methods.inorig.assets import WEIGHTS
from likeness.methods.inorig.blendshapes import fit_blendshapes
from likeness.methods.inorig.checkpoint import load_network
from likeness.methods.inorig.crop import (
    PADDING,
    Square,
    box_from_landmarks,
    crop_tensor,
    cut,
    frame_landmarks_to_crop,
    landmarks_to_crop,
    padded,
    square_from_box,
    square_from_landmarks,
)
from likeness.methods.inorig.descent import descend
from likeness.methods.inorig.driving import TrackedFrame
from likeness.methods.inorig.frames import FrameInput, solve_frames
from likeness.methods.inorig.neighbours import first_neighbours
from likeness.methods.inorig.network import InorigNetwork
from likeness.methods.inorig.observation import observe, regress_pose
from likeness.methods.inorig.official_frames import solve_frames_officially
from likeness.methods.inorig.person import Person, face_of, head_of, topology_of, views_of
from likeness.methods.inorig.rig import NeuralRig, rig_of
from likeness.methods.inorig.template import Template, build_template
from likeness.methods.protocol import Photo
from likeness.topology import Topology

Weights = Literal["best", "robust"]
Compat = Literal["default", "official"]


class InorigMethod:
    """Personal rigs from one or more photos. Licensed files: a checkpoint and face3d's Basel model.

    ``weights`` picks the authors' most accurate networks or their robust ones. ``compat`` "official" crops photos as
    the reference does around a face detector's box (estimated from the landmarks); by default the crop puts the
    landmarks where the network expects them.

    Raises AssetError when official files are missing or damaged, InputError on unknown options.
    """

    name = "inorig"

    def __init__(self, *, device: str = "auto", weights: Weights = "best", compat: Compat = "default") -> None:
        if weights not in WEIGHTS:
            raise InputError(f"unknown weights '{weights}'; choose from {', '.join(WEIGHTS)}.")
        model = face3d_model()
        self._set(load_network(require(WEIGHTS[weights])), model, device, compat)

    @classmethod
    def from_parts(
        cls, network: InorigNetwork, model: Face3dModel, *, device: str = "auto", compat: Compat = "default"
    ) -> InorigMethod:
        """The method on a network and a face model that are already in memory."""
        method = cls.__new__(cls)
        method._set(network, model, device, compat)
        return method

    def _set(self, network: InorigNetwork, model: Face3dModel, device: str, compat: Compat) -> None:
        if compat not in ("default", "official"):
            raise InputError(f"unknown compat '{compat}'; choose from default, official.")
        self.compat: Compat = compat
        self.device = pick_device(device)
        self.network = network.to(self.device)
        self.template: Template = build_template(model).to(self.device)
        self.topology: Topology = topology_of(self.template, model.uv)
        self._person: Person | None = None

    def reconstruct(self, photo: Photo, landmarks: Landmarks) -> Face:
        """A rig from a single photo: what it does not show is the networks' guess."""
        return self.reconstruct_together([photo], [landmarks])[0]

    def reconstruct_together(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> list[Face]:
        """One rig from all photos; each Face has its photo's expression, pose and light."""
        return list(self.person(photos, landmarks).faces)

    def person(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> Person:
        """`reconstruct_together` with the rig itself and everything the outputs need.

        Raises InputError without photos, or when landmarks are not of mediapipe478 or ibug68.
        """
        if not photos or len(photos) != len(landmarks):
            raise InputError(f"got {len(photos)} photo(s) and {len(landmarks)} set(s) of landmarks; give one set each.")
        squares, crops, points = zip(*map(self._prepared, photos, landmarks), strict=True)
        crops, points = torch.stack(crops).to(self.device), torch.stack(points).to(self.device)
        observation = observe(self.network, crops, points)
        solution = descend(self.network, self.template, observation, regress_pose(self.network, crops))
        rig = rig_of(self.network.opt_layer, self.template, observation, solution)
        blendshapes = fit_blendshapes(rig, solution.estimate.codes.expression)
        head = head_of(rig, blendshapes, self.topology)
        views = views_of(photos, squares, solution)
        faces = (
            face_of(rig, blendshapes, head, view, detected=detected, landmarks=seen)
            for view, detected, seen in zip(views, landmarks, points, strict=True)
        )
        self._person = Person(rig, blendshapes, head, views, tuple(faces))
        return self._person

    def write_official(self, folder: Path, name: str, photo: Photo, face: Face) -> None:
        """The demo's meshes and pictures of one photo.

        For a Face of the latest person only, since they show what was solved and not what a Face keeps. Raises
        InputError for another, OutputError.
        """
        from likeness.methods.inorig.outputs import write_meshes, write_pictures

        person = self._person
        if person is None or not any(face is own for own in person.faces):
            raise InputError(f"{photo.name}: the original's files are written only right after its reconstruction.")
        view = next(view for view, own in zip(person.views, person.faces, strict=True) if own is face)
        write_meshes(folder, person, view)
        write_pictures(folder, person, view)

    def rig(self, face: Face) -> NeuralRig:
        """The neural rig inside a Face. Raises InputError when it has none or one of another checkpoint."""
        return NeuralRig.from_tensors(face.codes, self.network.opt_layer, self.template)

    def track(
        self, rig: NeuralRig, frames: Iterable[tuple[Photo, Landmarks | None]], *, compat: Compat | None = None
    ) -> Iterator[TrackedFrame]:
        """A video's frames in order, with their landmarks (None: no face found), as they are solved.

        By default the rig is fixed and each frame's expression and pose are solved. ``compat`` "official" (default: the
        method's own) solves every frame together with five others as the reference does; it needs the frames as a
        sequence with a face in each of the five it starts from. A frame without a face repeats the one before; such
        frames before the first face are left out.

        Raises InputError for official tracking of what is no sequence.
        """
        compat = self.compat if compat is None else compat
        squares: list[Square | None] = []

        def inputs() -> Iterator[FrameInput]:
            for photo, landmarks in frames:
                squares.append(None)
                if landmarks is not None:
                    squares[-1], frame = self._frame(photo, landmarks, compat)
                    yield frame

        if compat == "official":
            start = self._official_start(frames)
            solved = solve_frames_officially(self.network, rig, start, inputs())
        else:
            solved = solve_frames(self.network, rig, inputs())
        last: TrackedFrame | None = None
        for solution in solved:
            # Frames without a face since the last one with one come first.
            held, square = squares[:-1], squares[-1]
            squares.clear()
            yield from self._held(last, len(held))
            assert square is not None
            px = solution.landmarks_px / square.zoom
            last = TrackedFrame(solution.expression, solution.pose, solution.light, square, px)
            yield last
        yield from self._held(last, len(squares))

    @staticmethod
    def _held(last: TrackedFrame | None, count: int) -> list[TrackedFrame]:
        return [] if last is None else [replace(last, found=False)] * count

    def _official_start(self, frames: Iterable[tuple[Photo, Landmarks | None]]) -> list[FrameInput]:
        if not isinstance(frames, Sequence):
            raise InputError("Official tracking looks at frames all over the clip first; give them as a list.")
        chosen = [frames[index] for index in first_neighbours(len(frames))] if frames else []
        if not chosen or any(landmarks is None for _, landmarks in chosen):
            raise InputError("Official tracking starts from five frames spread over the clip; each must show a face.")
        return [self._frame(photo, landmarks, "official")[1] for photo, landmarks in chosen if landmarks is not None]

    def _frame(self, photo: Photo, landmarks: Landmarks, compat: Compat) -> tuple[Square, FrameInput]:
        """A frame's crop: without a border, as the reference crops frames."""
        points = ibug68(landmarks)
        if compat == "official":
            box = box_from_landmarks(points)
            square = square_from_box(box)
            seen = frame_landmarks_to_crop(points - 0.5, box, square)
        else:
            square = square_from_landmarks(points, self.template)
            seen = landmarks_to_crop(points, square)
        crop = crop_tensor(cut(photo.pixels, square))
        return square, FrameInput(crop.to(self.device), seen.to(self.device))

    def _prepared(
        self, photo: Photo, landmarks: Landmarks
    ) -> tuple[Square, Float[Tensor, "3 256 256"], Float[Tensor, "68 2"]]:
        """What is cropped of the photo, the crop, and the landmarks in it."""
        points = ibug68(landmarks) + PADDING
        square = self.square(points)
        crop = crop_tensor(cut(padded(photo.pixels), square))
        return square.moved(-PADDING, -PADDING), crop, landmarks_to_crop(points, square)

    def square(self, points: Float[np.ndarray, "68 2"]) -> Square:
        """What to crop around ibug68 landmarks."""
        if self.compat == "official":
            return square_from_box(box_from_landmarks(points))
        return square_from_landmarks(points, self.template)


def ibug68(landmarks: Landmarks) -> Float[np.ndarray, "68 2"]:
    """The 68 points, pixels. Raises InputError when these landmarks do not hold them."""
    return np.asarray(to_ibug68(landmarks.points, landmarks.convention), np.float32)[:, :2]
