"""What the person of the photo wears: the driver's expression, stronger or weaker, with still eyes or another pose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import InputError
from likeness.face import Face
from likeness.filters import smoothstep
from likeness.reenactment.parts import HeadParts

Pose = Literal["source", "driver"]

_POSE_JOINTS = ("root", "neck")
_EYE_SHAPES = "eye"
# Of a head without named shapes: the region about each eye's landmarks that stays still, mm from the nearest.
_EYE_LANDMARKS, _STILL_MM = slice(36, 48), (12.0, 22.0)


@dataclass(frozen=True)
class Wearing:
    """``scale`` multiplies the expression, ``upper_scale`` what it moves from the brows upwards; ``freeze_eyes`` keeps
    lids and gaze of the photo; ``pose`` "driver" turns the head as the driver's is turned."""

    scale: float = 1.0
    upper_scale: float = 1.0
    freeze_eyes: bool = False
    pose: Pose = "source"

    def __post_init__(self) -> None:
        for name in ("scale", "upper_scale"):
            if not 0 <= getattr(self, name) <= 10:
                raise InputError(f"{name} is {getattr(self, name):g}; give a number from 0 to 10, 1 being as driven.")
        if self.pose not in ("source", "driver"):
            raise InputError(f"unknown pose '{self.pose}'; choose source or driver.")


@dataclass(frozen=True, eq=False)
class Driven:
    """A driver's frame on a head: ``expression`` (E,), ``joints`` (J, 3) and ``rotation`` (3, 3) head to camera."""

    expression: Float[Tensor, " E"]
    joints: Float[Tensor, "J 3"]
    rotation: Float[Tensor, "3 3"] | None = None


def wear(source: Face, driven: Driven, wearing: Wearing, parts: HeadParts) -> Face:
    """The source with a driver's expression and jaw; shape, camera and everything else of the photo stay.

    Raises InputError when the driver's pose is asked for and is not known, or the head has no neck to turn.
    """
    head = source.head
    expression = driven.expression * wearing.scale
    named = any(name.startswith(_EYE_SHAPES) for name in head.expression_names)
    if named:  # ARKit's weights are bounded, FLAME's coefficients are not
        expression = expression.clamp(0, 1)
    pose_joints = torch.tensor([name in _POSE_JOINTS for name in head.joint_names])
    eye_joints = torch.tensor([_EYE_SHAPES in name.lower() for name in head.joint_names])
    kept = pose_joints | eye_joints if wearing.freeze_eyes else pose_joints
    joints = torch.where(kept[:, None], source.joints, driven.joints)
    if wearing.freeze_eyes and named:
        eyes = torch.tensor([name.startswith(_EYE_SHAPES) for name in head.expression_names])
        expression = torch.where(eyes, source.expression, expression)
    if wearing.pose == "driver":
        joints = _turned(source, joints, driven)
    worn = replace(source, expression=expression, joints=joints)
    if wearing.freeze_eyes and not named:
        worn = _shifted(worn, _expression_change(worn, source.expression) * _eye_weights(source)[:, None])
    if wearing.upper_scale != 1:
        change = -_expression_change(worn, torch.zeros_like(expression)) * (wearing.upper_scale - 1)
        worn = _shifted(worn, change * parts.upper[:, None])
    return worn


def _expression_change(worn: Face, expression: Float[Tensor, " E"]) -> Float[Tensor, "V 3"]:
    """From what is worn to another expression, joints at rest, mm."""
    both = torch.stack([worn.expression, expression])
    now, then = worn.head.vertices(worn.identity[None].expand(2, -1), both)
    return then - now


def _shifted(face: Face, shift: Float[Tensor, "V 3"]) -> Face:
    return replace(face, offsets=shift if face.offsets is None else face.offsets + shift)


def _eye_weights(source: Face) -> Float[Tensor, " V"]:
    points = source.head.embeddings["ibug68"].points(source.neutral_vertices)[_EYE_LANDMARKS]
    return 1 - smoothstep(torch.cdist(source.neutral_vertices, points).amin(1), *_STILL_MM)


def _turned(source: Face, joints: Float[Tensor, "J 3"], driven: Driven) -> Float[Tensor, "J 3"]:
    """With the neck turned so that the skull looks where the driver's does; the shoulders stay."""
    import roma

    if driven.rotation is None or "neck" not in source.head.joint_names:
        raise InputError("the driver's head pose is not known for this head; use --pose source.")
    turn = source.camera.rotation[0].mT @ driven.rotation.to(source.camera.rotation)
    turned = joints.clone()
    turned[source.head.joint_names.index("neck")] = roma.rotmat_to_rotvec(turn)
    return turned
