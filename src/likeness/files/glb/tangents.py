"""Tangents for normal maps, so that every viewer lights the same relief."""

import numpy as np
from jaxtyping import Float, Float32, Int


def vertex_tangents(
    vertices: Float[np.ndarray, "N 3"],
    normals: Float[np.ndarray, "N 3"],
    uv: Float[np.ndarray, "N 2"],
    triangles: Int[np.ndarray, "T 3"],
) -> Float32[np.ndarray, "N 4"]:
    """Unit tangent along +u and, last, the sign s for which s · (normal × tangent) points along +v (upwards).

    Area-weighted mean over the triangles (Lengyel, Foundations of Game Engine Development 2, section 7.5). Where uv
    says nothing (degenerate triangles), any direction across the normal.
    """
    edges = vertices[triangles[:, 1:]] - vertices[triangles[:, :1]]  # (T, 2, 3)
    (du1, dv1), (du2, dv2) = np.moveaxis(uv[triangles[:, 1:]] - uv[triangles[:, :1]], 0, -1).astype(np.float64)
    orientation = np.sign(du1 * dv2 - du2 * dv1)[:, None]  # the sign alone: the length stays area-like
    along_u = (edges[:, 0] * dv2[:, None] - edges[:, 1] * dv1[:, None]) * orientation
    along_v = (edges[:, 1] * du1[:, None] - edges[:, 0] * du2[:, None]) * orientation
    tangents, bitangents = np.zeros((2, len(vertices), 3))
    for corner in range(3):
        np.add.at(tangents, triangles[:, corner], along_u)
        np.add.at(bitangents, triangles[:, corner], along_v)
    tangents = _across(normals.astype(np.float64), tangents)
    signs = np.where((np.cross(normals, tangents) * bitangents).sum(axis=1) < 0, -1.0, 1.0)
    return np.concatenate([tangents, signs[:, None]], axis=1).astype(np.float32)


def _across(normals: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Unit directions made perpendicular to the normals."""
    across = directions - (directions * normals).sum(axis=1, keepdims=True) * normals
    lengths = np.linalg.norm(across, axis=1, keepdims=True)
    scale = np.linalg.norm(directions, axis=1, keepdims=True)
    axis = np.eye(3)[np.abs(normals).argmin(axis=1)]  # the axis least along the normal
    anyhow = np.cross(normals, axis)
    across = np.where(lengths > 1e-6 * scale, across, anyhow)
    return across / np.linalg.norm(across, axis=1, keepdims=True)
