"""Motion as the animation of a GLB: morph weights by name, rotations of the head's and the eyes' joints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from likeness.animate.posing import bone_turns, driven_joints, eye_turns, rig_columns, whole_turns
from likeness.errors import FileFormatError, InputError
from likeness.files.glb import GlbAnimation, GlbModel, read_glb
from likeness.motion import MAX_FRAMES, Motion
from likeness.rig import Rig

EXTRAS = "likeness_motion"
"""In a GLB's extras: ``fps``, and ``eye_shapes``, the rotation vectors (left, right) of the eyeballs by the rig's own
blendshapes, which their bones do not repeat."""


def animation_of(rig: Rig, motion: Motion) -> tuple[GlbAnimation, dict[str, Any]]:
    """A motion as animation of a rig's GLB, and what goes into the file's extras.

    Raises InputError when the motion has no frames, when a blendshape of it moves that the rig lacks, or when it turns
    the head of a rig without a joint for it.
    """
    if len(motion) == 0:
        raise InputError("a motion without frames cannot be animated.")
    missing = [
        name for k, name in enumerate(motion.names) if name not in rig.blendshape_names and motion.weights[:, k].any()
    ]
    if missing:
        raise InputError(
            f"this rig has no blendshape named {', '.join(missing[:4])}, which the motion moves; retarget it first."
        )
    weights = rig_columns(rig, motion)
    joints, turns = driven_joints(rig.joint_names), eye_turns(rig)
    bones = bone_turns(motion.eyes, weights, turns)
    rotations = {}
    if joints.head is not None:
        rotations[rig.joint_names[joints.head]] = _quaternions(motion.head)
    elif motion.head.any():
        raise InputError("this rig has no joint for its head, so the motion of the head has nowhere to go.")
    for side, joint in enumerate(joints.eyes):
        if joint is not None:
            rotations[rig.joint_names[joint]] = _quaternions(bones[:, side])
    times = (np.arange(len(motion)) / motion.fps).astype(np.float32)
    shapes = {name: turn.tolist() for name, turn in zip(rig.blendshape_names, turns, strict=True) if turn.any()}
    extras = {EXTRAS: {"fps": motion.fps, "eye_shapes": shapes}}
    return GlbAnimation("motion", times, weights, rotations), extras


def _quaternions(rotvec: np.ndarray) -> np.ndarray:
    """(x, y, z, w), on one side of the sphere from frame to frame, so that players do not turn the long way round."""
    quaternions = Rotation.from_rotvec(rotvec.astype(np.float64)).as_quat()
    flips = np.cumprod(np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0))
    quaternions[1:] *= flips[:, None]
    return quaternions.astype(np.float32)


def read_animation(path: str | Path) -> Motion:
    """The first animation of a GLB as Motion. Raises FileFormatError when there is none."""
    return motion_of(read_glb(path), str(path))


def motion_of(model: GlbModel, name: str) -> Motion:
    """A GLB model's first animation as Motion; joints are known by their names. Raises FileFormatError."""
    if not model.animations:
        raise FileFormatError(f"{name}: a GLB without an animation.")
    animation = model.animations[0]
    n = len(animation.times)
    if n > MAX_FRAMES:
        raise FileFormatError(f"{name}: {n:,} frames; at most {MAX_FRAMES:,} are read.")
    fps, turns = _extras(model, animation, name)
    weights = np.zeros((n, len(model.morph_names)), np.float32)
    if animation.morph_weights is not None:
        weights = animation.morph_weights
    joint_names = tuple(joint.name for joint in model.joints)
    joints = driven_joints(joint_names)
    rotvecs = [
        np.zeros((n, 3)) if joint is None else _rotvec(animation, joint_names[joint], n)
        for joint in (joints.head, *joints.eyes)
    ]
    eyes = whole_turns(np.stack(rotvecs[1:], 1), weights, turns)
    return Motion(fps, model.morph_names, weights, rotvecs[0].astype(np.float32), eyes.astype(np.float32))


def _rotvec(animation: GlbAnimation, joint: str, n: int) -> np.ndarray:
    if joint not in animation.joint_rotations:
        return np.zeros((n, 3))
    return Rotation.from_quat(animation.joint_rotations[joint].astype(np.float64)).as_rotvec()


def _extras(model: GlbModel, animation: GlbAnimation, name: str) -> tuple[float, np.ndarray]:
    """Rate, and the eye turns of the shapes: as our own files tell, else from the times, and none."""
    told = model.extras.get(EXTRAS, {})
    turns = np.zeros((len(model.morph_names), 2, 3))
    try:
        fps = float(told.get("fps", _rate(animation.times)))
        for shape, turn in told.get("eye_shapes", {}).items():
            turns[model.morph_names.index(shape)] = np.array(turn, float).reshape(2, 3)
        if not 0 < fps <= 1000 or not np.isfinite(turns).all():
            raise ValueError("no finite numbers")
    except (AttributeError, TypeError, ValueError) as error:
        raise FileFormatError(f"{name}: its extras '{EXTRAS}' are damaged ({error}); export the file again.") from None
    return fps, turns


def _rate(times: np.ndarray) -> float:
    if len(times) < 2:
        return 30.0
    rate = (len(times) - 1) / float(times[-1] - times[0])
    return float(round(rate)) if abs(rate - round(rate)) < 1e-3 * rate else rate
