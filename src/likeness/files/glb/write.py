"""Write a `GlbModel` as binary glTF 2.0: one mesh, one primitive per part, one skin.

glTF is in metres with +y up and +z forward, which is the head frame times 0.001; its v runs down, so v becomes 1 - v.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from likeness.atomic import write_bytes
from likeness.errors import InputError, OutputError
from likeness.files.glb.container import (
    ARRAY_BUFFER,
    COMPONENT_TYPES,
    ELEMENT_ARRAY_BUFFER,
    BinaryChunk,
    SparseRows,
    index_component,
    pack,
)
from likeness.files.glb.materials import MaterialTable
from likeness.files.glb.model import GlbAnimation, GlbModel, GlbPart, check_model
from likeness.files.glb.tangents import vertex_tangents

METRES_PER_MM = 0.001
PAYLOADS_KEY = "likeness_payloads"

# Deltas below are left out of sparse targets: a tenth of a micrometre, and a normal turned by 0.006 degrees.
MIN_DELTA_MM = 1e-4
MIN_NORMAL_DELTA = 1e-4


def write_glb(path: str | os.PathLike, model: GlbModel) -> None:
    """Write a GLB file; same model, same bytes. Raises `InputError` for arrays that do not fit, `OutputError`."""
    write_bytes(path, glb_bytes(model))


def glb_bytes(model: GlbModel) -> bytes:
    """The content of a GLB file. Raises `InputError`, or `OutputError` beyond GLB's 4 GiB."""
    check_model(model)
    chunk = BinaryChunk()
    materials = MaterialTable(chunk)
    primitives = [_primitive(model, part, materials.index(part.material), chunk) for part in model.parts]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "Likeness"},
        "scene": 0,
        "scenes": [{"nodes": [0, 1] if model.joints else [0]}],
        "nodes": _nodes(model),
        "meshes": [_mesh(model, primitives)],
        **materials.document(),
    }
    if model.joints:
        document["skins"] = [_skin(model, chunk)]
    if model.animations:
        document["animations"] = [_animation(animation, model, chunk) for animation in model.animations]
    if extras := _extras(model, chunk):
        document["extras"] = extras
    return _finish(document, chunk)


def _finish(document: dict[str, Any], chunk: BinaryChunk) -> bytes:
    n_bytes = len(chunk.data) + -len(chunk.data) % 4
    document |= {
        "accessors": chunk.accessors,
        "bufferViews": chunk.buffer_views,
        "buffers": [{"byteLength": n_bytes}],
    }
    if n_bytes >= 2**32 - 2**26:
        raise OutputError(f"A GLB file cannot exceed 4 GiB and this one needs {n_bytes:,} bytes; use smaller textures.")
    try:
        return pack(document, chunk.data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"GLB names and extras must be plain JSON ({error}).") from None


def _nodes(model: GlbModel) -> list[dict[str, Any]]:
    """The mesh, then (with a skin) an armature node, then the joints: joint i is node 2 + i."""
    mesh: dict[str, Any] = {"name": model.name, "mesh": 0}
    if not model.joints:
        return [mesh]
    roots = [2 + i for i, joint in enumerate(model.joints) if joint.parent is None]
    nodes = [mesh | {"skin": 0}, {"name": f"{model.name} armature", "children": roots}]
    for i, joint in enumerate(model.joints):
        origin = (0.0, 0.0, 0.0) if joint.parent is None else model.joints[joint.parent].position
        offset = np.subtract(joint.position, origin) * METRES_PER_MM
        node: dict[str, Any] = {"name": joint.name, "translation": offset.astype(np.float32).tolist()}
        if children := [2 + k for k, child in enumerate(model.joints) if child.parent == i]:
            node["children"] = children
        nodes.append(node)
    return nodes


def _mesh(model: GlbModel, primitives: list[dict[str, Any]]) -> dict[str, Any]:
    mesh: dict[str, Any] = {"name": model.name, "primitives": primitives}
    if model.morph_names:
        weights = np.zeros(len(model.morph_names)) if model.morph_weights is None else model.morph_weights
        # `extras.targetNames` is a convention that Blender, three.js, Unity and Unreal all follow.
        mesh |= {"weights": np.asarray(weights, float).tolist(), "extras": {"targetNames": list(model.morph_names)}}
    return mesh


# --- geometry -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Corners:
    """A part with seams cut: one row per different (vertex, uv) corner."""

    vertex_ids: Int[np.ndarray, "N"]
    uv_ids: Int[np.ndarray, "N"] | None
    indices: Int[np.ndarray, "3T"]


