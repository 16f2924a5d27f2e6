"""The displaced surface: where it lies, and that it is the coarse one where nothing is displaced."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import synthetic_flame
from likeness.cameras import WeakPerspective
from likeness.displaced import displaced_surface
from likeness.errors import InputError
from likeness.face import Face
from likeness.meshes import vertex_normals


@pytest.fixture(scope="module")
def face():
    head = synthetic_flame.flame_head()
    return Face(
        head=head,
        identity=torch.zeros(head.n_identity),
        expression=torch.zeros(head.n_expression),
        joints=torch.zeros(5, 3),
        camera=WeakPerspective(torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None], torch.ones(1), torch.zeros(1, 2)),
        image_size=(256, 256),
        method="deca",
        confidence=1.0,
    )


def test_nothing_displaced_is_the_coarse_surface(face):
    surface = displaced_surface(face, n_subdivisions=1)
    assert len(surface.triangles) == 4 * 9976
    # Subdividing a triangle flatly keeps every side's sum: area and first vertices.
    fine, coarse = (_areas(*mesh) for mesh in ((surface.vertices, surface.triangles), _coarse(face)))
    torch.testing.assert_close(fine.sum(), coarse.sum(), rtol=1e-5, atol=0)
    unsplit = displaced_surface(face, n_subdivisions=0)
    assert torch.equal(surface.vertices[: len(unsplit.vertices)], unsplit.vertices)
    assert (
        torch.cdist(unsplit.vertices[::20], face.vertices, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max()
        < 1e-3
    )


def _coarse(face):
    return face.vertices, face.head.topology.triangles_tensor


def _areas(vertices, triangles):
    a, b, c = vertices[triangles].double().unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=1) / 2


def test_a_constant_displacement_moves_along_the_normals(face):
    raised = dataclasses.replace(face, displacement=torch.full((64, 64), 2.0))
    flat, lifted = displaced_surface(face, n_subdivisions=0), displaced_surface(raised, n_subdivisions=0)
    assert torch.equal(flat.uv, lifted.uv)
    normals = vertex_normals(face.vertices, face.head.topology.triangles_tensor)
    nearest = torch.cdist(flat.vertices, face.vertices).argmin(1)
    torch.testing.assert_close(lifted.vertices - flat.vertices, 2 * normals[nearest], atol=1e-3, rtol=0)


def test_the_map_is_read_where_the_vertex_wears_it(face):
    """A map of v: every vertex is lifted by its own v."""
    rows = 1 - (torch.arange(256) + 0.5) / 256
    raised = dataclasses.replace(face, displacement=rows[:, None].expand(256, 256))
    flat, lifted = displaced_surface(face, n_subdivisions=0), displaced_surface(raised, n_subdivisions=0)
    length = (lifted.vertices - flat.vertices).norm(dim=1)
    torch.testing.assert_close(length, lifted.uv[:, 1], atol=1e-3, rtol=0)


def test_a_head_without_a_chart_is_refused(face):
    head = synthetic_flame.flame_head()
    bare = type(head)(
        head.layer,
        version=head.version,
        topology=dataclasses.replace(head.topology, uv=None, uv_triangles=None),
        landmarks=head.landmarks,
        centre=head.centre,
    )
    with pytest.raises(InputError, match="no UV chart"):
        displaced_surface(dataclasses.replace(face, head=bare))
