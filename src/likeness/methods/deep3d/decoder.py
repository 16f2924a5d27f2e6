"""Coefficients → face, as Deep3D has it: decimetres, a camera at z = 10 looking down, colours at vertices.

Frames: *canonical* is the recentred Basel shape (+x to the image's right, +y up, +z out of the face); *world* is that
turned and shifted, the camera at (0, 0, 10). Pixels are of the 224 crop. The
formulas are those of Deng et al. 2019, with the constants of the official code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.heads.bfm_files import FrontModel
from likeness.methods.deep3d.coefficients import Coefficients

CROP = 224
FOCAL = 1015.0
CAMERA_DISTANCE = 10.0
# The light's constant term starts at 0.8 in every channel; the network predicts the rest.
AMBIENT = 0.8
_LENGTH_FLOOR = 1e-12
# Order 0 to 2: π, 2π/√3, 2π/√8 times the constants of the real spherical harmonics.
_K0 = math.pi / math.sqrt(4 * math.pi)
_K1 = 2 * math.pi / math.sqrt(3) * math.sqrt(3 / (4 * math.pi))
_K2 = 2 * math.pi / math.sqrt(8) * 3 * math.sqrt(5 / (12 * math.pi))


@dataclass(frozen=True, eq=False)
class DecodedFace:
    """A batch of faces.

    ``canonical`` and ``world`` (B, V, 3) dm. ``normals`` (B, V, 3) are unit, in world axes. ``albedo`` and ``colour``
    (B, V, 3) are RGB, nominally in [0, 1], not clipped; ``colour`` is lit. ``landmarks`` (B, 68, 2) are pixels of the
    crop as Deep3D counts them: from the middle of the bottom-left one, y up.
    """

    canonical: Float[Tensor, "B V 3"]
    world: Float[Tensor, "B V 3"]
    normals: Float[Tensor, "B V 3"]
    albedo: Float[Tensor, "B V 3"]
    colour: Float[Tensor, "B V 3"]
    landmarks: Float[Tensor, "B 68 2"]


class Decoder:
    """The Basel face as tensors, and the way from coefficients to a `DecodedFace`. Differentiable."""

    def __init__(self, front: FrontModel, device: torch.device | str = "cpu") -> None:
        model = front.model
        self.front = front
        self.triangles = torch.from_numpy(model.triangles).to(device)
        self.keypoints = torch.from_numpy(np.asarray(model.landmarks)).to(device)
        self._incident = torch.from_numpy(front.incident).to(device)
        self._mean = torch.from_numpy(model.mean - model.centre).to(device)
        bases = (model.identity_basis, model.expression_basis)
        self._shape_basis = _rows(np.concatenate(bases, 2)).to(device)
        self._albedo_mean = torch.from_numpy(model.mean_albedo / np.float32(255)).to(device)
        self._albedo_basis = _rows(model.albedo_basis / np.float32(255)).to(device)

    def decode(self, coefficients: Coefficients) -> DecodedFace:
        """Everything at once."""
        canonical = self.shape(coefficients)
        rotation = rotation_matrix(coefficients.angles)
        world = canonical @ rotation.mT + coefficients.translation[:, None]
        normals = self.normals(canonical) @ rotation.mT
        albedo = self.albedo(coefficients)
        colour = albedo * shading(normals, coefficients.light)
        landmarks = project(world[:, self.keypoints])
        return DecodedFace(canonical, world, normals, albedo, colour, landmarks)

    def shape(self, coefficients: Coefficients) -> Float[Tensor, "B V 3"]:
        """Canonical vertices: the mean less *its own* centroid, plus identity and expression."""
        weights = torch.cat([coefficients.identity, coefficients.expression], 1)
        return self._mean + (weights @ self._shape_basis).unflatten(1, (-1, 3))

    def albedo(self, coefficients: Coefficients) -> Float[Tensor, "B V 3"]:
        """RGB at the vertices, nominally in [0, 1], not clipped."""
        return self._albedo_mean + (coefficients.albedo @ self._albedo_basis).unflatten(1, (-1, 3))

    def normals(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 3"]:
        """Unit means of the unit normals of the triangles about each vertex: not weighted by area."""
        a, b, c = (vertices[:, self.triangles[:, k]] for k in range(3))
        faces = _unit(torch.linalg.cross(a - b, b - c))
        # One more, zero, for the padding of `incident`.
        faces = torch.cat([faces, faces.new_zeros(len(faces), 1, 3)], 1)
        return _unit(faces[:, self._incident].sum(2))


def rotation_matrix(angles: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """Rz · Ry · Rx of angles about x, y and z: world = R · canonical + translation."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(1), angles.sin().unbind(1)
    one, zero = torch.ones_like(cx), torch.zeros_like(cx)
    about_x = _matrix([[one, zero, zero], [zero, cx, -sx], [zero, sx, cx]])
    about_y = _matrix([[cy, zero, sy], [zero, one, zero], [-sy, zero, cy]])
    about_z = _matrix([[cz, -sz, zero], [sz, cz, zero], [zero, zero, one]])
    return about_z @ about_y @ about_x


def to_camera(world: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
    """World → camera: the third number is the distance in front of it, dm."""
    return torch.cat([world[..., :2], CAMERA_DISTANCE - world[..., 2:]], -1)


def project(world: Float[Tensor, "B N 3"], *, size: int = CROP) -> Float[Tensor, "B N 2"]:
    """World → pixels of the crop, y up. Focal length and centre scale with the crop's size."""
    seen = to_camera(world)
    return FOCAL * size / CROP * seen[..., :2] / seen[..., 2:] + size / 2


def clip_coordinates(camera: Float[Tensor, "B N 3"], *, near: float = 5.0, far: float = 15.0) -> Float[Tensor, "B N 4"]:
    """What the PyTorch code hands to its rasteriser, whose row 0 lies at y = -1."""
    x, y, z = camera.unbind(-1)
    scale = FOCAL / (CROP / 2)
    depth = ((far + near) * z - 2 * far * near) / (far - near)
    return torch.stack([scale * x, -scale * y, depth, z], -1)


def light_basis(normals: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 9"]:
    """The nine functions of Deep3D's light, in world axes, with its signs and constants."""
    x, y, z = normals.unbind(-1)
    columns = (
        torch.full_like(x, _K0),
        -_K1 * y,
        _K1 * z,
        -_K1 * x,
        _K2 * x * y,
        -_K2 * y * z,
        _K2 / (2 * math.sqrt(3)) * (3 * z * z - 1),
        -_K2 * x * z,
        _K2 / 2 * (x * x - y * y),
    )
    return torch.stack(columns, -1)


def shading(normals: Float[Tensor, "B N 3"], light: Float[Tensor, "B 27"]) -> Float[Tensor, "B N 3"]:
    """Light sent back by white skin, RGB; may be negative."""
    return light_basis(normals) @ lit(light).mT


def lit(light: Float[Tensor, "B 27"]) -> Float[Tensor, "B 3 9"]:
    """Predicted light with its constant start: a row a channel."""
    start = torch.zeros(9, dtype=light.dtype, device=light.device)
    start[0] = AMBIENT
    return light.unflatten(1, (3, 9)) + start


def _rows(basis: Float[np.ndarray, "V 3 K"]) -> Float[Tensor, "K V3"]:
    return torch.from_numpy(np.ascontiguousarray(basis.reshape(-1, basis.shape[2]).T, np.float32))


def _matrix(rows: list[list[Tensor]]) -> Float[Tensor, "B 3 3"]:
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(_LENGTH_FLOOR)
