"""The open head's average person as a Rig, without a photo."""

from functools import cache

import numpy as np
import torch

from likeness.heads import load_head
from likeness.rig import Rig


@cache
def open_rig() -> Rig:
    head = load_head("open")
    rest = torch.zeros(1, head.n_identity)
    neutral = head.vertices(rest)[0]
    shapes = head.vertices(rest.expand(head.n_expression, -1), torch.eye(head.n_expression)) - neutral
    return Rig(
        topology=head.topology,
        neutral=neutral.numpy(),
        blendshape_names=head.expression_names,
        blendshapes=shapes.numpy(),
        weights=np.zeros(head.n_expression, np.float32),
        joint_names=head.joint_names,
        joint_parents=head.joint_parents,
        joint_positions=head.joint_positions(rest)[0].numpy(),
        skin_weights=head.skin_weights().numpy(),
    )
