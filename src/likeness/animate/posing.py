"""A Rig in the pose of a Motion's frame: which joints carry the head and the eyes, and how far shapes turn the eyes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from likeness.errors import InputError
from likeness.motion import Motion
from likeness.rig import Rig

_EYE_SHAPES = "eyelook"
# A vertex that an eye's joint carries wholly belongs to the eyeball.
_EYEBALL = 0.9


@dataclass(frozen=True)
class DrivenJoints:
    """Indices of the joints that a Motion turns; None where a rig has no such joint."""

    head: int | None
    eyes: tuple[int | None, int | None]


def driven_joints(joint_names: tuple[str, ...]) -> DrivenJoints:
    """Head and eyes by their usual names, in any spelling; the head is the neck's joint where there is one.

    In a rig with a single joint that joint is the head.
    """
    plain = [name.lower().replace("_", "").replace(" ", "") for name in joint_names]
    head = next((plain.index(name) for name in ("neck", "head") if name in plain), None)
    if head is None and len(plain) == 1:
        head = 0
    left, right = (
        next((i for i, name in enumerate(plain) if name in (f"eye{side}", f"{side}eye", f"eyeball{side}")), None)
        for side in ("left", "right")
    )
    return DrivenJoints(head, (left, right))


@lru_cache(maxsize=4)
def eye_turns(rig: Rig) -> Float[np.ndarray, "N 2 3"]:
    """By how much each blendshape at weight 1 turns the left and the right eyeball: rotation vectors, radians.

    Read from the displacements of the vertices that the eyes' joints carry (Kabsch 1976); zero for other shapes, and
    in rigs without eye joints.
    """
    turns = np.zeros((len(rig.blendshape_names), 2, 3))
    for side, joint in enumerate(driven_joints(rig.joint_names).eyes):
        ball = np.zeros(0, int) if joint is None else np.flatnonzero(rig.skin_weights[:, joint] > _EYEBALL)
        if len(ball) < 3:
            continue
        rest = rig.neutral[ball] - rig.neutral[ball].mean(0)
        for k, name in enumerate(rig.blendshape_names):
            moved = rig.neutral[ball] + rig.blendshapes[k, ball]
            if _EYE_SHAPES in name.lower() and np.abs(rig.blendshapes[k, ball]).max() > 1e-3:
                turns[k, side] = Rotation.align_vectors(moved - moved.mean(0), rest)[0].as_rotvec()
    turns.flags.writeable = False
    return turns


def bone_turns(
    eyes: Float[np.ndarray, "F 2 3"], weights: Float[np.ndarray, "F N"], turns: Float[np.ndarray, "N 2 3"]
) -> Float[np.ndarray, "F 2 3"]:
    """What is left for the eyes' bones, once the shapes have turned the eyeballs: rotation vectors, radians."""
    by_shapes = _by_shapes(weights, turns)
    whole = Rotation.from_rotvec(eyes.reshape(-1, 3).astype(np.float64))
    return (whole * by_shapes.inv()).as_rotvec().reshape(eyes.shape)


def whole_turns(
    bones: Float[np.ndarray, "F 2 3"], weights: Float[np.ndarray, "F N"], turns: Float[np.ndarray, "N 2 3"]
) -> Float[np.ndarray, "F 2 3"]:
    """The inverse of `bone_turns`."""
    left = Rotation.from_rotvec(bones.reshape(-1, 3).astype(np.float64))
    return (left * _by_shapes(weights, turns)).as_rotvec().reshape(bones.shape)


def _by_shapes(weights: np.ndarray, turns: np.ndarray) -> Rotation:
    return Rotation.from_rotvec(np.einsum("fn,nsx->fsx", weights.astype(np.float64), turns).reshape(-1, 3))


class Puppet:
    """A Rig prepared for many frames.

    ``vertices(…)`` is the mesh of one frame in the rig's head frame, mm: blendshapes, then linear blend skinning with
    the head's and the eyes' joints turned.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.joints = driven_joints(rig.joint_names)
        self.eye_turns = eye_turns(rig)
        self._shapes = rig.blendshapes.reshape(len(rig.blendshape_names), -1)

    def columns(self, motion: Motion) -> Float[np.ndarray, "F N"]:
        """A motion's weights in the order of this rig's blendshapes.

        Raises InputError when the motion and the rig share no blendshape.
        """
        return rig_columns(self.rig, motion)

    def vertices(
        self,
        weights: Float[np.ndarray, " N"],
        head: Float[np.ndarray, " 3"],
        eyes: Float[np.ndarray, "2 3"],
    ) -> Float[np.ndarray, "V 3"]:
        """One frame: weights in the rig's order, the head's rotation vector, the eyes' whole rotation vectors."""
        moving = np.flatnonzero(weights)
        rest = self.rig.neutral + (weights[moving] @ self._shapes[moving]).reshape(-1, 3)
        bones = bone_turns(eyes[None], weights[None], self.eye_turns)[0]
        turns = {joint: turn for joint, turn in zip(self.joints.eyes, bones, strict=True) if joint is not None}
        if self.joints.head is not None:
            turns[self.joints.head] = head
        return skin(self.rig, rest, turns).astype(np.float32)


def rig_columns(rig: Rig, motion: Motion) -> Float[np.ndarray, "F N"]:
    """A motion's weights in the order of a rig's blendshapes; zero where the motion lacks one.

    Raises InputError when the two share no blendshape.
    """
    place = {name: k for k, name in enumerate(rig.blendshape_names)}
    shared = [name for name in motion.names if name in place]
    if not shared:
        raise InputError(
            f"the motion drives {', '.join(motion.names[:3])} …, this rig has {', '.join(rig.blendshape_names[:3])} …: "
            "they share no blendshape. Retarget the motion to the rig first."
        )
    columns = np.zeros((len(motion), len(rig.blendshape_names)), np.float32)
    for name in shared:
        columns[:, place[name]] = motion.weights[:, motion.names.index(name)]
    return columns


def skin(
    rig: Rig, rest: Float[np.ndarray, "V 3"], turns: dict[int, Float[np.ndarray, " 3"]]
) -> Float[np.ndarray, "V 3"]:
    """Linear blend skinning with some joints turned (rotation vectors relative to the parent), the others at rest."""
    matrices: list[np.ndarray] = []
    shifts: list[np.ndarray] = []
    for joint, parent in enumerate(rig.joint_parents):
        turn = Rotation.from_rotvec(turns[joint]).as_matrix() if joint in turns else np.eye(3)
        shift = rig.joint_positions[joint] - turn @ rig.joint_positions[joint]
        if parent >= 0:
            turn, shift = matrices[parent] @ turn, matrices[parent] @ shift + shifts[parent]
        matrices.append(turn)
        shifts.append(shift)
    # The blended affine map of each vertex, applied once.
    blended = rig.skin_weights @ np.concatenate([np.stack(matrices).reshape(-1, 9), np.stack(shifts)], 1)
    return np.einsum("vij,vj->vi", blended[:, :9].reshape(-1, 3, 3), rest) + blended[:, 9:]
