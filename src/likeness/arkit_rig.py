"""A Rig in ARKit's 52 blendshapes, whatever its head's own expressions are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from likeness.face import Face
from likeness.heads.carried import carried_shapes, moves_only_loose_parts
from likeness.heads.common_points import CommonPoints, common_points
from likeness.heads.correspondence import registration_of
from likeness.heads.open_head import load_open_head
from likeness.rig import DetailMap, Rig
from likeness.solve.box_least_squares import box_least_squares

# Joints whose turning is the head's pose, not its expression.
_POSE_JOINTS = ("root", "neck", "head")
JAW = "jaw"
# How a jaw's rotation (rad, about the head's axes) is named among weights.
JAW_NAMES = ("jaw.x", "jaw.y", "jaw.z")
# A secant of a jaw's rotation, rad: jaws open a few tenths of a radian.
_JAW_STEP = 0.2
# Of the shapes' mean curvature: how dear a weight's square and a weight itself are, so that of shapes which nearly
# repeat or undo each other few speak. Measured with benchmarks/eval_retarget.py.
RIDGE, SPARSITY = 1e-2, 1e-2
# A face that moves by less rests, mm.
_STILL_MM = 1e-3
# The same for coefficients of a head's own space, which are orthogonal or nearly so.
NATIVE_RIDGE = 1e-3


def with_arkit_shapes(native: Rig, face: Face) -> Rig:
    """The same head with ARKit's shapes in place of its own; see `likeness.rig.rig_from_face`.

    Raises InputError for a head without landmarks.
    """
    names = load_open_head().expression_names
    own = {name: k for k, name in enumerate(native.blendshape_names) if name in names}
    speaks_arkit = len(own) == len(native.blendshape_names)
    if speaks_arkit and native.blendshape_names == names:
        return native
    missing = [name for name in names if name not in own]
    shapes = np.zeros((len(names), *native.neutral.shape), np.float32)
    if not all(map(moves_only_loose_parts, missing)):
        shapes[:] = carried_shapes(face.head, native.neutral)
    for name, k in own.items():
        shapes[names.index(name)] = native.blendshapes[k]
    rig = replace(native, blendshape_names=names, blendshapes=shapes)
    if speaks_arkit:
        known = dict(zip(native.blendshape_names, native.weights.tolist(), strict=True))
        return replace(rig, weights=np.array([known.get(name, 0.0) for name in names], np.float32))
    points = common_points(registration_of(face.head), face.head.topology.triangles)
    weights = explained(points, rig.blendshapes, expression_displacement(face)[None])[0]
    details = _translated(native.details, points, native, rig, face)
    return replace(rig, weights=weights.astype(np.float32), details=details)


def expression_displacement(face: Face) -> Float[np.ndarray, "V 3"]:
    """How expression, jaw and eyes move the neutral face, mm; the head's own rotation left out."""
    posing = torch.tensor([name in _POSE_JOINTS for name in face.head.joint_names], device=face.joints.device)
    joints = torch.where(posing[:, None], 0.0, face.joints)
    offsets = None if face.offsets is None else face.offsets[None]
    with torch.no_grad():
        moved = face.head.vertices(face.identity[None], face.expression[None], joints[None], offsets)[0]
        moved = (moved - face.neutral_vertices).cpu().numpy()
    # Sums of floats in another order are no expression.
    return moved if np.abs(moved).max() > _STILL_MM else np.zeros_like(moved)


def explained(
    points: CommonPoints, shapes: Float[np.ndarray, "K V 3"], displacements: Float[np.ndarray, "F V 3"]
) -> Float[np.ndarray, "F K"]:
    """The weights in [0, 1] with which shapes come nearest to displacements, at the common points."""
    basis, wanted = points.features(shapes), points.features(displacements)
    gram = basis @ basis.T
    mean = np.trace(gram) / len(gram)
    gram += RIDGE * mean * np.eye(len(gram))
    right = wanted @ basis.T - SPARSITY * mean
    return box_least_squares(gram, right, np.zeros(len(gram)), np.ones(len(gram)))


def jaw_shapes(face: Face) -> Float[np.ndarray, "J V 3"]:
    """Displacements for a radian of the jaw's rotation about each axis (secants); none for a head without a jaw."""
    head = face.head
    if JAW not in head.joint_names:
        return np.zeros((0, len(face.neutral_vertices), 3), np.float32)
    joints = torch.zeros(3, len(head.joint_names), 3, device=face.identity.device)
    joints[:, head.joint_names.index(JAW)] = torch.eye(3, device=joints.device) * _JAW_STEP
    offsets = None if face.offsets is None else face.offsets[None]
    with torch.no_grad():
        moved = head.vertices(face.identity[None].expand(3, -1), None, joints, offsets) - face.neutral_vertices
    return (moved / _JAW_STEP).cpu().numpy()


def _translated(
    details: tuple[DetailMap, ...], points: CommonPoints, native: Rig, rig: Rig, face: Face
) -> tuple[DetailMap, ...]:
    """Detail maps whose strength follows ARKit's weights as it followed those of the head.

    Strengths are linear in the head's coefficients, and each ARKit shape is, by least squares, some coefficients.
    """
    spoken = set(rig.blendshape_names)
    if all(set(detail.weights) <= spoken for detail in details):
        return details
    own = np.concatenate([native.blendshapes, jaw_shapes(face)])
    names = (*native.blendshape_names, *JAW_NAMES)[: len(own)]
    basis, goals = points.features(own), points.features(rig.blendshapes)
    gram = basis @ basis.T
    gram += NATIVE_RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    coefficients = np.linalg.solve(gram, basis @ goals.T)
    return tuple(replace(d, weights=_combined(d.weights, names, coefficients, rig.blendshape_names)) for d in details)


def _combined(
    weights: Mapping[str, float], names: tuple[str, ...], coefficients: Float[np.ndarray, "E K"], arkit: tuple[str, ...]
) -> dict[str, float]:
    if not weights:
        return {}
    share = np.array([weights.get(name, 0.0) for name in names])
    return {name: float(value) for name, value in zip(arkit, share @ coefficients, strict=True)}
