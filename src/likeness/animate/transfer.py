"""Expression transfer: one person wearing another's expression, on the same head model or on another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.animate.expression_space import Basis, ExpressionSpace
from likeness.animate.posing import driven_joints
from likeness.arkit_rig import JAW, expression_displacement
from likeness.face import Face
from likeness.heads.carried import on_template
from likeness.methods import follow_expression
from likeness.rig import plain_rig

# The head's pose belongs to the photo, not to the expression.
_POSE_JOINTS = ("root", "neck", "head")


def transfer(source: Face, expression: Face) -> Face:
    """``source`` with the expression and the jaw (and eyes) of another Face.

    On the same head model the coefficients are taken as they are. On another, what the expression does to its own
    neutral face is carried over to the source's surface, and the source's head finds the coefficients, and the turn of
    its jaw if it has one, that come nearest; eyes turn by as much. Identity, pose, camera, light, albedo and the code
    of its wrinkles stay; where the method that made ``source`` has wrinkles that follow the expression, its
    displacement is decoded anew. Raises InputError when a head of another model has no landmarks.
    """
    same = (source.head.name, source.head.version) == (expression.head.name, expression.head.version)
    worn = _on_same_head(source, expression) if same else _across_heads(source, expression)
    return follow_expression(worn)


def _on_same_head(source: Face, expression: Face) -> Face:
    kept = torch.tensor([name in _POSE_JOINTS for name in source.head.joint_names], device=source.joints.device)
    return replace(
        source,
        expression=expression.expression.to(source.expression),
        joints=torch.where(kept[:, None], source.joints, expression.joints.to(source.joints)),
    )


def _across_heads(source: Face, expression: Face) -> Face:
    giver, taker = ExpressionSpace(plain_rig(expression)), ExpressionSpace(plain_rig(source))
    moved = expression_displacement(expression).astype(np.float64)
    shapes = on_template(giver.registration, expression.head.topology.triangles, moved[None])
    carried = taker.carried(giver, Basis((), shapes, np.ones((1, 1))))
    weights, jaw = taker.explained(carried, np.ones((1, 1)), smoothness=0.0)
    found = torch.from_numpy(weights[0]).to(source.expression)
    return replace(source, expression=found, joints=_joints(source, expression, None if jaw is None else jaw[0]))


def _joints(source: Face, expression: Face, jaw: Float[np.ndarray, " 3"] | None) -> Float[Tensor, "J 3"]:
    """The source's own pose, the solved jaw, the eyes of the expression; all else at rest."""
    names = source.head.joint_names
    kept = torch.tensor([name in _POSE_JOINTS for name in names], device=source.joints.device)
    joints = torch.where(kept[:, None], source.joints, torch.zeros_like(source.joints))
    if jaw is not None:
        joints[names.index(JAW)] = torch.from_numpy(jaw).to(joints)
    theirs = driven_joints(tuple(expression.head.joint_names)).eyes
    for own, other in zip(driven_joints(tuple(names)).eyes, theirs, strict=True):
        if own is not None and other is not None:
            joints[own] = expression.joints[other].to(joints)
    return joints
