"""What drives a head: motion from a video, a photo, a motion file or another Face, made to fit the head's rig."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from likeness.animate.closing import with_closing_blinks
from likeness.animate.filters import smooth
from likeness.animate.posing import driven_joints, eye_turns, whole_turns
from likeness.animate.retarget import retarget
from likeness.errors import InputError
from likeness.face import Face
from likeness.motion import Motion
from likeness.rig import Rig

Eyes = Literal["follow", "frozen", "camera"]
# A single expression has no rate of its own.
_STILL_FPS = 25.0
# As far as eyes turn before the head does (Guitton and Volle 1987: about 35 degrees to a side), up and down less.
_MOST_YAW, _MOST_PITCH = np.radians(35.0), np.radians(25.0)
_UPRIGHT = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class DrivingOptions:
    """How a motion is worn. ``head_pose``: whether the head turns. ``strength`` multiplies the expression. ``eyes``:
    "follow" the driver's, "frozen" straight ahead, "camera" looking into it. ``smoothing`` is the strength of
    `likeness.animate.filters.smooth`. ``fps``: another rate than the driver's."""

    head_pose: bool = True
    strength: float = 1.0
    eyes: Eyes = "follow"
    smoothing: float = 0.0
    fps: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 10:
            raise InputError(f"an expression strength of {self.strength:g}; give a number from 0 to 10, 1 being as is.")
        if self.eyes not in ("follow", "frozen", "camera"):
            raise InputError(f"unknown way of looking '{self.eyes}'; choose from follow, frozen, camera.")


def wear(motion: Motion, rig: Rig, options: DrivingOptions, *, source: Rig | None = None) -> Motion:
    """A driver's motion in a rig's blendshapes, as `DrivingOptions` asks.

    ``source`` is the driver's rig, where its motion is in other blendshapes than ARKit's. Raises InputError when the
    two cannot be brought together.
    """
    motion = retarget(motion, rig if source is None else source, rig)
    if options.fps is not None:
        motion = resample(motion, options.fps)
    motion = smooth(motion, strength=options.smoothing)
    motion = replace(motion, weights=(motion.weights * options.strength).clip(0, 1).astype(np.float32))
    if not options.head_pose:
        motion = replace(motion, head=np.zeros_like(motion.head), position=None)
    if options.eyes == "frozen":
        return with_eyes(motion, rig, np.zeros_like(motion.eyes))
    if options.eyes == "camera":
        return with_eyes(motion, rig, looking_at_camera(motion.head))
    return motion


def with_eyes(motion: Motion, rig: Rig, eyes: Float[np.ndarray, "F 2 3"]) -> Motion:
    """The motion with its eyes turned as given, and the lids that go with it: eyeLook… weights in [0, 1]."""
    turns = eye_turns(rig)
    weights = motion.weights.copy()
    for k, name in enumerate(motion.names):
        if not name.startswith("eyeLook") or name not in rig.blendshape_names:
            continue
        side = 0 if name.endswith("Left") else 1
        turn = turns[rig.blendshape_names.index(name), side]
        size = float(turn @ turn)
        along = eyes[:, side] @ turn / size if size > 0 else np.zeros(len(motion))
        weights[:, k] = along.clip(0, 1)
    return replace(motion, weights=weights.astype(np.float32), eyes=eyes.astype(np.float32))


def looking_at_camera(head: Float[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 2 3"]:
    """Rotation vectors of eyes that look into a camera far away, as far as eyes can turn, under these head turns."""
    ahead = Rotation.from_rotvec(head.astype(np.float64)).inv().apply([0.0, 0.0, 1.0]).reshape(-1, 3)
    yaw = np.arctan2(ahead[:, 0], ahead[:, 2]).clip(-_MOST_YAW, _MOST_YAW)
    pitch = -np.arcsin(ahead[:, 1].clip(-1, 1)).clip(-_MOST_PITCH, _MOST_PITCH)
    turns = Rotation.from_euler("YX", np.stack([yaw, pitch], 1)).as_rotvec()
    return np.repeat(turns[:, None], 2, 1).astype(np.float32)


def resample(motion: Motion, fps: float) -> Motion:
    """The same motion at another rate: weights between frames linearly, rotations along the shortest way.

    Raises InputError for a rate that is not above 0.
    """
    if not 0 < fps <= 1000:
        raise InputError(f"{fps:g} frames a second; give a rate above 0, at most 1000.")
    if fps == motion.fps or len(motion) < 2:
        return replace(motion, fps=fps)
    times = np.arange(len(motion)) / motion.fps
    wanted = np.arange(int(np.floor(times[-1] * fps + 1e-6)) + 1) / fps
    wanted = wanted.clip(0, times[-1])

    def linear(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        return np.stack([np.interp(wanted, times, column) for column in flat.T], 1).astype(np.float32)

    def turned(rotvec: np.ndarray) -> np.ndarray:
        return Slerp(times, Rotation.from_rotvec(rotvec.astype(np.float64)))(wanted).as_rotvec().astype(np.float32)

    return Motion(
        fps,
        motion.names,
        linear(motion.weights),
        turned(motion.head),
        np.stack([turned(motion.eyes[:, side]) for side in range(2)], 1),
        None if motion.position is None else linear(motion.position),
        None if motion.confidence is None else linear(motion.confidence)[:, 0],
    )


def motion_of_face(face: Face, *, fps: float = _STILL_FPS) -> Motion:
    """A Face's expression, head and eyes as a motion of one frame, in ARKit's blendshapes."""
    rig = with_closing_blinks(face.rig())
    weights = rig.weights[None].clip(0, 1)
    eyes = whole_turns(_eye_joints(face), weights, eye_turns(rig))
    rotation = _UPRIGHT @ face.camera.rotation[0].detach().cpu().numpy().astype(np.float64)
    head = Rotation.from_matrix(rotation) * _posed_head(face)
    return Motion(
        fps,
        rig.blendshape_names,
        weights.astype(np.float32),
        head.as_rotvec()[None].astype(np.float32),
        eyes.astype(np.float32),
    )


def _eye_joints(face: Face) -> Float[np.ndarray, "1 2 3"]:
    turns = np.zeros((1, 2, 3))
    for side, joint in enumerate(driven_joints(tuple(face.head.joint_names)).eyes):
        if joint is not None:
            turns[0, side] = face.joints[joint].detach().cpu().numpy()
    return turns


def _posed_head(face: Face) -> Rotation:
    """The turn of the head by its own joints: those from the root to the one that a motion turns."""
    joint = driven_joints(tuple(face.head.joint_names)).head
    turn = Rotation.identity()
    while joint is not None and joint >= 0:
        turn = Rotation.from_rotvec(face.joints[joint].detach().cpu().to(torch.float64).numpy()) * turn
        joint = face.head.joint_parents[joint]
    return turn
