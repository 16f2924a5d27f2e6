"""A person nobody has: a head of the open model, spotted by rule, photographed before a striped wall."""

from __future__ import annotations

import numpy as np
import torch

from likeness.cameras import Pinhole
from likeness.face import Face
from likeness.heads import load_head
from likeness.render.pictures import over, shaded_view, to_uint8

SIZE = (220, 200)


def person(**weights: float) -> Face:
    """A frontal head of the open model, half a metre away."""
    head = load_head("open")
    camera = Pinhole.from_focal(
        rotation=torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None],
        translation=torch.tensor([[0.0, 0.0, 500.0]]),
        focal=torch.tensor([330.0]),
        centre=torch.tensor([[SIZE[1] / 2, SIZE[0] / 2]]),
    )
    expression = torch.zeros(head.n_expression)
    for name, weight in weights.items():
        expression[head.expression_names.index(name)] = weight
    draw = torch.Generator().manual_seed(2)
    return Face(
        head=head,
        identity=0.5 * torch.randn(head.n_identity, generator=draw),
        expression=expression,
        joints=torch.zeros(len(head.joint_names), 3),
        camera=camera,
        image_size=SIZE,
        method="open",
        confidence=1.0,
    )


def photograph(face: Face) -> np.ndarray:
    """The person, spotted like nobody, before a striped wall."""
    draw = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 3, 25, 25, 25, generator=draw)
    places = face.neutral_vertices / 130
    colours = torch.nn.functional.grid_sample(coarse, places[None, None, None], align_corners=True)[0, :, 0, 0].T
    row = torch.arange(SIZE[0])[:, None].expand(SIZE)
    wall = torch.stack([0.5 + 0.3 * torch.sin(row / 7.0 + c) for c in range(3)])[None]
    triangles = face.head.topology.triangles_tensor
    layer = shaded_view(face.vertices[None], triangles, face.camera, SIZE, albedo=0.3 + 0.5 * colours)
    return to_uint8(over(layer, wall))
