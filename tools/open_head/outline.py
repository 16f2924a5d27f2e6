"""Lines over the cheeks and under the chin along which the landmarks of the face's outline slide.

A line is the section of the mean head with the half plane through an axis inside the head, parallel to the line of
sight of a frontal picture, and the landmark: a turn of the head makes another of its points the outline.
"""

import numpy as np

from open_head.source import Array, Index

N_POINTS = 24
AXIS = np.array([0.0, -20.0, -35.0])  # a point inside the head, mm from the centre of the face
FRONT_DEGREES, BACK_DEGREES = 50.0, 25.0  # how far a line goes to either side of the landmark, seen from the axis


def outline_lines(mean: Array, triangles: Index, skin: np.ndarray, landmark_points: Array) -> tuple[Index, Array]:
    """Triangles (C, N_POINTS) and barycentrics (C, N_POINTS, 3) of the lines through C points, front to back.

    `skin` (T,) says which triangles a line may use. Where it leaves them it stays at its last point.
    """
    rows = np.flatnonzero(skin)
    corner = mean[triangles[rows]]
    lines = [_line(point, corner) for point in landmark_points]
    return np.stack([rows[found] for found, _ in lines]), np.stack([weights for _, weights in lines])


def _line(point: Array, corner: Array) -> tuple[Index, Array]:
    aside = (point - AXIS) * [1.0, 1.0, 0.0]
    reach = np.linalg.norm(aside)
    aside /= reach
    own = np.degrees(np.arctan2(point[2] - AXIS[2], reach))
    degrees = own + np.linspace(FRONT_DEGREES, -BACK_DEGREES, N_POINTS)
    hits = [_hit(np.cos(a) * aside + [0.0, 0.0, np.sin(a)], corner) for a in np.radians(degrees)]
    middle = int(np.abs(degrees - own).argmin())
    if hits[middle] is None:
        raise ValueError(f"no skin at the outline landmark {point}")
    for order in (range(middle - 1, -1, -1), range(middle + 1, N_POINTS)):
        step = 1 if order.step < 0 else -1
        for k in order:
            hits[k] = hits[k] or hits[k + step]
    return np.array([hit[0] for hit in hits]), np.stack([hit[1] for hit in hits])  # type: ignore[index]


def _hit(direction: Array, corner: Array) -> tuple[int, Array] | None:
    """The farthest triangle that a ray from the axis leaves the head through (Möller and Trumbore 1997)."""
    e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    p = np.cross(direction, e2)
    det = (e1 * p).sum(axis=1)
    det = np.where(np.abs(det) < 1e-12, np.inf, det)
    s = AXIS - corner[:, 0]
    u = (s * p).sum(axis=1) / det
    q = np.cross(s, e1)
    v = (q @ direction) / det
    distance = (e2 * q).sum(axis=1) / det
    # A ray that leaves the head meets the triangle from behind: the determinant is negative.
    crossed = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (distance > 0) & (det < 0)
    if not crossed.any():
        return None
    best = int(np.where(crossed, distance, -1.0).argmax())
    weights = np.array([1 - u[best] - v[best], u[best], v[best]]).clip(0.0)
    return best, weights / weights.sum()
