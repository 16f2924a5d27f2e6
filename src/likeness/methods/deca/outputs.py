"""The files that users of the original DECA know, under its names, in its units (metres, the posed head).

``NAME_vis.jpg`` and ``NAME_vis_original_size.jpg`` beside a folder ``NAME`` with the rest. What the original got wrong
is mended: its material names no file on the author's disk, and its detailed mesh has a UV chart.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from likeness.atomic import atomic_folder, write_bytes, write_text
from likeness.errors import InputError
from likeness.files.maps import write_image
from likeness.files.mat import write_mat
from likeness.files.mtl import ObjMaterial
from likeness.files.obj import ObjMesh, write_obj_mesh
from likeness.methods.deca.detail import dense_mesh
from likeness.methods.deca.geometry import DecaCode
from likeness.methods.deca.method import Decoded
from likeness.methods.deca.networks import IMAGE_SIZE
from likeness.methods.deca.sheets import draw_columns, draw_frame, sheet, to_uint8

# A grid of the whole photo is no taller than this.
_TALLEST = 1024
# What DECA calls the parts of a code.
_OFFICIAL_CODES = {
    "shape": "shape",
    "texture": "tex",
    "expression": "exp",
    "camera": "cam",
    "light": "light",
    "detail": "detail",
}


def write_outputs(folder: str | Path, name: str, decoded: Decoded, kinds: Collection[str] | None = None) -> list[Path]:
    """Write the named kinds of files (all of `KINDS` if None) into a folder. Returns the files' paths.

    The detailed mesh is among them where its template is installed. Raises InputError on an unknown kind, OutputError
    when a file cannot be written; then nothing new is left behind.
    """
    kinds = KINDS if kinds is None else kinds
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise InputError(f"unknown output '{unknown[0]}'; DECA writes {', '.join(KINDS)}.")
    folder = Path(folder)
    with atomic_folder(folder) as temporary:
        (temporary / name).mkdir()
        for kind in KINDS:
            if kind in kinds:
                KINDS[kind](temporary, name, decoded)
        if not any((temporary / name).iterdir()):
            (temporary / name).rmdir()
        written = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
    return [folder / path for path in written]


def _write_grids(folder: Path, name: str, decoded: Decoded) -> None:
    height = min(decoded.photo.size[0], _TALLEST)
    write_jpeg(folder / f"{name}_vis.jpg", sheet(draw_columns(decoded), height=IMAGE_SIZE))
    whole = draw_columns(decoded, whole_photo=True)
    write_jpeg(folder / f"{name}_vis_original_size.jpg", sheet(whole, height=height))


def _write_landmarks(folder: Path, name: str, decoded: Decoded) -> None:
    """In [-1, 1] over the crop; the three-dimensional ones with their visibility, 0 or 1."""
    geometry = decoded.geometry
    flat = geometry.landmarks_contour_image[0].cpu().numpy()
    solid = np.column_stack([geometry.landmarks_fixed_image[0].cpu(), geometry.landmarks_visible[0].cpu()])
    for ending, table in (("kpt2d", flat), ("kpt3d", solid)):
        lines = io.StringIO()
        np.savetxt(lines, table.astype(np.float64))
        write_text(folder / name / f"{name}_{ending}.txt", lines.getvalue())


def _write_meshes(folder: Path, name: str, decoded: Decoded) -> None:
    model, target = decoded.model, folder / name
    texture = to_uint8(decoded.textures.combined)
    faces, uv_faces = (_padded(indices.cpu().numpy()) for indices in (model.triangles, model.uv_triangles))
    mesh = ObjMesh(
        vertices=decoded.geometry.vertices[0].cpu().numpy().astype(np.float32),
        faces=faces,
        uv=model.uv.cpu().numpy(),
        uv_faces=uv_faces,
        materials=(ObjMaterial("FaceTexture", texture=texture, texture_name=f"{name}.png"),),
        face_materials=np.zeros(len(faces), np.int32),
    )
    write_obj_mesh(target / f"{name}.obj", mesh)
    write_image(target / f"{name}_normals.png", to_uint8(decoded.detail.normals * 0.5 + 0.5))
    if model.dense is not None:
        write_obj_mesh(target / f"{name}_detail.obj", _detailed(decoded))


def _detailed(decoded: Decoded) -> ObjMesh:
    dense = dense_mesh(decoded.model, decoded.geometry, decoded.detail.displacement[0], decoded.textures.combined[0])
    faces = _padded(dense.triangles.numpy())
    return ObjMesh(
        vertices=dense.vertices.numpy().astype(np.float32),
        faces=faces,
        colours=dense.colours.numpy().astype(np.float32),
        uv=dense.uv.numpy().astype(np.float32),
        uv_faces=faces,
    )


def _write_matlab(folder: Path, name: str, decoded: Decoded) -> None:
    """Every number of the decoded face under the original's names."""
    geometry, detail, textures = decoded.geometry, decoded.detail, decoded.textures
    pictures = draw_frame(decoded, decoded.crop)
    solid = np.column_stack([geometry.landmarks_fixed_image[0].cpu(), geometry.landmarks_visible[0].cpu()])
    tensors = {
        "verts": geometry.vertices,
        "trans_verts": geometry.vertices_image,
        "normals": geometry.normals,
        "landmarks2d": geometry.landmarks_contour_image,
        "landmarks3d_world": geometry.landmarks_fixed,
        "displacement_map": detail.displacement,
        "uv_detail_normals": detail.normals,
        "uv_texture": textures.lit,
        "uv_texture_gt": textures.combined,
        "albedo": textures.albedo,
        "grid": pictures.buffers.grid,
        "alpha_images": pictures.buffers.coverage,
        "normal_images": pictures.normals,
        "rendered_images": pictures.rendered,
        **_official_code(decoded.code),
    }
    arrays = {key: value[0].cpu().numpy() for key, value in tensors.items() if value is not None}
    write_mat(folder / name / f"{name}.mat", arrays | {"landmarks3d": solid.astype(np.float32)})


def _official_code(code: DecaCode) -> dict[str, torch.Tensor]:
    named = {theirs: getattr(code, ours) for ours, theirs in _OFFICIAL_CODES.items()}
    return named | {"pose": torch.cat([code.root, code.jaw], 1)}


def _write_depth(folder: Path, name: str, decoded: Decoded) -> None:
    depth = draw_frame(decoded, decoded.crop).depth.expand(-1, 3, -1, -1)
    write_jpeg(folder / name / f"{name}_depth.jpg", to_uint8(depth))


def _write_pictures(folder: Path, name: str, decoded: Decoded) -> None:
    for whole_photo, prefix in ((False, ""), (True, "orig_")):
        for column, picture in draw_columns(decoded, whole_photo=whole_photo).items():
            write_jpeg(folder / name / f"{prefix}{name}_{column}.jpg", picture)


def write_jpeg(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a picture as JPEG of high quality. Raises OutputError."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=95, subsampling=0)
    write_bytes(path, buffer.getvalue())


def _padded(triangles: np.ndarray) -> np.ndarray:
    return np.pad(triangles.astype(np.int32), ((0, 0), (0, 1)), constant_values=-1)


KINDS: dict[str, Callable[[Path, str, Decoded], None]] = {
    "vis": _write_grids,
    "kpt": _write_landmarks,
    "obj": _write_meshes,
    "mat": _write_matlab,
    "depth": _write_depth,
    "images": _write_pictures,
}
