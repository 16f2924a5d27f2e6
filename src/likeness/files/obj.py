"""Wavefront OBJ with its MTL and texture: polygons of three and four corners, each index list kept apart."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8

from likeness.atomic import write_text
from likeness.errors import InputError
from likeness.files.mtl import ObjMaterial, one_word, write_mtl
from likeness.topology import Mesh


@dataclass(frozen=True, eq=False)
class ObjMesh:
    """What an OBJ file holds. Faces are `(F, 4)` indices; a triangle's last one is -1."""

    vertices: Float32[np.ndarray, "V 3"]
    faces: Int32[np.ndarray, "F 4"]
    colours: Float32[np.ndarray, "V 3"] | None = None
    """Written after each position, as MeshLab and Blender do."""
    uv: Float32[np.ndarray, "U 2"] | None = None
    uv_faces: Int32[np.ndarray, "F 4"] | None = None
    """-1 for all corners of a face that has no uv."""
    normals: Float32[np.ndarray, "N 3"] | None = None
    normal_faces: Int32[np.ndarray, "F 4"] | None = None
    groups: Mapping[str, Int[np.ndarray, "G"]] = field(default_factory=dict)
    """Faces by group name; a face is in one group at most."""
    materials: tuple[ObjMaterial, ...] = ()
    face_materials: Int32[np.ndarray, "F"] | None = None
    """Index into `materials`, or -1."""

    @property
    def triangles(self) -> Int32[np.ndarray, "T 3"]:
        """All faces as triangles, quads split along their first diagonal."""
        return _triangulated(self.faces, self.faces)

    @property
    def uv_triangles(self) -> Int32[np.ndarray, "T 3"] | None:
        """The uv corners of `triangles`."""
        return None if self.uv_faces is None else _triangulated(self.uv_faces, self.faces)


def write_obj(
    path: str | os.PathLike,
    mesh: Mesh,
    *,
    texture: UInt8[np.ndarray, "H W 3"] | None = None,
    texture_name: str = "albedo.png",
    material: str = "skin",
) -> None:
    """Write a mesh: quads where its topology has them, triangles elsewhere, uv and colours where there are any.

    With a texture, an MTL of the same name and the texture as PNG are written beside it. Raises `InputError`,
    `OutputError`.
    """
    faces, uv_faces = _faces(mesh)
    materials = () if texture is None else (ObjMaterial(material, texture=texture, texture_name=texture_name),)
    write_obj_mesh(
        path,
        ObjMesh(
            vertices=mesh.vertices.astype(np.float32),
            faces=faces,
            colours=None if mesh.colours is None else mesh.colours.astype(np.float32),
            uv=None if mesh.topology.uv is None else mesh.topology.uv.astype(np.float32),
            uv_faces=uv_faces,
            materials=materials,
            face_materials=np.zeros(len(faces), np.int32) if materials else None,
        ),
    )


def write_obj_mesh(path: str | os.PathLike, mesh: ObjMesh) -> None:
    """Write an OBJ file, and its materials beside it if it has any. Raises `InputError`, `OutputError`."""
    _check(mesh)
    path = Path(path)
    text = ""
    if mesh.materials:
        library = path.with_suffix(".mtl")
        write_mtl(library, mesh.materials)  # first: whoever sees the OBJ finds all it names
        text = f"mtllib {library.name}\n"
    rows = mesh.vertices if mesh.colours is None else np.concatenate([mesh.vertices, mesh.colours], axis=1)
    text += _number_lines("v", rows)
    text += "" if mesh.uv is None else _number_lines("vt", mesh.uv)
    text += "" if mesh.normals is None else _number_lines("vn", mesh.normals)
    write_text(path, text + _face_lines(mesh))


# --- from a topology ------------------------------------------------------------------------------------------------


