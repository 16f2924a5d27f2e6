from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.heads.nearest import MeshPoints, SurfaceIndex, nearest_barycentric, vertex_normals


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_no_point_of_the_triangle_is_nearer(seed):
    rng = np.random.default_rng(seed)
    corners, point = rng.normal(size=(1, 3, 3)), 2 * rng.normal(size=(1, 3))
    found = nearest_barycentric(point, corners)
    assert (found >= -1e-12).all()
    np.testing.assert_allclose(found.sum(-1), 1)
    others = rng.dirichlet([0.5, 0.5, 0.5], 400)
    distance = np.linalg.norm((found[..., None] * corners).sum(1) - point)
    assert distance <= np.linalg.norm(others @ corners[0] - point, axis=1).min() + 1e-9


def test_of_two_sides_of_a_gap_the_one_that_faces_alike_is_found():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float) * 10
    # A floor that looks up, and half a millimetre above it a ceiling that looks down.
    vertices = np.concatenate([square, square + np.array([0, 0, 0.5])])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 6, 5], [4, 7, 6]])
    index = SurfaceIndex(vertices, triangles)
    point = np.array([[4.0, 6.0, 0.4]])
    up = index.nearest(point, np.array([[0.0, 0.0, 1.0]]))
    down = index.nearest(point, np.array([[0.0, 0.0, -1.0]]))
    assert up.points.triangle[0] in (0, 1) and down.points.triangle[0] in (2, 3)
    np.testing.assert_allclose([up.distance[0], down.distance[0]], [0.4, 0.1], atol=1e-9)
    np.testing.assert_allclose(up.agreement, 1, atol=1e-9)


def test_points_carry_values_of_vertices():
    triangles = np.array([[0, 1, 2], [2, 1, 3]])
    values = np.arange(24, dtype=float).reshape(2, 4, 3)
    points = MeshPoints(np.array([1, 0]), np.array([[0.5, 0.25, 0.25], [0, 1, 0]]))
    np.testing.assert_allclose(
        points.of(values, triangles)[:, 0], 0.5 * values[:, 2] + 0.25 * values[:, 1] + 0.25 * values[:, 3]
    )
    np.testing.assert_allclose(points.of(values, triangles)[:, 1], values[:, 1])


def test_normals_point_outward():
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]], float)
    triangles = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
    normals = vertex_normals(corners, triangles)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert ((normals * corners).sum(1) > 0).all()
