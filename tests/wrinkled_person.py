"""A person with wrinkles that are known, photographed in light that is known: what detail is recovered from."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional

from likeness.cameras import Pinhole
from likeness.detail.chart import face_chart, texel_surface
from likeness.displaced import displaced_surface
from likeness.face import Face
from likeness.filters import gaussian_blur
from likeness.heads import load_head
from likeness.lighting import ambient_light, linear_to_srgb, sh_basis, shading
from likeness.render import interpolate, rasterize, sample_texture

SIZE = 1024
# Directions to the light in the camera frame: +x right, +y down, +z away.
LIGHTS = {"above": (-0.3, -0.8, -0.5), "front": (0.1, -0.2, -0.95), "side": (-0.8, -0.3, -0.5)}
# A hollow of a millimetre is darker by this (natural logarithm), as a fold is under any sky.
OCCLUSION = 0.3


def person(photo_size: int = 900, *, yaw: float = 0.0) -> Face:
    """The mean head in front of a camera that fills the photo with it."""
    head, angle = load_head("open"), np.radians(yaw)
    turn = torch.tensor([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]).float()
    camera = Pinhole.from_focal(
        rotation=(torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn)[None],
        translation=torch.tensor([[0.0, 0.0, 900.0]]),
        focal=torch.tensor([3.4 * photo_size]),
        centre=torch.tensor([[photo_size / 2, photo_size / 2]]),
    )
    return Face(
        head=head,
        identity=torch.zeros(head.n_identity),
        expression=torch.zeros(head.n_expression),
        joints=torch.zeros(len(head.joint_names), 3),
        camera=camera,
        image_size=(photo_size, photo_size),
        method="open",
        confidence=1.0,
    )


def wrinkles(face: Face) -> torch.Tensor:
    """(SIZE, SIZE) mm: lines on the forehead, crow's feet and nasolabial folds."""
    chart = face_chart(face, SIZE)
    mm = chart.mm_per_texel
    y, x = torch.meshgrid(torch.arange(SIZE) * mm, torch.arange(SIZE) * mm, indexing="ij")
    x = x - SIZE / 2 * mm

    def near(x0: float, y0: float, wide: float, high: float) -> torch.Tensor:
        return torch.exp(-((((x - x0) / wide) ** 2 + ((y - y0) / high) ** 2) ** 2) / 2)

    def valleys(turns: torch.Tensor) -> torch.Tensor:
        return -torch.exp(-(((torch.remainder(turns + 0.5, 1) - 0.5) / 0.18) ** 2))

    relief = 0.35 * valleys((y - 55 + 4 * torch.cos(x / 25)) / 7) * near(0, 62, 32, 16)
    for side in (-1, 1):
        relief += 0.25 * valleys((y - 125 + 0.35 * side * (x - 58 * side)) / 4) * near(58 * side, 128, 9, 9)
        fold = torch.exp(-(((x - side * (30 + 0.35 * (y - 175))) / 1.6) ** 2))
        relief -= 0.5 * fold * near(33 * side, 185, 20, 20)
    return relief * chart.whole(chart.skin)


def photograph(
    face: Face, relief: torch.Tensor, light: str, *, pigment: float = 0.04, grain: float = 0.005, seed: int = 0
) -> np.ndarray:
    """(H, W, 3) uint8: skin with blotches of melanin and blood, lit by sky and one lamp, seen by a grainy camera."""
    generator = torch.Generator().manual_seed(seed)
    surface = displaced_surface(face, n_subdivisions=1)
    pixels = face.camera.project_with_depth(surface.vertices[None])
    fragments = rasterize(pixels, surface.triangles, face.image_size)
    uv = interpolate(surface.uv, surface.triangles, fragments)
    slope = sample_texture(_gradient(face, relief)[None], uv)
    normals = interpolate(surface.normals, surface.triangles, fragments) - slope
    normals = functional.normalize(normals @ face.camera.rotation[0].T, dim=-1)
    lamp = sh_basis(functional.normalize(torch.tensor(LIGHTS[light]), dim=0)) * 2.2
    sh = ambient_light(torch.tensor([[0.45, 0.45, 0.47]])) + lamp[None, :, None] * torch.tensor([1.0, 0.97, 0.92])
    melanin, blood = (pigment * _blotches(sigma, generator) for sigma in (4.0, 6.0))
    fine = relief - gaussian_blur(relief[None], 8.0)[0]
    logarithm = torch.stack([0.35 * melanin + 0.1 * blood, 0.65 * melanin + blood, melanin + 0.75 * blood])
    albedo = torch.tensor([0.60, 0.38, 0.28])[:, None, None] * torch.exp(logarithm + OCCLUSION * fine)
    colour = sample_texture(albedo[None], uv) * shading(normals, sh).clamp_min(0)
    linear = torch.where(fragments.mask[..., None], colour, 0.2)[0]
    photo = linear_to_srgb(linear) + grain * torch.randn(linear.shape, generator=generator)
    return (photo.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()


def correlation(found: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> tuple[float, float]:
    """Pearson's, and the slope of found over truth."""
    found = found - (found * weight).sum() / weight.sum()
    truth = truth - (truth * weight).sum() / weight.sum()
    both = (found * truth * weight).sum()
    own = (truth * truth * weight).sum()
    return float(both / (own * (found * found * weight).sum()).sqrt()), float(both / own)


def recoverable(relief: torch.Tensor, mm: float) -> torch.Tensor:
    """The truth without what is too wide for detail (the shape model's) and too fine for a photo."""
    return gaussian_blur(relief[None], 0.35 / mm)[0] - gaussian_blur(relief[None], 3.2 / mm)[0]


def _gradient(face: Face, relief: torch.Tensor) -> torch.Tensor:
    """∇d on the smooth surface, head frame, in the chart."""
    chart = face_chart(face, SIZE)
    surface, window = texel_surface(face, chart), relief[chart.rows, chart.columns]
    dx, dy = (window.roll(-1, 1) - window.roll(1, 1)) / 2, (window.roll(-1, 0) - window.roll(1, 0)) / 2
    x, y = surface.along_x, surface.along_y
    gxx, gxy, gyy = (x * x).sum(0), (x * y).sum(0), (y * y).sum(0)
    determinant = (gxx * gyy - gxy**2).clamp_min(1e-4)
    gradient = x * ((gyy * dx - gxy * dy) / determinant) + y * ((gxx * dy - gxy * dx) / determinant)
    return torch.stack([chart.whole(part) for part in gradient])


def _blotches(sigma: float, generator: torch.Generator) -> torch.Tensor:
    noise = gaussian_blur(torch.randn(1, SIZE, SIZE, generator=generator), sigma)[0]
    return noise / noise.std()
