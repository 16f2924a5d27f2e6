"""What a GLB file holds, as plain arrays in the project's own conventions (head frame, mm, uv from the bottom left)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from likeness.errors import InputError


@dataclass(frozen=True)
class GlbImage:
    """An encoded PNG or JPEG picture."""

    data: bytes
    mime_type: Literal["image/png", "image/jpeg"] = "image/png"

    @classmethod
    def from_pixels(
        cls, pixels: UInt8[np.ndarray, "H W C"], *, encoding: Literal["png", "jpeg"] = "png", quality: int = 92
    ) -> "GlbImage":
        """Encode `(H, W, 3)`, or `(H, W, 4)` as PNG only; `quality` (1-95) is JPEG's. Raises `InputError`."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
            raise InputError(
                f"A texture is (H, W, 3) or (H, W, 4) uint8, not {pixels.shape} {pixels.dtype}; convert it first."
            )
        if encoding == "jpeg" and pixels.shape[2] == 4:
            raise InputError("JPEG holds no transparency; encode this texture as PNG or drop its alpha channel.")
        buffer = BytesIO()
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if encoding == "jpeg":
            image.save(buffer, "JPEG", quality=quality, subsampling=0)
            return cls(buffer.getvalue(), "image/jpeg")
        image.save(buffer, "PNG", compress_level=6)
        return cls(buffer.getvalue(), "image/png")


@dataclass(frozen=True)
class GlbMaterial:
    """A metallic-roughness material without metal. `base_colour` is linear RGBA and multiplies the image (sRGB)."""

    name: str
    base_colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    base_colour_image: GlbImage | None = None
    normal_image: GlbImage | None = None
    """Tangent space, +y up (OpenGL), linear."""
    roughness: float = 0.6
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    double_sided: bool = False


@dataclass(frozen=True)
class GlbPart:
    """Triangles under one material: skin, an eye, teeth. Corners index the model's vertices, and its uv apart."""

    name: str
    triangles: Int32[np.ndarray, "T 3"]
    material: GlbMaterial
    uv_triangles: Int32[np.ndarray, "T 3"] | None = None


@dataclass(frozen=True)
class GlbJoint:
    """A joint at rest: its axes are parallel to the head frame's. `parent` is an earlier joint's index, or None."""

    name: str
    position: tuple[float, float, float]
    """Head frame, mm."""
    parent: int | None = None


@dataclass(frozen=True)
class GlbAnimation:
    """Morph weights and joint rotations over time, linearly interpolated."""

    name: str
    times: Float32[np.ndarray, "K"]
    """Seconds, strictly increasing, from 0 or later."""
    morph_weights: Float32[np.ndarray, "K M"] | None = None
    joint_rotations: Mapping[str, Float32[np.ndarray, "K 4"]] = field(default_factory=dict)
    """By joint name: unit quaternions (x, y, z, w), relative to the parent joint."""


@dataclass(frozen=True)
class GlbPayload:
    """Bytes that ride along for readers who know them (key displacement maps, say); others skip them."""

    data: bytes
    mime_type: str = "application/octet-stream"


