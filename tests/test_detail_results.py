"""Detail in the result folder: read back, the files say the same."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from likeness.displaced import displaced_surface
from likeness.files.maps import read_displacement, read_exr
from likeness.images import read_image
from likeness.methods.protocol import Photo
from likeness.results import write_detailed_mesh, write_maps, write_result
from wrinkled_person import person

SIZE = 128


@pytest.fixture(scope="module")
def face():
    rows = (torch.arange(SIZE) + 0.5) / SIZE
    return replace(person(), displacement=(0.4 * torch.sin(50 * rows))[:, None] * torch.ones(SIZE, SIZE))


def test_maps_hold_the_same_millimetres(face, tmp_path):
    photo = Photo(np.zeros((900, 900, 3), np.uint8), "photo")
    write_result(tmp_path, photo, face, ("maps", "parameters"))
    exact = read_exr(tmp_path / "displacement.exr")
    np.testing.assert_array_equal(exact, face.displacement.numpy())
    record = json.loads((tmp_path / "parameters.json").read_text())["displacement"]
    rounded = read_displacement(
        tmp_path / record["file"], scale=record["millimetres_per_step"], offset=record["millimetres_at_0"]
    )
    np.testing.assert_allclose(rounded, exact, atol=0.51 * record["millimetres_per_step"])
    assert record["largest"] == pytest.approx(0.4, abs=1e-3)
    normals = read_image(tmp_path / "normal.png")
    assert normals.shape == (SIZE, SIZE, 3) and normals[..., 1].std() > 3 * normals[..., 0].std()


def test_a_face_without_relief_writes_no_maps(face, tmp_path):
    write_maps(tmp_path, replace(face, displacement=None))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_detailed_meshes_are_the_displaced_surface(face, tmp_path):
    write_detailed_mesh(tmp_path, face)
    surface = displaced_surface(face, n_subdivisions=3)
    for name in ("head_detail.ply", "head_detail.obj"):
        # An outside reader's word.
        mesh = trimesh.load(tmp_path / name, process=False)
        assert mesh.faces.shape == tuple(surface.triangles.shape)
        low, high = surface.vertices.amin(0).numpy(), surface.vertices.amax(0).numpy()
        np.testing.assert_allclose(mesh.bounds, [low, high], atol=1e-3)
        assert len(mesh.vertices) >= len(surface.vertices)
