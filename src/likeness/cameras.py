"""Cameras and crops.

A camera maps head-frame points (millimetres) to pixels of a photo, and says how far in front it sees them.
A crop is a 2D similarity of the image; `camera.apply(crop)` is the camera of the cropped image, so that
`camera.apply(crop).project(p) == crop.transform(camera.project(p))`, and `apply(crop.inverse())` undoes it.

Camera frame: OpenCV axes, +x right, +y down, +z forward. Pixels: x right, y down, pixel centres at +0.5.
Everything is batched and immutable; a batch of one broadcasts against any other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import InputError


@runtime_checkable
class Camera(Protocol):
    """What a renderer or a fit needs to know of a camera."""

    perspective: ClassVar[bool]

    @property
    def rotation(self) -> Float[Tensor, "B 3 3"]:
        """Head frame → camera frame."""
        ...

    def project(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 2"]:
        """Head-frame points in mm → pixels."""
        ...

    def depth(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N"]:
        """Head-frame points in mm → distance along the viewing axis in mm, growing away from the camera."""
        ...

    def project_with_depth(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Head-frame points in mm → (x px, y px, depth mm): what `likeness.render.rasterize` takes."""
        ...

    def towards(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Unit vectors from head-frame points to the camera."""
        ...

    def apply(self, similarity: Similarity) -> Camera:
        """The camera whose pixels are this camera's pixels moved by `similarity`."""
        ...


_Record = TypeVar("_Record", bound="_TensorRecord")


class _TensorRecord:
    """What frozen dataclasses of batched tensors share."""

    def to(self: _Record, *args, **kwargs) -> _Record:
        """`torch.Tensor.to` on every field."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def __getitem__(self: _Record, index: slice | int | Tensor) -> _Record:
        """The chosen part of the batch; an integer keeps a batch of one."""
        chosen = slice(index, index + 1 or None) if isinstance(index, int) else index
        return self._map(lambda tensor: tensor[chosen])

    def _map(self: _Record, function) -> _Record:
        changed = {field.name: function(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return replace(self, **changed)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Similarity(_TensorRecord):
    """A scaled rotation and shift of the image plane: x ↦ scale · R(angle) · x + translation.

    `angle` is in radians and turns +x towards +y, which is clockwise to the eye as y points down.
    """

    scale: Float[Tensor, "B"]
    angle: Float[Tensor, "B"]
    translation: Float[Tensor, "B 2"]

    @classmethod
    def identity(cls, n: int = 1, *, device: torch.device | str | None = None) -> Similarity:
        """`n` similarities that move nothing."""
        return cls(
            scale=torch.ones(n, device=device),
            angle=torch.zeros(n, device=device),
            translation=torch.zeros(n, 2, device=device),
        )

    @classmethod
    def from_points(
        cls,
        source: Float[Tensor, "#B N 2"],
        target: Float[Tensor, "#B N 2"],
        *,
        weights: Float[Tensor, "#B N"] | None = None,
    ) -> Similarity:
        """The similarity that carries `source` to `target` with least squared error, never mirroring.

        Umeyama 1991 in the plane, where it is one complex division. Raises `InputError` when the source
        points (those with weight) coincide, so that no scale is defined.
        """
        source, target = torch.broadcast_tensors(source, target)
        weights = torch.ones_like(source[..., 0]) if weights is None else weights.expand(source.shape[:-1])
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(source.dtype).tiny)
        source_mean = torch.einsum("bn,bnd->bd", weights, source)
        target_mean = torch.einsum("bn,bnd->bd", weights, target)
        p, q = source - source_mean[:, None], target - target_mean[:, None]
        spread = torch.einsum("bn,bnd->b", weights, p * p)
        if not bool((spread > 0).all()):
            raise InputError("The points to align coincide; at least two distinct points are needed.")
        along = torch.einsum("bn,bnd->b", weights, p * q) / spread
        across = torch.einsum("bn,bn->b", weights, p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]) / spread
        turn = cls(torch.hypot(along, across), torch.atan2(across, along), torch.zeros_like(source_mean))
        return replace(turn, translation=target_mean - turn.transform(source_mean[:, None])[:, 0])

    @classmethod
    def from_square(
        cls,
        centre: Float[Tensor, "B 2"],
        side: Float[Tensor, "B"],
        *,
        size: int,
        angle: Float[Tensor, "B"] | None = None,
    ) -> Similarity:
        """The crop that shows a square of the photo, turned by `angle`, in `size` × `size` pixels."""
        if not bool((side > 0).all()):
            raise InputError("A crop needs a square with a side longer than 0 pixels.")
        angle = torch.zeros_like(side) if angle is None else angle
        turn = cls(size / side, -angle, torch.zeros_like(centre))
        return replace(turn, translation=size / 2 - turn.transform(centre[:, None])[:, 0])

    @classmethod
    def from_box(cls, box: Float[Tensor, "B 4"], *, size: int, margin: float = 1.0) -> Similarity:
        """The upright square crop, `margin` times the longer side, about boxes (left, top, right, bottom)."""
        corner, opposite = box[:, :2], box[:, 2:]
        side = (opposite - corner).amax(-1) * margin
        return cls.from_square((corner + opposite) / 2, side, size=size)

    @property
    def linear(self) -> Float[Tensor, "B 2 2"]:
        """scale · R(angle)."""
        cos, sin = self.scale * torch.cos(self.angle), self.scale * torch.sin(self.angle)
        return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)

    @property
    def matrix(self) -> Float[Tensor, "B 3 3"]:
        """The homogeneous matrix, last row (0, 0, 1)."""
        return _homogeneous(self.linear, self.translation)

    def transform(self, points: Float[Tensor, "#B N 2"]) -> Float[Tensor, "B N 2"]:
        """Move points of the image plane."""
        return points @ self.linear.mT + self.translation[:, None]

    def compose(self, first: Similarity) -> Similarity:
        """`self` after `first`."""
        return Similarity(
            scale=self.scale * first.scale,
            angle=self.angle + first.angle,
            translation=self.transform(first.translation[:, None])[:, 0],
        )

    def inverse(self) -> Similarity:
        """The similarity that undoes this one."""
        turn = Similarity(1 / self.scale, -self.angle, torch.zeros_like(self.translation))
        return replace(turn, translation=-turn.transform(self.translation[:, None])[:, 0])


@dataclass(frozen=True, eq=False)
class Pinhole(_TensorRecord):
    """A perspective camera: x_cam = rotation · x + translation (mm), pixel = intrinsics · x_cam / depth.

    `intrinsics` has last row (0, 0, 1); its upper left 2×2 holds the focal lengths in pixels and, in a turned
    crop, the turn. So a crop never touches where the camera stands.
    """

    rotation: Float[Tensor, "B 3 3"]
    translation: Float[Tensor, "B 3"]
    intrinsics: Float[Tensor, "B 3 3"]

    perspective: ClassVar[bool] = True

    @classmethod
    def from_focal(
        cls,
        *,
        rotation: Float[Tensor, "B 3 3"],
        translation: Float[Tensor, "B 3"],
        focal: Float[Tensor, "#B"] | Float[Tensor, "#B 2"],
        centre: Float[Tensor, "#B 2"],
    ) -> Pinhole:
        """A camera with upright pixels from focal length(s) and principal point in pixels."""
        n = len(rotation)
        focal = (focal[:, None] if focal.ndim == 1 else focal).expand(n, 2)
        intrinsics = _homogeneous(torch.diag_embed(focal), centre.expand(n, 2))
        return cls(rotation, translation, intrinsics)

    @property
    def focal(self) -> Float[Tensor, "B"]:
        """Focal length in pixels: the geometric mean over the two axes, blind to a turned crop."""
        return torch.linalg.det(self.intrinsics[:, :2, :2]).abs().sqrt()

    @property
    def centre(self) -> Float[Tensor, "B 2"]:
        """The principal point in pixels."""
        return self.intrinsics[:, :2, 2]

    @property
    def position(self) -> Float[Tensor, "B 3"]:
        """Where the camera stands, in the head frame, mm."""
        return -(self.rotation.mT @ self.translation[..., None])[..., 0]

    def to_camera_frame(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Head frame → camera frame, mm."""
        return points @ self.rotation.mT + self.translation[:, None]

    def project(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 2"]:
        """Head-frame points in mm → pixels. Meaningless for points at or behind the camera (`depth` ≤ 0)."""
        return self.project_with_depth(points)[..., :2]

    def depth(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N"]:
        """Head-frame points in mm → distance along the viewing axis, mm; positive in front of the camera."""
        return (points @ self.rotation[:, 2, :, None])[..., 0] + self.translation[:, None, 2]

    def project_with_depth(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Head-frame points in mm → (x px, y px, depth mm)."""
        seen = self.to_camera_frame(points)
        depth = seen[..., 2:]
        linear, centre = self.intrinsics[:, :2, :2], self.intrinsics[:, None, :2, 2]
        return torch.cat([(seen[..., :2] / depth) @ linear.mT + centre, depth], -1)

    def unproject(self, pixels: Float[Tensor, "#B N 2"], depth: Float[Tensor, "#B N"]) -> Float[Tensor, "B N 3"]:
        """Pixels with depth in mm → head-frame points in mm; undoes `project_with_depth`."""
        linear, centre = self.intrinsics[:, :2, :2], self.intrinsics[:, None, :2, 2]
        plane = (pixels - centre) @ torch.linalg.inv(linear).mT
        seen = torch.cat([plane, torch.ones_like(plane[..., :1])], -1) * depth[..., None]
        return (seen - self.translation[:, None]) @ self.rotation

    def towards(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Unit vectors from head-frame points to the camera."""
        return torch.nn.functional.normalize(self.position[:, None] - points, dim=-1)

    def apply(self, similarity: Similarity) -> Pinhole:
        """The camera whose pixels are this camera's pixels moved by `similarity`. It stands where this one does."""
        intrinsics = similarity.matrix @ self.intrinsics
        n = len(intrinsics)
        return Pinhole(self.rotation.expand(n, 3, 3), self.translation.expand(n, 3), intrinsics)


@dataclass(frozen=True, eq=False)
class WeakPerspective(_TensorRecord):
    """A scaled orthographic camera: pixel = scale · (rotation · x)[:2] + translation, scale in pixels per mm.

    `depth` is (rotation · x)[2]: it orders points, growing away from the viewer; where it is 0 means nothing.
    """

    rotation: Float[Tensor, "B 3 3"]
    scale: Float[Tensor, "B"]
    translation: Float[Tensor, "B 2"]

    perspective: ClassVar[bool] = False

    def project(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 2"]:
        """Head-frame points in mm → pixels."""
        return self.project_with_depth(points)[..., :2]

    def depth(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N"]:
        """Head-frame points in mm → depth in mm, of either sign, growing away from the viewer."""
        return (points @ self.rotation[:, 2, :, None])[..., 0]

    def project_with_depth(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Head-frame points in mm → (x px, y px, depth mm)."""
        seen = points @ self.rotation.mT
        plane = seen[..., :2] * self.scale[:, None, None] + self.translation[:, None]
        return torch.cat([plane, seen[..., 2:]], -1)

    def unproject(self, pixels: Float[Tensor, "#B N 2"], depth: Float[Tensor, "#B N"]) -> Float[Tensor, "B N 3"]:
        """Pixels with depth in mm → head-frame points in mm; undoes `project_with_depth`."""
        plane = (pixels - self.translation[:, None]) / self.scale[:, None, None]
        return torch.cat([plane, depth[..., None].expand_as(plane[..., :1])], -1) @ self.rotation

    def towards(self, points: Float[Tensor, "#B N 3"]) -> Float[Tensor, "B N 3"]:
        """Unit vectors from head-frame points to the viewer: the same for all."""
        return -self.rotation[:, None, 2].expand(-1, points.shape[1], -1)

    def apply(self, similarity: Similarity) -> WeakPerspective:
        """The camera whose pixels are this camera's pixels moved by `similarity`.

        An orthographic view turned in its plane is the view of a camera rolled about its axis, so the turn
        goes into `rotation`.
        """
        turn = replace(similarity, scale=torch.ones_like(similarity.scale)).linear
        roll = _homogeneous(turn, torch.zeros_like(similarity.translation))
        return WeakPerspective(
            rotation=roll @ self.rotation,
            scale=similarity.scale * self.scale,
            translation=similarity.transform(self.translation[:, None])[:, 0],
        )


def _homogeneous(linear: Float[Tensor, "*B 2 2"], shift: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 3 3"]:
    last = shift.new_tensor([0.0, 0.0, 1.0]).expand(*shift.shape[:-1], 1, 3)
    return torch.cat([torch.cat([linear, shift[..., None]], -1), last], -2)
