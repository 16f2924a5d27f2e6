"""The linear identity basis: people aligned by their faces, then principal components, symmetric and not.

Every person is taken together with their mirror image. The two then have the same covariance with the symmetric and
the antisymmetric half of a shape, so that the mean is exactly symmetric and every component is exactly one or the
other; the components of both halves are merged in order of variance.
"""

from dataclasses import dataclass

import numpy as np

from open_head.source import Array, Index

N_COMPONENTS = 100

# Share of a square millimetre in the variance that the components are chosen by.
FACE, EARS, SCALP_AND_NECK, EYEBALLS, HIDDEN = 1.0, 0.12, 0.06, 0.15, 0.01


@dataclass(frozen=True)
class Identity:
    """A linear model: points = mean + coefficients @ basis, with coefficients of zero mean and unit variance."""

    mean: Array  # (V, 3) mm
    basis: Array  # (K, V, 3) mm
    joint_mean: Array  # (J, 3)
    joint_basis: Array  # (K, J, 3)
    coefficients: Array  # (N, K) of the crowd it was learnt from
    kept_face_variance: float
    residual_rms_mm: float  # over face vertices and people, of what the components leave out


def align(points: Array, joints: Array, weights: Array) -> tuple[Array, Array]:
    """Move everybody rigidly (no scale) onto the common mean by their weighted vertices; two rounds suffice."""
    target = points[0]
    for _ in range(4):
        aligned = [rigid_motion(person, target, weights) for person in points]
        target = np.mean([p @ r.T + t for p, (r, t) in zip(points, aligned, strict=True)], axis=0)
    moved = np.stack([p @ r.T + t for p, (r, t) in zip(points, aligned, strict=True)])
    moved_joints = np.stack([j @ r.T + t for j, (r, t) in zip(joints, aligned, strict=True)])
    return moved, moved_joints


def learn_identity(
    points: Array, joints: Array, weights: Array, face: Array, mirror: Index, joint_mirror: Index
) -> Identity:
    """Principal components of aligned people (N, V, 3) under per-vertex weights (V,)."""
    even, odd = _halves(points, mirror)
    joint_even, joint_odd = _halves(joints, joint_mirror)
    mean, joint_mean = even.mean(axis=0), joint_even.mean(axis=0)
    even_scores, even_basis = _components(even - mean, weights)
    odd_scores, odd_basis = _components(odd, weights)
    scores = np.concatenate([even_scores, odd_scores], axis=1)
    basis = np.concatenate([even_basis, odd_basis])
    variance = np.einsum("kvc,v->k", basis**2, weights)
    order = np.argsort(-variance, kind="stable")[:N_COMPONENTS]
    scores, basis = scores[:, order], basis[order]
    joint_basis = np.tensordot(scores.T, joint_even - joint_mean + joint_odd, axes=1) / len(points)
    left_out = even - mean + odd - np.tensordot(scores, basis, axes=1)
    face_total = np.einsum("nvc,v->", (even - mean + odd) ** 2, face)
    face_left = np.einsum("nvc,v->", left_out**2, face)
    return Identity(
        mean=mean,
        basis=basis,
        joint_mean=joint_mean,
        joint_basis=joint_basis,
        coefficients=scores,
        kept_face_variance=float(1 - face_left / face_total),
        residual_rms_mm=float(np.sqrt(face_left / face.sum() / len(points))),
    )


def _halves(points: Array, mirror: Index) -> tuple[Array, Array]:
    flipped = points[:, mirror] * [-1.0, 1.0, 1.0]
    return (points + flipped) / 2, (points - flipped) / 2


def _components(deviations: Array, weights: Array, count: int = N_COMPONENTS) -> tuple[Array, Array]:
    """Unit-variance scores (N, count) and the basis in mm (count, V, 3), through the small Gram matrix."""
    n = len(deviations)
    flat = (deviations * np.sqrt(weights)[None, :, None]).reshape(n, -1)
    vectors = np.linalg.eigh(flat @ flat.T).eigenvectors
    scores = vectors[:, ::-1][:, :count] * np.sqrt(n)
    basis = np.tensordot(scores.T, deviations, axes=1) / n
    # The sign of an eigenvector is chance: let the largest entry of the basis be positive.
    largest = np.abs(basis.reshape(count, -1)).argmax(axis=1)
    sign = np.sign(basis.reshape(count, -1)[np.arange(count), largest])
    return scores * sign, basis * sign[:, None, None]


def rigid_motion(source: Array, target: Array, weights: Array) -> tuple[Array, Array]:
    """Rotation and translation of least weighted squares (Umeyama 1991, without scale)."""
    w = weights / weights.sum()
    source_centre, target_centre = w @ source, w @ target
    u, _, vt = np.linalg.svd((target - target_centre).T @ ((source - source_centre) * w[:, None]))
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return rotation, target_centre - rotation @ source_centre
