"""Read a GLB back into a `GlbModel`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from likeness.errors import FileFormatError, InputError
from likeness.files.glb.container import unpack
from likeness.files.glb.document import Document
from likeness.files.glb.materials import read_materials
from likeness.files.glb.model import GlbAnimation, GlbJoint, GlbMaterial, GlbModel, GlbPart, GlbPayload, check_model
from likeness.files.glb.write import METRES_PER_MM, PAYLOADS_KEY

MAX_FILE_BYTES = 1 << 30
MAX_DEPTH = 256
"""Of the tree of nodes."""
MAX_PARTS, MAX_MORPHS = 1000, 4096


def read_glb(path: str | os.PathLike) -> GlbModel:
    """A rig from a GLB file with one mesh, as `write_glb` makes it, or as other programs do with as little in it.

    Vertices that were cut at uv seams stay cut, and each part has its own. A skin is read in its bind pose. Raises
    `FileFormatError` for a file that is damaged, or that holds what a `GlbModel` cannot (several meshes, joints
    rotated at rest, curves other than linear, external or compressed buffers).
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FileFormatError(f"{path}: larger than the {MAX_FILE_BYTES:,} bytes that are read; shrink its images.")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(f"{path}: cannot be read ({reason}); check its name and permissions.") from error
    root, binary = unpack(data, str(path))
    model = _model(Document(root, binary, str(path)))
    try:
        check_model(model)
    except InputError as error:
        raise FileFormatError(f"{path}: not a GLB that can be read: {error}") from None
    return model


def _model(doc: Document) -> GlbModel:
    if required := doc.array(doc.root, "extensionsRequired"):
        doc.fail(f"it needs the extensions {required!r:.80}, of which none is read")
    node_index, node = _mesh_node(doc)
    mesh = doc.item("meshes", doc.integer(node, "mesh"))
    extras = dict(doc.object(doc.root, "extras"))
    payloads = _payloads(doc, extras)
    extras.pop(PAYLOADS_KEY, None)
    skin = _read_skin(doc, node)
    morph_names = _morph_names(doc, mesh)
    return GlbModel(
        name=doc.string(node, "name", "model"),
        joints=skin.joints,
        morph_names=morph_names,
        morph_weights=_rest_weights(doc, mesh, len(morph_names)),
        animations=tuple(
            _animation(doc, animation, node_index, skin, len(morph_names))
            for animation in doc.objects(doc.root, "animations")
        ),
        extras=extras,
        payloads=payloads,
        **_geometry(doc, mesh, skin, len(morph_names)),
    )


def _mesh_node(doc: Document) -> tuple[int, dict[str, Any]]:
    found = [(i, node) for i, node in enumerate(doc.objects(doc.root, "nodes")) if "mesh" in node]
    if len(found) != 1:
        doc.fail(f"it shows {len(found)} meshes, expected one (join them)")
    index, node = found[0]
    # The specification ignores the node's own place if there is a skin.
    if "skin" not in node and not node.keys().isdisjoint(("matrix", "translation", "rotation", "scale")):
        doc.fail("its mesh is moved, turned or scaled by its node (apply the transform)")
    return index, node


def _payloads(doc: Document, extras: dict[str, Any]) -> dict[str, GlbPayload]:
    return {
        name: GlbPayload(
            doc.copied_view(doc.integer(entry, "bufferView")), doc.string(entry, "mimeType", GlbPayload(b"").mime_type)
        )
        for name in doc.object(extras, PAYLOADS_KEY)
        for entry in [doc.object(doc.object(extras, PAYLOADS_KEY), name)]
    }


# --- geometry -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """One primitive, in the units of `GlbModel`."""

    name: str
    material: GlbMaterial
    triangles: Int32[np.ndarray, "T 3"]
    vertices: Float32[np.ndarray, "N 3"]
    normals: Float32[np.ndarray, "N 3"]
    uv: Float32[np.ndarray, "N 2"] | None
    skin_weights: Float32[np.ndarray, "N J"] | None
    morph_deltas: Float32[np.ndarray, "M N 3"] | None
    morph_normal_deltas: Float32[np.ndarray, "M N 3"] | None


