"""A video or a motion file as a driver on the open head: tracked as a whole, with one head for all frames.

A tracker sees more than photo after photo does: what the person's resting face is, how far these eyes open, what is
noise. Its motion says by eyeBlink 1 that an eye is shut, whoever wears it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from likeness.animate.posing import bone_turns, driven_joints, eye_turns, rig_columns
from likeness.animate_runs import AnimationOptions, driving_motion
from likeness.cameras import WeakPerspective
from likeness.errors import LikenessError, NoFaceError
from likeness.face import Face
from likeness.files.motion import ENDINGS
from likeness.heads import load_head
from likeness.landmarks.sessions import Device
from likeness.motion import Motion
from likeness.reenactment.driving import VIDEO_ENDINGS, Driver, check_length
from likeness.reenactment.wearing import Driven
from likeness.rig import Rig

# Motion's upright frame to the camera's.
_UPRIGHT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def can_track(targets: Sequence[Path]) -> bool:
    """Whether the driver is one recording, not single photos."""
    return len(targets) == 1 and targets[0].suffix.lower() in {*VIDEO_ENDINGS, *ENDINGS} and not targets[0].is_dir()


def track_driver(recording: Path, *, device: Device = "auto") -> Driver:
    """The motion of the person who is largest in a video, or of a motion file, frame by frame.

    A frame in which nobody is seen has an error. Raises NoFaceError when nobody is seen at all, ImageError or
    FileFormatError when the file cannot be read.
    """
    motion = driving_motion(str(recording), AnimationOptions(device=device), lambda *_: None)
    check_length(len(motion))
    rig = _neutral_rig()
    columns = rig_columns(rig, motion)
    joints = _eye_joints(rig, motion, columns)
    turns = torch.from_numpy(Rotation.from_rotvec(motion.head.astype(np.float64)).as_matrix()).float()
    frames: list[Driven | LikenessError] = []
    names = tuple(f"{recording} frame {number}" for number in range(len(motion)))
    for number, name in enumerate(names):
        if motion.confidence is not None and motion.confidence[number] == 0:
            frames.append(NoFaceError(f"{name}: no face found."))
            continue
        weights = torch.from_numpy(columns[number].copy())
        frames.append(Driven(weights, joints[number], _UPRIGHT @ turns[number]))
    return Driver(names, tuple(frames), motion.fps, blinks_shut=True)


def _neutral_rig() -> Rig:
    head = load_head("open")
    face = Face(
        head=head,
        identity=torch.zeros(head.n_identity),
        expression=torch.zeros(head.n_expression),
        joints=torch.zeros(len(head.joint_names), 3),
        camera=WeakPerspective(_UPRIGHT[None], torch.ones(1), torch.zeros(1, 2)),
        image_size=(1, 1),
        method="open",
        confidence=1.0,
    )
    return face.rig()


def _eye_joints(rig: Rig, motion: Motion, columns: Float[np.ndarray, "F N"]) -> Float[Tensor, "F J 3"]:
    """What the eyeLook shapes leave for the eyes' joints to turn."""
    bones = bone_turns(motion.eyes, columns, eye_turns(rig))
    joints = torch.zeros(len(motion), len(rig.joint_names), 3)
    for side, joint in enumerate(driven_joints(rig.joint_names).eyes):
        if joint is not None:
            joints[:, joint] = torch.from_numpy(bones[:, side]).float()
    return joints
