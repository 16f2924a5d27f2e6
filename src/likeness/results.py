"""The folder a reconstruction leaves behind. Other programs rely on these names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likeness.atomic import write_text
from likeness.cameras import Pinhole
from likeness.displaced import displaced_surface
from likeness.face import Face
from likeness.files.maps import write_depth, write_displacement, write_exr, write_image
from likeness.files.obj import ObjMaterial, ObjMesh, write_obj, write_obj_mesh
from likeness.files.ply import PlyMesh, write_ply, write_ply_mesh
from likeness.landmarks.conventions import to_five
from likeness.methods import Photo
from likeness.normal_maps import normals_to_picture, tangent_normals
from likeness.portraits import depth_of, overview

_CONVENTIONS = ("ibug68", "mediapipe478", "five")
DEPTH_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Millimetres a step of depth.png: the first that reaches the head. 16 bit reach 6.5 m at the first."""
DISPLACEMENT_SCALE = 0.0005
"""Millimetres a step of displacement.png, whose middle step stands for 0; 16 bit then reach ±16 mm."""
DISPLACEMENT_OFFSET = -32768 * DISPLACEMENT_SCALE
# Two cuts of each edge would leave triangles wider than a wrinkle; three are half a millimetre.
_DETAIL_SUBDIVISIONS = 3


def write_result(folder: Path, photo: Photo, face: Face, formats: Sequence[str]) -> None:
    """Everything asked for, into an existing folder."""
    write_meshes(folder, face, formats)
    depth = depth_of(face) if "depth" in formats else None
    if depth is not None:
        write_depth(folder / "depth.png", depth, scale=_depth_scale(face))
    if "landmarks" in formats:
        _write_json(folder / "landmarks.json", landmarks_record(face))
    if "parameters" in formats:
        _write_json(folder / "parameters.json", parameters_record(face))
    if "overview" in formats:
        write_image(folder / "overview.png", overview(photo.pixels, face))


def _depth_scale(face: Face) -> float:
    """By the farthest vertex, so that a face far away costs steps and not the result."""
    farthest = float(face.camera.project_with_depth(face.vertices[None])[..., 2].max())
    return next((scale for scale in DEPTH_SCALES if farthest < 65535 * scale), DEPTH_SCALES[-1])


def write_meshes(folder: Path, face: Face, formats: Sequence[str]) -> None:
    """The Face file, meshes and rig among ``formats``."""
    for name, write in _MESH_WRITERS.items():
        if name in formats:
            write(folder, face)


def _write_obj(folder: Path, face: Face) -> None:
    write_obj(folder / "head.obj", face.mesh(), texture=face.albedo_image(), texture_name="albedo.png")
    write_obj(folder / "neutral.obj", face.neutral().mesh())


def write_maps(folder: Path, face: Face) -> None:
    """Displacement as float EXR and as 16-bit PNG, and the normal map of the Face as it is; nothing without relief."""
    if face.displacement is None:
        return
    displacement = face.displacement.detach().cpu()
    write_exr(folder / "displacement.exr", displacement.numpy())
    scale = {"scale": DISPLACEMENT_SCALE, "offset": DISPLACEMENT_OFFSET}
    write_displacement(folder / "displacement.png", displacement.numpy(), **scale)
    normals = tangent_normals(displacement, face.vertices.detach().cpu(), face.head.topology)
    write_image(folder / "normal.png", normals_to_picture(normals))


def write_detailed_mesh(folder: Path, face: Face) -> None:
    """The surface cut finer and displaced, as in the photo: OBJ with UVs and texture, PLY with normals."""
    surface = displaced_surface(face, n_subdivisions=_DETAIL_SUBDIVISIONS)
    points, normals, uv = (part.detach().cpu().numpy() for part in (surface.vertices, surface.normals, surface.uv))
    triangles = surface.triangles.cpu().numpy().astype(np.int32)
    write_ply_mesh(folder / "head_detail.ply", PlyMesh(points, triangles, normals=normals))
    texture = face.albedo_image()
    corners = np.pad(triangles, ((0, 0), (0, 1)), constant_values=-1)
    mesh = ObjMesh(
        points,
        corners,
        uv=uv,
        uv_faces=corners,
        normals=normals,
        normal_faces=corners,
        materials=() if texture is None else (ObjMaterial("skin", texture=texture, texture_name="albedo.png"),),
        face_materials=np.full(len(corners), -1 if texture is None else 0, np.int32),
    )
    write_obj_mesh(folder / "head_detail.obj", mesh)


