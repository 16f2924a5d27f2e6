"""PLY files: ours, and the dialects of others."""

import struct

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import InputError
from likeness.files.ply import PlyMesh, read_ply, write_ply, write_ply_mesh
from likeness.topology import Mesh, Topology


@st.composite
def meshes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_vertices = draw(st.integers(1, 30))
    return PlyMesh(
        vertices=rng.normal(size=(n_vertices, 3)).astype(np.float32),
        triangles=rng.integers(0, n_vertices, (draw(st.integers(0, 20)), 3)).astype(np.int32),
        colours=rng.integers(0, 256, (n_vertices, 3), dtype=np.uint8) if draw(st.booleans()) else None,
        normals=rng.normal(size=(n_vertices, 3)).astype(np.float32) if draw(st.booleans()) else None,
    )


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
@given(mesh=meshes())
@settings(max_examples=40, deadline=None)
def test_round_trip_is_exact(tmp_path_factory, encoding, mesh):
    path = tmp_path_factory.getbasetemp() / f"round-trip-{encoding}.ply"
    write_ply_mesh(path, mesh, encoding=encoding)
    read = read_ply(path)
    for name in ("vertices", "triangles", "colours", "normals"):
        np.testing.assert_array_equal(getattr(read, name), getattr(mesh, name), err_msg=name)


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_another_reader_finds_the_same(tmp_path, encoding):
    rng = np.random.default_rng(0)
    triangles = rng.integers(0, 9, (12, 3))
    mesh = Mesh(rng.normal(size=(9, 3)).astype(np.float32), Topology(triangles), colours=rng.random((9, 3)))
    write_ply(tmp_path / "a.ply", mesh, encoding=encoding)
    other = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_array_equal(other.vertices, mesh.vertices)
    np.testing.assert_array_equal(other.faces, triangles)
    np.testing.assert_allclose(other.visual.vertex_colors[:, :3] / 255, mesh.colours, atol=0.5001 / 255)


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_another_writer_is_understood(tmp_path, encoding):
    other = trimesh.creation.icosphere(subdivisions=1)
    (tmp_path / "a.ply").write_bytes(trimesh.exchange.ply.export_ply(other, encoding=encoding, vertex_normal=True))
    read = read_ply(tmp_path / "a.ply")
    np.testing.assert_allclose(read.vertices, other.vertices, atol=1e-6)
    np.testing.assert_array_equal(read.triangles, other.faces)
    np.testing.assert_allclose(read.normals, other.vertex_normals, atol=1e-6)


def mixed_faces(order, body_of_faces):
    header = (
        f"ply\nformat binary_{'little' if order == '<' else 'big'}_endian 1.0\ncomment by another\n"
        "element vertex 5\nproperty double x\nproperty double y\nproperty double z\nproperty uchar quality\n"
        "element face 2\nproperty uchar flags\nproperty list uchar int vertex_index\n"
        "element edge 1\nproperty int a\nend_header\n"
    )
    rows = b"".join(struct.pack(order + "dddB", i, 2 * i, -i, 7) for i in range(5))
    return header.encode() + rows + body_of_faces + struct.pack(order + "i", 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_polygons_doubles_and_both_byte_orders(tmp_path, order):
    faces = struct.pack(order + "BB3i", 1, 3, 0, 1, 2) + struct.pack(order + "BB5i", 1, 5, 0, 1, 2, 3, 4)
    (tmp_path / "a.ply").write_bytes(mixed_faces(order, faces))
    read = read_ply(tmp_path / "a.ply")
    assert read.vertices[4].tolist() == [4, 8, -4]
    assert read.triangles.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 3, 4]]


def test_ascii_with_quads_and_float_colours(tmp_path):
    (tmp_path / "a.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "property float red\nproperty float green\nproperty float blue\n"
        "element face 1\nproperty list uchar uint vertex_indices\nend_header\n"
        "0 0 0 0 0.5 1\n\n1 0 0 1 1 1\n1 1 0 1 1 1\n0 1 0 1 1 1\n4 0 1 2 3\n"
    )
    read = read_ply(tmp_path / "a.ply")
    assert read.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert read.colours[0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "changes",
    [
        {"vertices": np.full((3, 3), np.inf, np.float32)},
        {"triangles": np.array([[0, 1, 3]])},
        {"triangles": np.array([[0, 1]])},
        {"colours": np.zeros((2, 3), np.uint8)},
    ],
)
def test_meshes_that_do_not_fit_are_refused(tmp_path, changes):
    sound = {"vertices": np.zeros((3, 3), np.float32), "triangles": np.array([[0, 1, 2]])}
    with pytest.raises(InputError):
        write_ply_mesh(tmp_path / "a.ply", PlyMesh(**(sound | changes)))
    assert list(tmp_path.iterdir()) == []
