"""The displaced surface: where it lies, and that it is the coarse one where nothing is displaced."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

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


def test_nothing_displaced_passes_through_the_coarse_vertices(face):
    """Rounding would draw a mesh in by tenths of a millimetre; this one is fitted back."""
    surface = displaced_surface(face, n_subdivisions=2)
    assert len(surface.triangles) == 16 * 9976
    distance = cKDTree(surface.vertices.numpy()).query(face.vertices.numpy())[0]
    assert np.median(distance) < 0.01 and np.quantile(distance, 0.99) < 0.1
    assert surface.normals.norm(dim=1).sub(1).abs().max() < 1e-5


def test_the_finer_surface_is_rounder(face):
    """Neighbouring triangles of the fine mesh bend less against each other than those of the coarse."""
    coarse, fine = (displaced_surface(face, n_subdivisions=n) for n in (0, 2))
    bends = []
    for surface in (coarse, fine):
        corners = surface.normals[surface.triangles]
        bends.append((corners.roll(1, 1) * corners).sum(-1).mean())
    assert 1 - bends[1] < (1 - bends[0]) / 4


def test_seams_stay_shut(face):
    rows = (torch.arange(64) + 0.5) / 64
    surface = displaced_surface(
        dataclasses.replace(face, displacement=0.3 * torch.sin(9 * rows)[None, :].expand(64, 64)), n_subdivisions=1
    )
    same = surface.vertex[1:] == surface.vertex[:-1]
    assert same.any()
    torch.testing.assert_close(surface.normals[1:][same], surface.normals[:-1][same])


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
