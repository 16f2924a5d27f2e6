"""Expression transfer: one person wearing another's expression."""

from __future__ import annotations

from dataclasses import replace

import torch

from likeness.errors import InputError
from likeness.face import Face
from likeness.methods import follow_expression

# The head's pose belongs to the photo, not to the expression.
_POSE_JOINTS = ("root", "neck")


def transfer(source: Face, expression: Face) -> Face:
    """``source`` with the expression and the jaw (and eyes) of another Face on the same head model.

    Identity, pose, camera, light, albedo and the code of its wrinkles stay; where the method that made ``source`` has
    wrinkles that follow the expression, its displacement is decoded anew. Raises InputError when the two are on
    different heads, whose expressions mean different things.
    """
    if (source.head.name, source.head.version) != (expression.head.name, expression.head.version):
        raise InputError(
            f"cannot carry an expression from the head '{expression.head.name}' to '{source.head.name}' as it is; "
            "reconstruct both faces with one method."
        )
    kept = torch.tensor([name in _POSE_JOINTS for name in source.head.joint_names], device=source.joints.device)
    worn = replace(
        source,
        expression=expression.expression.to(source.expression),
        joints=torch.where(kept[:, None], source.joints, expression.joints.to(source.joints)),
    )
    return follow_expression(worn)
