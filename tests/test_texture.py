"""Colours from a photo into the chart."""

import numpy as np
import pytest
import torch

from likeness.cameras import Pinhole
from likeness.face import Face
from likeness.heads import load_head
from likeness.texture import albedo_from_photo, fill_holes


def test_holes_are_filled_from_their_surroundings_and_the_known_stays():
    image = torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(64, 48)
    weight[20:40, 10:30] = 0
    image[:, weight == 0] = torch.nan_to_num(torch.tensor(9.0))
    filled = fill_holes(image, weight)
    torch.testing.assert_close(filled[:, weight == 1], image[:, weight == 1])
    hole = filled[:, weight == 0]
    assert hole.min() >= 0 and hole.max() <= 1
    assert abs(float(hole.mean()) - 0.5) < 0.1


def test_a_constant_survives_any_hole():
    weight = (torch.rand(40, 40, generator=torch.Generator().manual_seed(1)) > 0.9).float()
    torch.testing.assert_close(fill_holes(torch.full((2, 40, 40), 0.3), weight), torch.full((2, 40, 40), 0.3))


@pytest.mark.parametrize("yaw", [0.0, 35.0])
def test_what_the_camera_sees_comes_back_in_the_chart(yaw):
    """A photo whose colour is a function of place: the texel of a seen point has the colour of its pixel."""
    head = load_head("open")
    angle = np.radians(yaw)
    turn = torch.tensor([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]).float()
    camera = Pinhole.from_focal(
        rotation=(torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn)[None],
        translation=torch.tensor([[0.0, 0.0, 800.0]]),
        focal=torch.tensor([900.0]),
        centre=torch.tensor([[200.0, 200.0]]),
    )
    face = Face(
        head=head,
        identity=torch.zeros(head.n_identity),
        expression=torch.zeros(head.n_expression),
        joints=torch.zeros(len(head.joint_names), 3),
        camera=camera,
        image_size=(400, 400),
        method="open",
        confidence=1.0,
    )
    y, x = np.mgrid[:400, :400]
    photo = np.stack([x * 255 // 400, y * 255 // 400, np.full_like(x, 128)], -1).astype(np.uint8)
    albedo = albedo_from_photo(face, photo, size=256)
    assert albedo.shape == (3, 256, 256) and albedo.min() >= 0 and albedo.max() <= 1
    # The tip of the nose is seen in both poses: its texel must have its pixel's colour.
    landmarks = face.landmarks("ibug68")
    tip = head.embeddings["ibug68"].corners[30, 0].item()
    row = np.argwhere(head.topology.triangles == tip)[0]
    u, v = head.topology.uv[head.topology.uv_triangles[row[0], row[1]]]
    texel = albedo[:, int((1 - v) * 256), int(u * 256)]
    pixel = camera.project(face.vertices[None, tip : tip + 1])[0, 0]
    expected = torch.tensor([float(pixel[0]) / 400, float(pixel[1]) / 400, 128 / 255])
    torch.testing.assert_close(texel, expected, atol=0.02, rtol=0)
    assert landmarks.visible[30]
