"""A photo whose light and albedo are known: the average head of some size and turn under spherical harmonics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.appearance.chart import anatomy_of
from likeness.appearance.skin import Skin, average_zones
from likeness.cameras import Pinhole
from likeness.face import Face
from likeness.heads import load_head
from likeness.landmarks.base import Landmarks
from likeness.lighting import linear_to_srgb, shading
from likeness.meshes import vertex_normals
from likeness.render import interpolate, rasterize

SIZE = 400


@dataclass(frozen=True, eq=False)
class LitPerson:
    """``albedo`` (H, W, 3) linear, of every pixel of ``photo`` that shows the head (``mask``)."""

    face: Face
    photo: UInt8[np.ndarray, "H W 3"]
    albedo: Float[Tensor, "H W 3"]
    mask: Tensor


def side_light(level: float = 1.0, tilt: float = 0.6, tint: tuple[float, float, float] = (1, 1, 1)) -> Tensor:
    """(9, 3) of a light from the photo's left and above over an even one, nowhere negative for ``tilt`` up to 1."""
    light = torch.zeros(9, 3)
    light[0] = 3.545 * level
    light[3], light[1], light[2] = -2.6 * tilt * level, -0.9 * tilt * level, -1.6 * tilt * level
    return light * torch.tensor(tint)


def take_photo(
    light: Float[Tensor, "9 3"],
    skin_base: tuple[float, float, float],
    *,
    yaw: float = 0.0,
    mark: float = 0.0,
    background: float = 0.35,
) -> LitPerson:
    """The average head with white eyes and model skin, times a wave of strength ``mark`` unknown to the model."""
    head = load_head("open")
    turn = roma.euler_to_rotmat("Y", torch.tensor([yaw]), degrees=True)
    camera = Pinhole.from_focal(
        rotation=(torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn)[None],
        translation=torch.tensor([[0.0, 0.0, 900.0]]),
        focal=torch.tensor([1150.0]),
        centre=torch.tensor([[SIZE / 2, SIZE / 2]]),
    )
    vertices = head.vertices(torch.zeros(1, head.n_identity))
    fragments = rasterize(camera.project_with_depth(vertices), head.topology.triangles_tensor, (SIZE, SIZE))
    normals = vertex_normals(vertices[0], head.topology.triangles_tensor) @ camera.rotation[0].T
    anatomy = anatomy_of(head)
    values = interpolate(torch.cat([normals, anatomy.rest], -1)[None], head.topology.triangles_tensor, fragments)[0]
    mask = fragments.mask[0]
    normal, rest = torch.nn.functional.normalize(values[mask][:, :3], dim=-1), values[mask][:, 3:]
    wave = torch.sin(rest[:, 0] * 0.9) * torch.sin(rest[:, 1] * 0.9)
    albedo = torch.zeros(SIZE, SIZE, 3)
    albedo[mask] = (
        Skin(torch.tensor(skin_base), average_zones()).albedo(anatomy.zones(rest)) * (1 + mark * wave)[:, None]
    )
    part = anatomy.parts[fragments.triangle[0][mask].long()]
    albedo[mask] = torch.where((part > 0)[:, None], torch.tensor([0.45, 0.42, 0.40]), albedo[mask])
    picture = torch.full((SIZE, SIZE, 3), background)
    picture[mask] = albedo[mask] * shading(normal[None], light[None])[0].clamp_min(0)
    photo = (linear_to_srgb(picture).clamp(0, 1).numpy() * 255 + 0.5).astype(np.uint8)
    points = camera.project(head.embeddings["mediapipe478"].points(vertices[0])[None])[0].numpy()
    face = Face(
        head=head,
        identity=torch.zeros(head.n_identity),
        expression=torch.zeros(head.n_expression),
        joints=torch.zeros(len(head.joint_names), 3),
        camera=camera,
        image_size=(SIZE, SIZE),
        method="open",
        confidence=1.0,
        detected=Landmarks("mediapipe478", points.astype(np.float32), 1.0),
    )
    return LitPerson(face, photo, albedo, mask)