def _write_turntable(folder: Path, face: Face, ending: str) -> None:
    from likeness.turntable import write_turntable  # FFmpeg's libraries are loaded only for those who want a film

    write_turntable(folder / f"turntable.{ending}", face)


_MESH_WRITERS: dict[str, Callable[[Path, Face], None]] = {
    "face": lambda folder, face: face.save(folder / "face.safetensors"),
    "glb": lambda folder, face: face.rig().save(folder / "head.glb"),
    "obj": _write_obj,
    "ply": lambda folder, face: write_ply(folder / "head.ply", face.mesh()),
    "maps": write_maps,
    "detail": write_detailed_mesh,
    "turntable": lambda folder, face: _write_turntable(folder, face, "mp4"),
    "turntable.gif": lambda folder, face: _write_turntable(folder, face, "gif"),
}


def landmarks_record(face: Face) -> dict[str, Any]:
    """The landmarks of the mesh by convention, and what the detector saw."""
    record: dict[str, Any] = {}
    for convention in _conventions(face):
        points = face.landmarks(convention)
        record[convention] = {
            "image": _rounded(points.image, 3),
            "visible": points.visible.tolist(),
            "head": _rounded(points.head, 4),
            "neutral": _rounded(points.neutral, 4),
        }
    if face.detected is not None:
        detected = face.detected
        record["detected"] = {
            "convention": detected.convention,
            "score": round(float(detected.score), 4),
            "image": _rounded(detected.points[:, :2], 3),
            "five": _rounded(to_five(detected.points[:, :2], detected.convention), 3),
        }
    return record


def _conventions(face: Face) -> list[str]:
    """The conventions the head has an embedding for; `five` follows from `ibug68`."""
    known = face.head.embeddings
    return [name for name in _CONVENTIONS if name in known or (name == "five" and "ibug68" in known)]


def parameters_record(face: Face) -> dict[str, Any]:
    """What the method found, in numbers a person can read."""
    camera = face.camera
    record: dict[str, Any] = {
        "method": face.method,
        "head": {"name": face.head.name, "version": face.head.version},
        "confidence": round(face.confidence, 4),
        "residuals": {name: round(value, 4) for name, value in face.residuals.items()},
        "identity": _rounded(face.identity, 6),
        "expression": {name: round(value, 5) for name, value in face.weights.items()},
        "head_rotation": {
            "matrix": _rounded(camera.rotation[0], 7),
            "meaning": "head frame (x subject's left, y up, z out of the face) to camera (x right, y down, z forward)",
        },
        "joints": {
            name: _rounded(rotation, 6) for name, rotation in zip(face.head.joint_names, face.joints, strict=True)
        },
        "camera": _camera_record(face),
        "light": None if face.light is None else _rounded(face.light, 6),
        "depth": {"file": "depth.png", "millimetres_per_step": _depth_scale(face), "empty": 0},
        "displacement": _displacement_record(face),
        "image_size": {"width": face.image_size[1], "height": face.image_size[0]},
    }
    return record


def _displacement_record(face: Face) -> dict[str, Any] | None:
    if face.displacement is None:
        return None
    return {
        "file": "displacement.png",
        "millimetres_per_step": DISPLACEMENT_SCALE,
        "millimetres_at_0": DISPLACEMENT_OFFSET,
        "meaning": "along the smooth surface's normal, in the head's UV chart; displacement.exr holds millimetres",
        "largest": round(float(face.displacement.abs().max()), 4),
    }


def _camera_record(face: Face) -> dict[str, Any]:
    camera = face.camera
    if isinstance(camera, Pinhole):
        return {
            "kind": "pinhole",
            "intrinsics": _rounded(camera.intrinsics[0], 5),
            "focal_px": round(float(camera.focal[0]), 4),
            "centre_px": _rounded(camera.centre[0], 4),
            "translation_mm": _rounded(camera.translation[0], 4),
        }
    return {
        "kind": "weak_perspective",
        "scale_px_per_mm": round(float(camera.scale[0]), 7),
        "translation_px": _rounded(camera.translation[0], 4),
    }


def _rounded(values, digits: int) -> list:
    array = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    return np.round(array.astype(np.float64), digits).tolist()


def _write_json(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
