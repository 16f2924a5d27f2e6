"""From solved frames to motion: on the person's own rig, or on another's.

Expression codes are carried over as they are: the eight numbers mean about the same for every person's rig.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.cameras import WeakPerspective
from likeness.errors import InputError
from likeness.heads.personal import PersonalHead
from likeness.methods.inorig.blendshapes import PersonalBlendshapes, movements
from likeness.methods.inorig.crop import Square
from likeness.methods.inorig.person import camera_of
from likeness.methods.inorig.pose import pose_vertices, split_pose
from likeness.methods.inorig.rig import NeuralRig
from likeness.motion import Motion


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """A frame as solved: codes, light, what was cropped of the picture, and the landmark residual in frame pixels.

    ``found`` is false where the frame showed no face and the one before is held.
    """

    expression: Float[Tensor, " 8"]
    pose: Float[Tensor, " 6"]
    light: Float[Tensor, "9 3"]
    square: Square
    landmarks_px: float
    found: bool = True

    def camera(self, rig: NeuralRig) -> WeakPerspective:
        """Head frame (mm) → pixels of the frame."""
        return camera_of(self.pose, self.square, rig.template)

    def crop_vertices(self, rig: NeuralRig) -> Float[Tensor, "N 3"]:
        """A rig in this frame's expression and pose, in the crop frame (px): retargeting, if the rig is another's."""
        return pose_vertices(self.pose[None], rig.object_vertices(self.expression[None]))[0]


def blendshapes_of(head: PersonalHead) -> PersonalBlendshapes:
    """A personal head's blendshapes; what they lose is not known any more."""
    nan = float("nan")
    return PersonalBlendshapes(head.expression_names, head.blendshapes, nan, nan, nan)


def motion_of(
    frames: Sequence[TrackedFrame], rig: NeuralRig, blendshapes: PersonalBlendshapes, *, fps: float
) -> Motion:
    """Frames as motion of a rig's blendshapes: the person's own, or another's to retarget to.

    INORig has no eyes; theirs look straight ahead. Raises InputError without frames.
    """
    if not frames:
        raise InputError("No frame of the video shows a face, so there is no motion to write.")
    codes = torch.stack([frame.expression for frame in frames])
    shapes = PersonalBlendshapes(blendshapes.names, blendshapes.shapes.to(codes), *(float("nan"),) * 3)
    # Batches bound the memory: a frame of the whole face is half a megabyte.
    weights = torch.cat([shapes.weights(movements(rig, part)) for part in codes.split(32)])
    rotation = split_pose(torch.stack([frame.pose for frame in frames]))[0]
    return Motion(
        fps=fps,
        names=blendshapes.names,
        weights=weights.cpu().numpy(),
        head=roma.rotmat_to_rotvec(rotation).cpu().numpy(),
        eyes=np.zeros((len(frames), 2, 3), np.float32),
    )
