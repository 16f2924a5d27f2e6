"""A disc of triangles laid out in the plane: a Tutte embedding, then scalable locally injective maps.

Tutte 1963 gives a start without a flipped triangle. The symmetric Dirichlet energy is then lowered by
reweighted least squares (Rabinovich et al., Scalable Locally Injective Mappings, 2017, sections 3 and 4); its barrier
and the bounded step keep every triangle the right way round.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from open_head.source import Array, Index

ITERATIONS = 80
PROXIMAL = 1e-4  # pulls towards the last iterate, so that the pose of the free chart is determined


def flatten(points: Array, triangles: Index, start: int, scale: Array) -> Array:
    """(n, 2) coordinates in mm times `scale` (T,), of a disc whose outer boundary passes through vertex `start`.

    `start` begins at the bottom of the chart. Inner holes are kept open by a fan of triangles over each.
    """
    n = len(points)
    boundary = outer_loop(triangles, start)
    points, triangles, scale = _fill_holes(points, triangles, scale, boundary)
    planar = _tutte(triangles, boundary, points)
    dx, dy, area = _gradients(points[triangles] * scale[:, None, None], triangles, len(points))
    planar *= np.sqrt(area.sum() / np.pi)
    for _ in range(ITERATIONS):
        planar = _slim_step(planar, triangles, dx, dy, area)
    return planar[:n]


def outer_loop(triangles: Index, start: int) -> Index:
    """The boundary loop through vertex `start`, counter-clockwise seen from outside."""
    return _walk(_open_edges(triangles), start)


def _open_edges(triangles: Index) -> dict[int, int]:
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    known = set(map(tuple, edges.tolist()))
    return {a: b for a, b in sorted(known) if (b, a) not in known}


def _walk(follow: dict[int, int], start: int) -> Index:
    loop = [start]
    while (after := follow[loop[-1]]) != start:
        loop.append(after)
    return np.array(loop)


def _fill_holes(points: Array, triangles: Index, scale: Array, outer: Index) -> tuple[Array, Index, Array]:
    follow = _open_edges(triangles)
    for vertex in outer:
        del follow[int(vertex)]
    while follow:
        loop = _walk(follow, next(iter(follow)))
        for vertex in loop:
            del follow[int(vertex)]
        centre = np.full(len(loop), len(points))
        triangles = np.concatenate([triangles, np.stack([np.roll(loop, -1), loop, centre], axis=1)])
        points = np.concatenate([points, points[loop].mean(axis=0, keepdims=True)])
        scale = np.concatenate([scale, np.ones(len(loop))])
    return points, triangles, scale


def signed_area(planar: Array, triangles: Index) -> Array:
    """(T,) positive where a triangle keeps its winding."""
    a, b, c = (planar[triangles[:, k]] for k in range(3))
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def _tutte(triangles: Index, boundary: Index, points: Array) -> Array:
    length = np.linalg.norm(points[np.roll(boundary, -1)] - points[boundary], axis=1)
    angle = 2 * np.pi * np.concatenate([[0.0], np.cumsum(length)[:-1]]) / length.sum() - np.pi / 2
    n = len(points)
    rows = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    graph = sparse.coo_array((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=(n, n)).tocsr()
    graph = ((graph + graph.T) > 0).astype(float)
    laplace = (sparse.diags_array(graph.sum(axis=1)) - graph).tolil()
    right = np.zeros((n, 2))
    for vertex, a in zip(boundary, angle, strict=True):
        laplace.rows[vertex], laplace.data[vertex] = [int(vertex)], [1.0]
        right[vertex] = np.cos(a), np.sin(a)
    return splu(laplace.tocsc()).solve(right)


def _gradients(corner: Array, triangles: Index, n: int) -> tuple[sparse.csr_array, sparse.csr_array, Array]:
    """Derivatives (T, n) along each triangle's own x and y axis, and its area."""
    e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    x1 = np.linalg.norm(e1, axis=1)
    x2 = (e1 * e2).sum(axis=1) / x1
    y2 = np.sqrt(np.maximum((e2**2).sum(axis=1) - x2**2, 1e-12))
    area = x1 * y2 / 2
    zero = np.zeros_like(x1)
    x, y = np.stack([zero, x1, x2], axis=1), np.stack([zero, zero, y2], axis=1)
    next_, after = [1, 2, 0], [2, 0, 1]
    by_x = (y[:, next_] - y[:, after]) / (2 * area[:, None])
    by_y = (x[:, after] - x[:, next_]) / (2 * area[:, None])
    rows = np.repeat(np.arange(len(triangles)), 3)
    shape = (len(triangles), n)
    dx = sparse.csr_array((by_x.ravel(), (rows, triangles.ravel())), shape=shape)
    dy = sparse.csr_array((by_y.ravel(), (rows, triangles.ravel())), shape=shape)
    return dx, dy, area