def _geometry(doc: Document, mesh: dict[str, Any], skin: "_Skin", n_morphs: int) -> dict[str, Any]:
    """The primitives joined one after the other, as the fields of a `GlbModel`."""
    materials = read_materials(doc)
    primitives = doc.objects(mesh, "primitives")
    if not 0 < len(primitives) <= MAX_PARTS or n_morphs > MAX_MORPHS:
        doc.fail(f"its mesh has no primitives, more than {MAX_PARTS}, or more than {MAX_MORPHS} morph targets")
    pieces = [_piece(doc, primitive, i, materials, skin, n_morphs) for i, primitive in enumerate(primitives)]
    parts, first_vertex, first_uv = [], 0, 0
    for piece in pieces:
        uv_triangles = None if piece.uv is None else piece.triangles + np.int32(first_uv)
        parts.append(GlbPart(piece.name, piece.triangles + np.int32(first_vertex), piece.material, uv_triangles))
        first_vertex += len(piece.vertices)
        first_uv += 0 if piece.uv is None else len(piece.uv)
    uv = [piece.uv for piece in pieces if piece.uv is not None]
    fields: dict[str, Any] = {"parts": tuple(parts), "uv": np.concatenate(uv) if uv else None}
    for name, axis in (("vertices", 0), ("normals", 0), ("skin_weights", 0)):
        fields[name] = _joined([getattr(piece, name) for piece in pieces], axis)
    for name in ("morph_deltas", "morph_normal_deltas"):
        fields[name] = _joined([getattr(piece, name) for piece in pieces], 1)
    return fields


def _joined(arrays: list[np.ndarray | None], axis: int) -> np.ndarray | None:
    present = [array for array in arrays if array is not None]
    return np.concatenate(present, axis=axis) if len(present) == len(arrays) else None


def _piece(
    doc: Document, primitive: dict[str, Any], i: int, materials: list[GlbMaterial], skin: "_Skin", n_morphs: int
) -> _Piece:
    attributes = doc.object(primitive, "attributes")
    if doc.integer(primitive, "mode", 4) != 4:
        doc.fail(f"primitive {i} is not made of triangles")
    if "NORMAL" not in attributes:
        doc.fail(f"primitive {i} has no normals (switch them on)")
    positions = doc.floats(doc.integer(attributes, "POSITION"), "VEC3")
    n_rows = len(positions)
    uv = None
    if "TEXCOORD_0" in attributes:
        uv = doc.floats(doc.integer(attributes, "TEXCOORD_0"), "VEC2", n_rows=n_rows)
        uv[:, 1] = 1 - uv[:, 1]
    material = GlbMaterial("default")
    if "material" in primitive:
        index = doc.integer(primitive, "material")
        material = materials[index] if index < len(materials) else doc.fail(f"there is no materials[{index}]")
    deltas, normal_deltas = _deltas(doc, primitive, n_rows, n_morphs)
    return _Piece(
        name=doc.string(doc.object(primitive, "extras"), "name", f"part {i}"),
        material=material,
        triangles=_triangles(doc, primitive, n_rows),
        vertices=_to_mm(positions),
        normals=doc.floats(doc.integer(attributes, "NORMAL"), "VEC3", n_rows=n_rows),
        uv=uv,
        skin_weights=_skin_weights(doc, attributes, skin, n_rows) if skin.joints else None,
        morph_deltas=deltas,
        morph_normal_deltas=normal_deltas,
    )


def _to_mm(metres: np.ndarray) -> Float32[np.ndarray, "..."]:
    return (metres.astype(np.float64) / METRES_PER_MM).astype(np.float32)


def _triangles(doc: Document, primitive: dict[str, Any], n_rows: int) -> Int32[np.ndarray, "T 3"]:
    if "indices" in primitive:
        indices = doc.unsigned(doc.integer(primitive, "indices"), "SCALAR")[:, 0]
    else:
        indices = np.arange(n_rows)
    if len(indices) % 3 or indices.max() >= n_rows:
        doc.fail(f"its triangles name vertices beyond the {n_rows:,} there are, or lack a corner")
    return indices.astype(np.int32).reshape(-1, 3)