def _faces(mesh: Mesh) -> tuple[Int32[np.ndarray, "F 4"], Int32[np.ndarray, "F 4"] | None]:
    """Quads, then those triangles that no quad covers; and their uv corners."""
    topology = mesh.topology
    triangles, quads = topology.triangles, topology.quads
    uv_triangles, uv_quads = (topology.uv_triangles, topology.uv_quads) if topology.uv is not None else (None, None)
    if quads is None or (uv_triangles is not None and uv_quads is None):
        return _padded(triangles), None if uv_triangles is None else _padded(uv_triangles)
    n_vertices = len(mesh.vertices)
    order = _split_as(triangles, quads, n_vertices)
    halves = np.concatenate([np.delete(quads, corner, axis=1) for corner in range(4)])
    alone = ~np.isin(_keys(triangles, n_vertices), _keys(halves, n_vertices))
    faces = np.concatenate([np.take_along_axis(quads, order, axis=1), _padded(triangles[alone])]).astype(np.int32)
    if uv_triangles is None or uv_quads is None:
        return faces, None
    uv_corners = [np.take_along_axis(uv_quads, order, axis=1), _padded(uv_triangles[alone])]
    return faces, np.concatenate(uv_corners).astype(np.int32)


def _split_as(
    triangles: Int[np.ndarray, "T 3"], quads: Int[np.ndarray, "Q 4"], n_vertices: int
) -> Int[np.ndarray, "Q 4"]:
    """The order of each quad's corners in which its first three are one of the triangles.

    Readers split a quad between its first and third corner; bent quads then give the surface that the triangles do.
    """
    as_given = np.isin(_keys(quads[:, :3], n_vertices), _keys(triangles, n_vertices))
    return np.where(as_given[:, None], [0, 1, 2, 3], [1, 2, 3, 0])


def _keys(triangles: Int[np.ndarray, "T 3"], n_vertices: int) -> np.ndarray:
    """One number per set of three vertices."""
    low, middle, high = np.sort(triangles.astype(np.uint64), axis=1).T
    return (low * np.uint64(n_vertices) + middle) * np.uint64(n_vertices) + high


def _padded(triangles: Int[np.ndarray, "T 3"]) -> Int32[np.ndarray, "T 4"]:
    return np.pad(triangles, ((0, 0), (0, 1)), constant_values=-1).astype(np.int32)


def _triangulated(corners: Int32[np.ndarray, "F 4"], faces: Int32[np.ndarray, "F 4"]) -> Int32[np.ndarray, "T 3"]:
    """First and second half of each quad one after the other, so that triangles stay in the order of the faces."""
    halves = np.stack([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]], axis=1)
    exists = np.stack([np.ones(len(faces), bool), faces[:, 3] >= 0], axis=1)
    return halves[exists]


# --- text -----------------------------------------------------------------------------------------------------------


def _number_lines(keyword: str, rows: Float[np.ndarray, "N C"]) -> str:
    """Nine digits bring every 32-bit float back exactly."""
    return _lines(keyword + " %.9g" * rows.shape[1], rows.astype(np.float64))


def _lines(pattern: str, rows: np.ndarray) -> str:
    """All rows by one formatting operation, which is several times faster than one for each."""
    return (pattern + "\n") * len(rows) % tuple(rows.reshape(-1).tolist())


def _face_lines(mesh: ObjMesh) -> str:
    """Runs of faces of one group, material and kind; a kind is how many corners there are and what each names."""
    n_faces = len(mesh.faces)
    is_quad = mesh.faces[:, 3] >= 0
    has_uv, has_normals = (_has_corners(faces, is_quad) for faces in (mesh.uv_faces, mesh.normal_faces))
    groups, group_names = _face_groups(mesh)
    materials = np.full(n_faces, -1) if mesh.face_materials is None else mesh.face_materials
    kinds = np.stack([is_quad, has_uv, has_normals, groups, materials], axis=1)
    starts = np.flatnonzero((np.diff(kinds, axis=0, prepend=kinds[:1] - 1) != 0).any(axis=1)).tolist()
    text, group, material = [], -1, -1
    for start, end in zip(starts, [*starts[1:], n_faces], strict=True):
        if groups[start] != group:
            group = int(groups[start])
            text.append(f"g {group_names[group]}\n" if group >= 0 else "g\n")
        if materials[start] != material:
            material = int(materials[start])
            text.append(f"usemtl {one_word(mesh.materials[material].name)}\n" if material >= 0 else "usemtl\n")
        text.append(_run(mesh, start, end, 4 if is_quad[start] else 3, has_uv[start], has_normals[start]))
    return "".join(text)


