"""From DECA's codes to the posed surface, its place in the crop, and its landmarks.

World: FLAME's frame, metres, after the global rotation. Image space: x right and y down in [-1, 1] over the crop, z
away from the viewer in the same scale.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.heads.flame_files import N_JOINTS
from likeness.methods.deca.crop import Compat
from likeness.methods.deca.model import DecaModel

ROOT, JAW = 0, 2
_SIZES = {"shape": 100, "texture": 50, "expression": 50, "pose": 6, "camera": 3, "light": 27}
# Area-weighted sums shorter than this (m²) are not stretched to unit length by the reference.
_OFFICIAL_SHORTEST = 1e-6
# Shorter than any triangle's area (m²), and long enough that a gradient divided by it stays finite.
_SHORTEST = 1e-18
# A landmark counts as hidden when its normal turns away from the viewer by more than this.
_HIDDEN_NORMAL_Z = 0.1


@dataclass(frozen=True, eq=False)
class DecaCode:
    """What the encoders say of a crop. ``root`` and ``jaw`` are rotation vectors; ``camera`` is (scale, x, y);
    ``light`` holds spherical-harmonics coefficients, rows in DECA's own order."""

    shape: Float[Tensor, "B 100"]
    texture: Float[Tensor, "B 50"]
    expression: Float[Tensor, "B 50"]
    root: Float[Tensor, "B 3"]
    jaw: Float[Tensor, "B 3"]
    camera: Float[Tensor, "B 3"]
    light: Float[Tensor, "B 9 3"]
    detail: Float[Tensor, "B 128"]

    def take_expression(self, other: DecaCode) -> DecaCode:
        """This person with the other's expression and jaw. The rest stays: shape, detail, pose, camera, light."""
        return replace(self, expression=other.expression, jaw=other.jaw)

    def __getitem__(self, index: slice) -> DecaCode:
        return DecaCode(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def rotations(self) -> Float[Tensor, "B 5 3"]:
        """Rotations of FLAME's joints: neck and eyes rest."""
        found = self.root.new_zeros(len(self.root), N_JOINTS, 3)
        found[:, ROOT], found[:, JAW] = self.root, self.jaw
        return found


@dataclass(frozen=True, eq=False)
class Geometry:
    """The posed head. ``*_image`` are in image space, the others in the world. Landmarks are iBUG-68: ``contour`` ones
    follow the outline, ``fixed`` ones the skin."""

    vertices: Float[Tensor, "B V 3"]
    normals: Float[Tensor, "B V 3"]
    vertices_image: Float[Tensor, "B V 3"]
    normals_image: Float[Tensor, "B V 3"]
    landmarks_contour_image: Float[Tensor, "B 68 2"]
    landmarks_fixed: Float[Tensor, "B 68 3"]
    landmarks_fixed_image: Float[Tensor, "B 68 3"]
    landmarks_visible: Bool[Tensor, "B 68"]


def split_code(parameters: Float[Tensor, "B 236"], detail: Float[Tensor, "B 128"]) -> DecaCode:
    """The coarse encoder's 236 numbers by name. Texture comes before expression."""
    parts = dict(zip(_SIZES, parameters.split(list(_SIZES.values()), 1), strict=True))
    root, jaw = parts.pop("pose").split(3, 1)
    light = parts.pop("light").reshape(-1, 9, 3)
    return DecaCode(**parts, root=root, jaw=jaw, light=light, detail=detail)


def pose_geometry(model: DecaModel, code: DecaCode, compat: Compat = "default") -> Geometry:
    """The head of a code."""
    return surface_geometry(model, code, model.flame(code.shape, code.expression, code.rotations), compat)


def surface_geometry(
    model: DecaModel, code: DecaCode, vertices: Float[Tensor, "B V 3"], compat: Compat = "default"
) -> Geometry:
    """What follows from vertices that are already posed (world, metres), with the code's pose and camera."""
    contour = model.landmarks.moving(vertices, code.rotations)
    fixed = model.landmarks.fixed.points(vertices)
    vertices_image = to_image_space(vertices, code.camera)
    normals_image = surface_normals(vertices_image, model.triangles, compat)
    return Geometry(
        vertices=vertices,
        normals=surface_normals(vertices, model.triangles, compat),
        vertices_image=vertices_image,
        normals_image=normals_image,
        landmarks_contour_image=to_image_space(contour, code.camera)[..., :2],
        landmarks_fixed=fixed,
        landmarks_fixed_image=to_image_space(fixed, code.camera),
        landmarks_visible=model.landmarks.fixed.points(normals_image)[..., 2] < _HIDDEN_NORMAL_Z,
    )


def to_image_space(points: Float[Tensor, "B N 3"], camera: Float[Tensor, "B 3"]) -> Float[Tensor, "B N 3"]:
    """World to image space by (scale, x, y): the shift comes before the scale, then y and z turn over."""
    shift = torch.nn.functional.pad(camera[:, 1:], (0, 1))
    flip = points.new_tensor([1.0, -1.0, -1.0])
    return camera[:, None, :1] * (points + shift[:, None]) * flip


def surface_normals(
    vertices: Float[Tensor, "B V 3"], triangles: Tensor, compat: Compat = "default"
) -> Float[Tensor, "B V 3"]:
    """Vertex normals weighted by area; ``official`` leaves those among tiny triangles short."""
    a, b, c = (vertices.index_select(1, triangles[:, corner]) for corner in range(3))
    area = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(1, triangles[:, corner], area)
    return normalise(total, compat)


def normalise(vectors: Float[Tensor, "*N 3"], compat: Compat = "default", dim: int = -1) -> Float[Tensor, "*N 3"]:
    """Vectors over their lengths; zero stays zero."""
    shortest = _OFFICIAL_SHORTEST if compat == "official" else _SHORTEST
    return vectors / torch.linalg.vector_norm(vectors, dim=dim, keepdim=True).clamp_min(shortest)