def _deltas(
    doc: Document, primitive: dict[str, Any], n_rows: int, n_morphs: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Position deltas in mm and normal deltas, both `(M, n, 3)`, or None where the file has none."""
    targets = doc.objects(primitive, "targets")
    if len(targets) != n_morphs:
        doc.fail(f"a primitive has {len(targets)} morph targets, {n_morphs} expected")
    if not targets:
        return None, None
    doc.take(2 * n_morphs * n_rows * 12)
    deltas = np.zeros((n_morphs, n_rows, 3), np.float32)
    normals = np.zeros_like(deltas) if all("NORMAL" in target for target in targets) else None
    for i, target in enumerate(targets):
        if "POSITION" in target:
            deltas[i] = _to_mm(doc.floats(doc.integer(target, "POSITION"), "VEC3", n_rows=n_rows))
        if normals is not None:
            normals[i] = doc.floats(doc.integer(target, "NORMAL"), "VEC3", n_rows=n_rows)
    return deltas, normals


def _morph_names(doc: Document, mesh: dict[str, Any]) -> tuple[str, ...]:
    primitives = doc.objects(mesh, "primitives")
    n_morphs = len(doc.array(primitives[0], "targets")) if primitives else 0
    names = doc.array(doc.object(mesh, "extras"), "targetNames") or [f"target {i}" for i in range(n_morphs)]
    if len(names) != n_morphs or not all(isinstance(name, str) for name in names):
        doc.fail(f"'targetNames' does not name its {n_morphs} morph targets")
    return tuple(names)


def _rest_weights(doc: Document, mesh: dict[str, Any], n_morphs: int) -> Float32[np.ndarray, "M"] | None:
    if n_morphs == 0 or "weights" not in mesh:
        return None
    return np.array(doc.numbers(mesh, "weights", n_morphs), np.float32)


# --- skin and animation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Skin:
    joints: tuple[GlbJoint, ...]
    place: dict[int, int]
    """The joint that each node is."""
    order: Int32[np.ndarray, "J"]
    """The joint that each index in the file means: parents are put first."""


def _read_skin(doc: Document, mesh_node: dict[str, Any]) -> _Skin:
    if "skin" not in mesh_node:
        return _Skin((), {}, np.zeros(0, np.int32))
    skin = doc.item("skins", doc.integer(mesh_node, "skin"))
    file_nodes = doc.integers(skin, "joints")
    if not file_nodes or len(set(file_nodes)) < len(file_nodes):
        doc.fail("its skin names no joints or one of them twice")
    parents = _parent_joints(doc, file_nodes)
    nodes = _parents_first(doc, file_nodes, parents)
    place = {node: i for i, node in enumerate(nodes)}
    positions = _bind_positions(doc, skin, file_nodes)
    joints = []
    for node in nodes:
        parent = None if parents[node] is None else place[parents[node]]
        name = doc.string(doc.item("nodes", node), "name", f"joint {place[node]}")
        joints.append(GlbJoint(name, positions[node], parent))
    return _Skin(tuple(joints), place, np.array([place[node] for node in file_nodes], np.int32))


def _parent_joints(doc: Document, nodes: list[int]) -> dict[int, Any]:
    """For each joint's node the nearest node above it that is a joint, or None."""
    above = {
        child: index
        for index, node in enumerate(doc.objects(doc.root, "nodes"))
        for child in doc.integers(node, "children")
    }
    are_joints = set(nodes)
    found = {}
    for node in nodes:
        doc.item("nodes", node)
        ancestor, n_steps = above.get(node), 0
        while ancestor is not None and ancestor not in are_joints:
            ancestor, n_steps = above.get(ancestor), n_steps + 1
            if n_steps > MAX_DEPTH:
                doc.fail(f"its nodes are their own ancestors, or more than {MAX_DEPTH} deep")
        found[node] = ancestor
    return found


def _parents_first(doc: Document, nodes: list[int], parents: dict[int, Any]) -> list[int]:
    """The file's order as far as parents come before their children, as `GlbJoint` asks."""
    ordered: dict[int, None] = {}
    for node in nodes:
        line = []
        while node is not None and node not in ordered:
            line.append(node)
            node = parents[node]
            if len(line) > MAX_DEPTH:
                doc.fail(f"its joints are their own ancestors, or more than {MAX_DEPTH} deep")
        ordered.update(dict.fromkeys(reversed(line)))
    return list(ordered)


def _bind_positions(doc: Document, skin: dict[str, Any], nodes: list[int]) -> dict[int, tuple[float, float, float]]:
    matrices = doc.floats(doc.integer(skin, "inverseBindMatrices"), "MAT4", n_rows=len(nodes)).reshape(-1, 4, 4)
    # Column-major in the file: the translation is the last row here.
    if not np.abs(matrices[:, :, :] - _translations(matrices[:, 3, :3])).max() < 1e-4:
        doc.fail("its joints are turned or scaled at rest (only joints parallel to the head frame are read)")
    positions = 0.0 - matrices[:, 3, :3].astype(np.float64) / METRES_PER_MM  # 0 - x has no negative zero
    return {node: tuple(position) for node, position in zip(nodes, positions.tolist(), strict=True)}


def _translations(offsets: np.ndarray) -> np.ndarray:
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(offsets), 1, 1))
    matrices[:, 3, :3] = offsets
    return matrices