def _run(mesh: ObjMesh, start: int, end: int, n_corners: int, has_uv: bool, has_normals: bool) -> str:
    """`vertex`, `vertex/uv`, `vertex//normal` or `vertex/uv/normal` per corner, counted from 1."""
    named = [mesh.faces, mesh.uv_faces if has_uv else None, mesh.normal_faces if has_normals else None]
    corners = np.stack([faces[start:end, :n_corners] for faces in named if faces is not None], axis=-1) + 1
    corner = {(False, False): " %d", (True, False): " %d/%d", (False, True): " %d//%d", (True, True): " %d/%d/%d"}
    return _lines("f" + corner[bool(has_uv), bool(has_normals)] * n_corners, corners)


def _has_corners(faces: Int32[np.ndarray, "F 4"] | None, is_quad: np.ndarray) -> np.ndarray:
    if faces is None:
        return np.zeros(len(is_quad), bool)
    return (faces[:, :3] >= 0).all(axis=1) & (~is_quad | (faces[:, 3] >= 0))


def _face_groups(mesh: ObjMesh) -> tuple[Int[np.ndarray, "F"], list[str]]:
    groups = np.full(len(mesh.faces), -1)
    for i, faces in enumerate(mesh.groups.values()):
        groups[faces] = i
    return groups, [one_word(name) for name in mesh.groups]


# --- checks ---------------------------------------------------------------------------------------------------------


def _check(mesh: ObjMesh) -> None:
    n_faces = len(mesh.faces)
    for name, rows, width in (
        ("vertices", mesh.vertices, 3),
        ("colours", mesh.colours, 3),
        ("uv", mesh.uv, 2),
        ("normals", mesh.normals, 3),
    ):
        if rows is not None and (rows.ndim != 2 or rows.shape[1] != width or not np.isfinite(rows).all()):
            raise InputError(f"OBJ {name} must be finite and of shape (n, {width}), not {rows.shape}; mend them.")
    if mesh.colours is not None and len(mesh.colours) != len(mesh.vertices):
        raise InputError(f"OBJ colours are {len(mesh.colours)} for {len(mesh.vertices)} vertices; give as many.")
    _check_faces("faces", mesh.faces, n_faces, len(mesh.vertices), lowest=0)
    for name, faces, rows in (("uv", mesh.uv_faces, mesh.uv), ("normal", mesh.normal_faces, mesh.normals)):
        if faces is not None:
            _check_faces(f"{name} faces", faces, n_faces, 0 if rows is None else len(rows), lowest=-1)
    materials = mesh.face_materials
    if materials is not None and (materials.shape != (n_faces,) or materials.max(initial=-1) >= len(mesh.materials)):
        raise InputError("OBJ face materials must name one of the materials, or -1, for each face.")
    if any(len(faces) and (faces.min() < 0 or faces.max() >= n_faces) for faces in mesh.groups.values()):
        raise InputError("OBJ groups must name faces that there are.")


def _check_faces(name: str, faces: np.ndarray, n_faces: int, limit: int, *, lowest: int) -> None:
    if faces.shape != (n_faces, 4):
        raise InputError(f"OBJ {name} have shape {faces.shape}, expected ({n_faces}, 4) with -1 ending a triangle.")
    if n_faces and (faces[:, :3].min() < lowest or faces.min() < -1 or faces.max() >= limit):
        raise InputError(f"OBJ {name} reach from {faces.min()} to {faces.max()}, expected 0 to {limit - 1}.")