@dataclass(frozen=True)
class GlbModel:
    """A rig in one mesh. Vertices are shared by the parts; uv seams are cut only when the file is written."""

    name: str
    vertices: Float32[np.ndarray, "V 3"]
    normals: Float32[np.ndarray, "V 3"]
    """Unit length."""
    parts: tuple[GlbPart, ...]
    uv: Float32[np.ndarray, "U 2"] | None = None
    joints: tuple[GlbJoint, ...] = ()
    skin_weights: Float32[np.ndarray, "V J"] | None = None
    """Not negative, with a positive sum per vertex; the file keeps the four largest of each, renormalised."""
    morph_names: tuple[str, ...] = ()
    morph_deltas: Float32[np.ndarray, "M V 3"] | None = None
    """mm, added to `vertices`."""
    morph_normal_deltas: Float32[np.ndarray, "M V 3"] | None = None
    """Added to `normals`."""
    morph_weights: Float32[np.ndarray, "M"] | None = None
    """Weights at rest; zero when None."""
    animations: tuple[GlbAnimation, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    """JSON for other programs, kept in the file's `extras`."""
    payloads: Mapping[str, GlbPayload] = field(default_factory=dict)


def check_model(model: GlbModel) -> None:
    """Raise `InputError` unless every shape, index and number of a model fits the others."""
    n_vertices, n_joints, n_morphs = len(model.vertices), len(model.joints), len(model.morph_names)
    if not model.parts or n_vertices == 0:
        raise InputError(f"The GLB model {model.name!r} has no parts or no vertices; give at least one triangle.")
    _check_array("vertices", model.vertices, (n_vertices, 3))
    _check_array("normals", model.normals, (n_vertices, 3))
    if model.uv is not None:
        _check_array("uv", model.uv, (len(model.uv), 2))
    for part in model.parts:
        _check_part(part, n_vertices, None if model.uv is None else len(model.uv))
    _check_together("joints", n_joints, model.skin_weights, (n_vertices, n_joints))
    _check_together("morph_names", n_morphs, model.morph_deltas, (n_morphs, n_vertices, 3))
    if model.morph_normal_deltas is not None:
        _check_array("morph_normal_deltas", model.morph_normal_deltas, (n_morphs, n_vertices, 3))
    if model.morph_weights is not None:
        _check_array("morph_weights", model.morph_weights, (n_morphs,))
    _check_joints(model)
    for animation in model.animations:
        _check_animation(animation, model)


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise InputError(f"GLB {name} have shape {array.shape}, expected {shape}.")
    if not (np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all()):
        raise InputError(f"GLB {name} must be finite floats; mend the NaN or infinite values in them.")


def _check_together(names: str, count: int, array: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if (count > 0) != (array is not None):
        raise InputError(f"GLB {names} and their array of shape {shape} come together; give both or none.")
    if array is not None:
        _check_array(f"values for {names}", array, shape)


def _check_part(part: GlbPart, n_vertices: int, n_uv: int | None) -> None:
    _check_indices(f"triangles of {part.name!r}", part.triangles, n_vertices)
    if part.uv_triangles is None:
        return
    if n_uv is None:
        raise InputError(f"GLB part {part.name!r} has uv triangles but the model has no uv; give both or none.")
    _check_indices(f"uv triangles of {part.name!r}", part.uv_triangles, n_uv)
    if part.uv_triangles.shape != part.triangles.shape:
        raise InputError(
            f"GLB part {part.name!r} has {len(part.triangles)} triangles and {len(part.uv_triangles)} uv triangles; "
            "expected as many."
        )


def _check_indices(name: str, indices: np.ndarray, limit: int) -> None:
    if indices.ndim != 2 or indices.shape[1] != 3 or len(indices) == 0 or not np.issubdtype(indices.dtype, np.integer):
        raise InputError(f"GLB {name} have shape {indices.shape} {indices.dtype}, expected integers (T, 3), T > 0.")
    if indices.min() < 0 or indices.max() >= limit:
        raise InputError(f"GLB {name} reach from {indices.min()} to {indices.max()}, expected 0 to {limit - 1}.")


def _check_joints(model: GlbModel) -> None:
    names = [joint.name for joint in model.joints]
    if len(set(names)) < len(names) or len(set(model.morph_names)) < len(model.morph_names):
        raise InputError("GLB joints and morph targets need different names; rename the doubled ones.")
    for i, joint in enumerate(model.joints):
        if joint.parent is not None and not 0 <= joint.parent < i:
            raise InputError(f"GLB joint {joint.name!r} names {joint.parent} as parent; parents come first, from 0.")
        _check_array(f"position of joint {joint.name!r}", np.asarray(joint.position, np.float64), (3,))
    weights = model.skin_weights
    if weights is not None and (weights.min() < 0 or weights.sum(axis=1).min() <= 0):
        raise InputError("GLB skin weights must not be negative, and each vertex needs a positive one.")


def _check_animation(animation: GlbAnimation, model: GlbModel) -> None:
    times, name = animation.times, f"animation {animation.name!r}"
    _check_array(f"times of {name}", times, (len(times),))
    if len(times) == 0 or times[0] < 0 or (np.diff(times.astype(np.float32)) <= 0).any():
        raise InputError(f"GLB {name}: times must increase from 0 or later (in single precision).")
    if animation.morph_weights is None and not animation.joint_rotations:
        raise InputError(f"GLB {name} moves nothing; give morph weights or joint rotations.")
    if animation.morph_weights is not None:
        if not model.morph_names:
            raise InputError(f"GLB {name} has morph weights but the model has no morph targets.")
        _check_array(f"morph weights of {name}", animation.morph_weights, (len(times), len(model.morph_names)))
    joint_names = {joint.name for joint in model.joints}
    for joint, rotations in animation.joint_rotations.items():
        if joint not in joint_names:
            raise InputError(f"GLB {name} turns a joint {joint!r} that the model does not have.")
        _check_array(f"rotations of {joint!r} in {name}", rotations, (len(times), 4))
        if np.abs(np.linalg.norm(rotations, axis=1) - 1).max() > 1e-3:
            raise InputError(f"GLB {name}: rotations of {joint!r} must be unit quaternions (x, y, z, w).")
