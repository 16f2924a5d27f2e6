"""The sheet of an expression transfer: a column each, a still camera, and visible wrinkles."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

import synthetic_flame
from likeness.animate.transfer_sheet import clay_picture, transfer_sheet
from likeness.cameras import WeakPerspective
from likeness.face import Face


def neutral_face() -> Face:
    head = synthetic_flame.flame_head()
    return Face(
        head=head,
        identity=torch.zeros(head.n_identity),
        expression=torch.zeros(head.n_expression),
        joints=torch.zeros(5, 3),
        camera=WeakPerspective(torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None], torch.ones(1), torch.zeros(1, 2)),
        image_size=(256, 256),
        method="deca",
        confidence=1.0,
    )


def test_a_column_for_each_step_and_the_source_first():
    face = neutral_face()
    smiling = dataclasses.replace(face, expression=torch.linspace(-1, 1, 100))
    wide, tall = np.full((20, 60, 3), 200, np.uint8), np.full((90, 30, 3), 10, np.uint8)
    sheet = transfer_sheet(wide, face, [(tall, smiling), (wide, face)], size=64)
    assert sheet.shape == (3 * 64, 3 * 64, 3)
    first, second, third = np.split(sheet[64:], 3, axis=1)
    # The third column wears the source's own expression: the same picture, as the camera has not moved.
    np.testing.assert_array_equal(first, third)
    assert np.abs(first.astype(int) - second).mean() > 1
    assert (sheet[32, 32] == 200).all()
    assert (sheet[32, 96] == 10).all()


def test_wrinkles_show():
    face = neutral_face()
    ripples = 1.5 * torch.sin(torch.linspace(0, 120, 256))[None].expand(256, 256)
    wrinkled = dataclasses.replace(face, displacement=ripples)
    smooth, rough = (clay_picture(each, face, size=96).astype(int) for each in (face, wrinkled))
    inside = smooth.std(2) > 2
    assert np.abs(smooth - rough)[inside].mean() > 4