def _cut_seams(part: GlbPart) -> _Corners:
    vertex_of_corner = part.triangles.reshape(-1).astype(np.int64)
    if part.uv_triangles is None:
        vertex_ids, indices = np.unique(vertex_of_corner, return_inverse=True)
        return _Corners(vertex_ids, None, indices)
    uv_of_corner = part.uv_triangles.reshape(-1).astype(np.int64)
    n_uv = int(uv_of_corner.max()) + 1
    pairs, indices = np.unique(vertex_of_corner * n_uv + uv_of_corner, return_inverse=True)
    return _Corners(pairs // n_uv, pairs % n_uv, indices)


def _primitive(model: GlbModel, part: GlbPart, material: int, chunk: BinaryChunk) -> dict[str, Any]:
    corners = _cut_seams(part)
    attributes = _attributes(model, part, corners, chunk)
    dtype = COMPONENT_TYPES[index_component(len(corners.vertex_ids))]
    indices = chunk.add_accessor(corners.indices.astype(dtype), target=ELEMENT_ARRAY_BUFFER)
    primitive = {"attributes": attributes, "indices": indices, "material": material, "extras": {"name": part.name}}
    if model.morph_names:
        primitive["targets"] = _targets(model, corners.vertex_ids, chunk)
    return primitive


def _attributes(model: GlbModel, part: GlbPart, corners: _Corners, chunk: BinaryChunk) -> dict[str, int]:
    vertex_ids = corners.vertex_ids
    positions = (model.vertices[vertex_ids].astype(np.float64) * METRES_PER_MM).astype(np.float32)
    attributes = {
        "POSITION": chunk.add_accessor(positions, target=ARRAY_BUFFER, bounds=True),
        "NORMAL": chunk.add_accessor(_unit(model.normals[vertex_ids], part), target=ARRAY_BUFFER),
    }
    if corners.uv_ids is not None and model.uv is not None:
        u, v = model.uv[corners.uv_ids].astype(np.float64).T
        uv = np.stack([u, 1 - v], axis=1).astype(np.float32)
        attributes["TEXCOORD_0"] = chunk.add_accessor(uv, target=ARRAY_BUFFER)
        if part.material.normal_image is not None:
            tangents = vertex_tangents(
                positions, model.normals[vertex_ids], model.uv[corners.uv_ids], corners.indices.reshape(-1, 3)
            )
            attributes["TANGENT"] = chunk.add_accessor(tangents, target=ARRAY_BUFFER)
    elif part.material.base_colour_image or part.material.normal_image:
        raise InputError(f"GLB part {part.name!r} has a texture but no uv; give uv_triangles or drop the texture.")
    if model.skin_weights is not None:
        joints, weights = _four_influences(model.skin_weights[vertex_ids])
        attributes["JOINTS_0"] = chunk.add_accessor(joints, target=ARRAY_BUFFER)
        attributes["WEIGHTS_0"] = chunk.add_accessor(weights, target=ARRAY_BUFFER)
    return attributes


def _unit(normals: Float[np.ndarray, "N 3"], part: GlbPart) -> Float[np.ndarray, "N 3"]:
    lengths = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    if np.abs(lengths - 1).max() > 1e-2:
        raise InputError(f"GLB part {part.name!r} has normals of length {lengths.min():g} to {lengths.max():g}, not 1.")
    return (normals / lengths).astype(np.float32)


def _four_influences(skin_weights: Float[np.ndarray, "N J"]) -> tuple[np.ndarray, np.ndarray]:
    """The four heaviest joints of each vertex, `(N, 4)` indices and weights that sum to one.

    An influence without weight names joint 0, as the specification asks.
    """
    n_joints = skin_weights.shape[1]
    order = np.argsort(-skin_weights, axis=1, kind="stable")[:, :4]
    weights = np.take_along_axis(skin_weights, order, axis=1).astype(np.float64)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    joints = np.where(weights > 0, order, 0)
    padding = ((0, 0), (0, 4 - joints.shape[1]))
    dtype = np.uint8 if n_joints <= 256 else np.uint16
    return np.pad(joints, padding).astype(dtype), np.pad(weights, padding)


# --- morph targets --------------------------------------------------------------------------------------------------


def _targets(model: GlbModel, vertex_ids: Int[np.ndarray, "N"], chunk: BinaryChunk) -> list[dict[str, int]]:
    assert model.morph_deltas is not None
    metres = (model.morph_deltas[:, vertex_ids].astype(np.float64) * METRES_PER_MM).astype(np.float32)
    positions = _sparse_accessors(metres, MIN_DELTA_MM * METRES_PER_MM, chunk)
    if model.morph_normal_deltas is None:
        return [{"POSITION": position} for position in positions]
    deltas = model.morph_normal_deltas[:, vertex_ids].astype(np.float32)
    # Every target gets both, if only zeros: three.js takes a missing one for the normal itself.
    normals = _sparse_accessors(deltas, MIN_NORMAL_DELTA, chunk)
    return [{"POSITION": p, "NORMAL": n} for p, n in zip(positions, normals, strict=True)]


def _sparse_accessors(deltas: Float[np.ndarray, "M N 3"], threshold: float, chunk: BinaryChunk) -> list[int]:
    """One accessor per target: nothing for zeros, sparse where that is smaller, dense elsewhere."""
    n_rows = deltas.shape[1]
    row_bytes = 12 + COMPONENT_TYPES[index_component(n_rows)].itemsize
    moved = [np.flatnonzero(np.linalg.norm(delta, axis=1) > threshold) for delta in deltas]
    worth_it = [k for k, rows in enumerate(moved) if 0 < len(rows) * row_bytes < n_rows * 12]
    sparse = dict(zip(worth_it, _sparse_rows(deltas, moved, worth_it, chunk), strict=True))
    accessors = []
    for k, rows in enumerate(moved):
        if k in sparse:
            accessors.append(chunk.add_sparse(sparse[k]))
        elif len(rows):
            accessors.append(chunk.add_accessor(deltas[k], target=ARRAY_BUFFER, bounds=True))
        else:
            accessors.append(chunk.add_zeros(n_rows))
    return accessors


def _sparse_rows(
    deltas: Float[np.ndarray, "M N 3"], moved: list[Int[np.ndarray, "S"]], targets: list[int], chunk: BinaryChunk
) -> list[SparseRows]:
    """Store some targets' moved rows: the indices of all share one buffer view, and so do the values."""
    if not targets:
        return []
    n_rows = deltas.shape[1]
    index_dtype = COMPONENT_TYPES[index_component(n_rows)]
    index_bytes, index_offsets = _joined([moved[k].astype(index_dtype).tobytes() for k in targets])
    value_bytes, value_offsets = _joined([deltas[k, moved[k]].astype("<f4").tobytes() for k in targets])
    index_view, value_view = chunk.add_view(index_bytes), chunk.add_view(value_bytes)
    return [
        SparseRows(deltas[k, moved[k]], n_rows, index_view, index_offset, value_view, value_offset)
        for k, index_offset, value_offset in zip(targets, index_offsets, value_offsets, strict=True)
    ]


def _joined(pieces: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Pieces one after the other, each padded to four bytes, and where each begins."""
    padded = [piece + bytes(-len(piece) % 4) for piece in pieces]
    ends = np.cumsum([len(piece) for piece in padded])
    return b"".join(padded), [0, *ends[:-1].tolist()]


# --- skin, animation, extras -----------------------------------------------------------------------------


def _skin(model: GlbModel, chunk: BinaryChunk) -> dict[str, Any]:
    """Rest rotations are identities, so an inverse bind matrix is a translation (column-major in the file)."""
    matrices = np.tile(np.eye(4), (len(model.joints), 1, 1))
    matrices[:, 3, :3] = np.multiply(-METRES_PER_MM, [joint.position for joint in model.joints]) + 0.0
    accessor = chunk.add_accessor(matrices.reshape(-1, 16).astype(np.float32))
    return {
        "name": f"{model.name} skin",
        "inverseBindMatrices": accessor,
        "joints": [2 + i for i in range(len(model.joints))],
    }


def _animation(animation: GlbAnimation, model: GlbModel, chunk: BinaryChunk) -> dict[str, Any]:
    times = chunk.add_accessor(animation.times.astype(np.float32), bounds=True)
    outputs: list[tuple[int, str, np.ndarray]] = []
    if animation.morph_weights is not None:
        outputs.append((0, "weights", animation.morph_weights.reshape(-1)))
    for i, joint in enumerate(model.joints):
        if (rotations := animation.joint_rotations.get(joint.name)) is not None:
            norms = np.linalg.norm(rotations.astype(np.float64), axis=1, keepdims=True)
            outputs.append((2 + i, "rotation", rotations / norms))
    samplers = [{"input": times, "output": chunk.add_accessor(values.astype(np.float32))} for _, _, values in outputs]
    channels = [{"sampler": i, "target": {"node": node, "path": path}} for i, (node, path, _) in enumerate(outputs)]
    return {"name": animation.name, "samplers": samplers, "channels": channels}


def _extras(model: GlbModel, chunk: BinaryChunk) -> dict[str, Any]:
    if PAYLOADS_KEY in model.extras:
        raise InputError(f"GLB extras may not use the key {PAYLOADS_KEY!r}; rename it.")
    extras = dict(model.extras)
    if model.payloads:
        extras[PAYLOADS_KEY] = {
            name: {"bufferView": chunk.add_view(payload.data), "mimeType": payload.mime_type}
            for name, payload in model.payloads.items()
        }
    return extras