def _slim_step(planar: Array, triangles: Index, dx, dy, area: Array) -> Array:
    jacobian = np.stack([dx @ planar, dy @ planar], axis=2)  # (T, 2 of uv, 2 of xy)
    u, sigma, vt = np.linalg.svd(jacobian)
    near_one = np.abs(sigma - 1) < 1e-6  # the limit there is 4
    # W makes the quadratic's gradient equal the symmetric Dirichlet energy's (SLIM, equation 9)
    pull = np.sqrt(np.where(near_one, 4.0, (sigma - sigma**-3)) / np.where(near_one, 1.0, sigma - 1))
    w = (u * pull[:, None, :]) @ u.transpose(0, 2, 1)
    target = w @ (u @ vt)
    root = np.sqrt(area)
    rows, right = [], []
    for i in range(2):
        for j, derivative in enumerate((dx, dy)):
            blocks = [sparse.diags_array(root * w[:, i, k]) @ derivative for k in range(2)]
            rows.append(sparse.hstack(blocks))
            right.append(root * target[:, i, j])
    a, b = sparse.vstack(rows).tocsc(), np.concatenate(right)
    n = len(planar)
    normal = (a.T @ a + PROXIMAL * sparse.eye_array(2 * n)).tocsc()
    solved = splu(normal).solve(a.T @ b + PROXIMAL * planar.T.ravel()).reshape(2, n).T
    return _line_search(planar, solved - planar, triangles, dx, dy, area)


def _line_search(planar: Array, step: Array, triangles: Index, dx, dy, area: Array) -> Array:
    size = min(1.0, 0.8 * _first_flip(planar, step, triangles))
    energy = _energy(planar, dx, dy, area)
    for _ in range(30):
        moved = planar + size * step
        if _energy(moved, dx, dy, area) < energy:
            return moved
        size /= 2
    return planar


def _energy(planar: Array, dx, dy, area: Array) -> float:
    ux, uy = dx @ planar, dy @ planar
    det = ux[:, 0] * uy[:, 1] - ux[:, 1] * uy[:, 0]
    if det.min() <= 0:
        return np.inf
    square = (ux**2).sum(axis=1) + (uy**2).sum(axis=1)
    return float((area * square * (1 + 1 / det**2)).sum())


def _first_flip(planar: Array, step: Array, triangles: Index) -> float:
    """The smallest positive step at which a triangle's area becomes zero (Smith and Schaefer 2015)."""
    p, d = planar[triangles], step[triangles]
    e1, e2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    f1, f2 = d[:, 1] - d[:, 0], d[:, 2] - d[:, 0]

    def cross(a: Array, b: Array) -> Array:
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]

    a, b, c = cross(f1, f2), cross(e1, f2) + cross(f1, e2), cross(e1, e2)
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))
    real = b * b - 4 * a * c >= 0
    # the stable form of both roots
    q = -0.5 * (b + np.where(b >= 0, 1.0, -1.0) * root)
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.stack([q / a, c / q])
    positive = roots[:, real]
    positive = positive[np.isfinite(positive) & (positive > 0)]
    return float(positive.min()) if len(positive) else np.inf