def _skin_weights(doc: Document, attributes: dict[str, Any], skin: _Skin, n_rows: int) -> Float32[np.ndarray, "N J"]:
    joints = doc.unsigned(doc.integer(attributes, "JOINTS_0"), "VEC4", n_rows=n_rows)
    weights = doc.floats(doc.integer(attributes, "WEIGHTS_0"), "VEC4", n_rows=n_rows)
    if "JOINTS_1" in attributes:
        doc.fail("its skin has more than four influences per vertex (limit them to four)")
    if joints.max() >= len(skin.joints):
        doc.fail("its skin names joints that are not there")
    doc.take(4 * n_rows * len(skin.joints))
    dense = np.zeros((n_rows, len(skin.joints)), np.float32)
    rows = np.arange(n_rows)
    for k in range(4):
        np.add.at(dense, (rows, skin.order[joints[:, k]]), weights[:, k])
    return dense


def _animation(doc: Document, animation: dict[str, Any], mesh_node: int, skin: _Skin, n_morphs: int) -> GlbAnimation:
    name = doc.string(animation, "name", "animation")
    samplers = doc.objects(animation, "samplers")
    times: Float32[np.ndarray, "K"] | None = None
    morph_weights, rotations = None, {}
    for channel in doc.objects(animation, "channels"):
        target = doc.object(channel, "target")
        node, path = doc.integer(target, "node"), doc.string(target, "path", "")
        channel_times, output = _sampler(doc, samplers, doc.integer(channel, "sampler"))
        if times is not None and not np.array_equal(times, channel_times):
            doc.fail(f"the channels of its animation {name!r:.80} have different times (bake them to one rate)")
        times = channel_times
        if path == "weights" and node == mesh_node:
            values = doc.floats(output, "SCALAR", n_rows=len(times) * n_morphs)
            morph_weights = values.reshape(len(times), n_morphs)
        elif path == "rotation" and node in skin.place:
            joint = skin.joints[skin.place[node]].name
            rotations[joint] = doc.floats(output, "VEC4", n_rows=len(times))
        else:
            doc.fail(f"its animation {name!r:.80} moves something else than joint rotations and morph weights")
    if times is None:
        doc.fail(f"its animation {name!r:.80} has no channels")
    return GlbAnimation(name, times, morph_weights, rotations)


def _sampler(doc: Document, samplers: list[dict[str, Any]], index: int) -> tuple[Float32[np.ndarray, "K"], int]:
    """The times of a channel and the accessor of its values."""
    sampler = samplers[index] if index < len(samplers) else doc.fail(f"an animation has no samplers[{index}]")
    if doc.string(sampler, "interpolation", "LINEAR") != "LINEAR":
        doc.fail("an animation is not linearly interpolated (bake it)")
    return doc.floats(doc.integer(sampler, "input"), "SCALAR")[:, 0], doc.integer(sampler, "output")
