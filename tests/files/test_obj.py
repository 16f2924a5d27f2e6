"""OBJ files: what we write, and what others write."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import InputError
from likeness.files.mtl import ObjMaterial
from likeness.files.obj import ObjMesh, write_obj, write_obj_mesh
from likeness.files.obj_reader import read_obj
from likeness.topology import Mesh, Topology


def random_faces(rng, n_faces, limit):
    """Triangles and quads without doubled corners."""
    faces = np.stack([rng.permutation(limit)[:4] for _ in range(n_faces)]).astype(np.int32)
    faces[rng.random(n_faces) < 0.5, 3] = -1
    return faces


@st.composite
def meshes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_vertices, n_faces = draw(st.integers(4, 30)), draw(st.integers(1, 20))
    scale = 10.0 ** draw(st.integers(-3, 4))
    faces = random_faces(rng, n_faces, n_vertices)
    with_uv, with_normals, with_materials = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    other = np.where(faces >= 0, rng.integers(0, 5, faces.shape), -1).astype(np.int32)
    partly = np.where(rng.random((n_faces, 1)) < 0.2, -1, other).astype(np.int32)
    partly[0] = other[0]
    names = draw(st.lists(st.from_regex(r"[A-Za-zé_]{1,8}", fullmatch=True), min_size=1, max_size=3, unique=True))
    group = rng.integers(-1, len(names), n_faces)
    return ObjMesh(
        vertices=(rng.normal(size=(n_vertices, 3)) * scale).astype(np.float32),
        faces=faces,
        colours=rng.random((n_vertices, 3)).astype(np.float32) if draw(st.booleans()) else None,
        uv=rng.random((5, 2)).astype(np.float32) if with_uv else None,
        uv_faces=partly if with_uv else None,
        normals=rng.normal(size=(5, 3)).astype(np.float32) if with_normals else None,
        normal_faces=other if with_normals else None,
        groups={name: np.flatnonzero(group == i) for i, name in enumerate(names) if (group == i).any()},
        materials=tuple(ObjMaterial(name, tuple(rng.random(3))) for name in names) if with_materials else (),
        face_materials=rng.integers(0, len(names), n_faces).astype(np.int32) if with_materials else None,
    )


@given(meshes())
@settings(max_examples=60, deadline=None)
def test_round_trip_is_exact(tmp_path_factory, mesh):
    path = tmp_path_factory.getbasetemp() / "round-trip.obj"
    write_obj_mesh(path, mesh)
    read = read_obj(path)
    for name in ("vertices", "faces", "colours", "uv", "uv_faces", "normals", "normal_faces"):
        np.testing.assert_array_equal(getattr(read, name), getattr(mesh, name), err_msg=name)
    assert {k: v.tolist() for k, v in read.groups.items()} == {k: v.tolist() for k, v in mesh.groups.items()}
    if mesh.materials:
        # The reader numbers materials as faces use them.
        names = [read.materials[i].name for i in read.face_materials]
        assert names == [mesh.materials[i].name for i in mesh.face_materials]
        colours = {m.name: m.colour for m in mesh.materials}
        for material in read.materials:
            np.testing.assert_allclose(material.colour, colours[material.name], rtol=1e-8)


def cube_corner(**options):
    """A quad and a triangle, the quad's two halves among the triangles as in a head's topology."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    return Mesh(vertices, Topology(triangles=np.array([[0, 1, 2], [0, 2, 3], [0, 4, 1]]), **options))


def test_quads_are_written_where_there_are_any_and_cover_their_triangles(tmp_path):
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]], np.float32)
    mesh = cube_corner(
        quads=np.array([[0, 1, 2, 3]]),
        uv=uv,
        uv_triangles=np.array([[0, 1, 2], [0, 2, 3], [0, 4, 1]]),
        uv_quads=np.array([[0, 1, 2, 3]]),
    )
    write_obj(tmp_path / "a.obj", mesh)
    read = read_obj(tmp_path / "a.obj")
    assert read.faces.tolist() == [[0, 1, 2, 3], [0, 4, 1, -1]]
    assert read.triangles.tolist() == mesh.triangles.tolist()
    assert read.uv_triangles.tolist() == mesh.topology.uv_triangles.tolist()
    write_obj(tmp_path / "b.obj", cube_corner())
    assert read_obj(tmp_path / "b.obj").faces.tolist() == [[0, 1, 2, -1], [0, 2, 3, -1], [0, 4, 1, -1]]


def test_readers_split_quads_as_the_topology_does(tmp_path):
    bent = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 0], [0, 1, 1]], np.float32)
    triangles = np.array([[3, 0, 1], [1, 2, 3]])  # along the diagonal that is not the quad's first
    quads, uv = np.array([[0, 1, 2, 3]]), bent[:, :2]
    topology = Topology(triangles, uv=uv, uv_triangles=triangles, quads=quads, uv_quads=quads)
    write_obj(tmp_path / "a.obj", Mesh(bent, topology))
    read, other = read_obj(tmp_path / "a.obj"), trimesh.load(tmp_path / "a.obj", process=False)
    for corners in (read.vertices[read.triangles], read.uv[read.uv_triangles], other.triangles):
        expected = (bent if corners.shape[-1] == 3 else uv)[triangles]
        assert {frozenset(map(tuple, t)) for t in corners.tolist()} == {
            frozenset(map(tuple, t)) for t in expected.tolist()
        }


def test_texture_lies_beside_the_mesh_and_another_reader_finds_it(tmp_path):
    texture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0.25, 0.5]], np.float32)
    mesh = cube_corner(uv=uv, uv_triangles=np.array([[0, 1, 2], [0, 2, 3], [0, 4, 1]]))
    write_obj(tmp_path / "head.obj", mesh, texture=texture, texture_name="albedo.png", material="skin")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["albedo.png", "head.mtl", "head.obj"]
    (material,) = read_obj(tmp_path / "head.obj").materials
    assert material.name == "skin" and material.texture_name == "albedo.png"
    np.testing.assert_array_equal(material.texture, texture)
    other = trimesh.load(tmp_path / "head.obj", process=False)
    np.testing.assert_allclose(other.triangles, mesh.vertices[mesh.triangles])
    np.testing.assert_array_equal(np.asarray(other.visual.material.image.convert("RGB")), texture)
    np.testing.assert_allclose(other.visual.uv[other.faces], uv[mesh.topology.uv_triangles])


def test_same_mesh_same_bytes(tmp_path):
    for name in ("a.obj", "b.obj"):
        write_obj(tmp_path / name, cube_corner())
    assert (tmp_path / "a.obj").read_bytes() == (tmp_path / "b.obj").read_bytes()


def read_text(tmp_path, text):
    path = tmp_path / "other.obj"
    path.write_bytes(text.encode())
    return read_obj(path)


QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


@pytest.mark.parametrize(
    ("text", "faces"),
    [
        (QUAD + "f 1 2 3 4\n", [[0, 1, 2, 3]]),
        (QUAD + "f -4 -3 -2\n", [[0, 1, 2, -1]]),
        (QUAD.replace("\n", "\r\n") + "f 1 2 3\r\n", [[0, 1, 2, -1]]),
        (QUAD.replace("\n", "\r") + "f 1 2 3", [[0, 1, 2, -1]]),
        (QUAD + "f 1 2 \\\n 3\n", [[0, 1, 2, -1]]),
        (QUAD + "  f\t1  2 3   # a comment\n", [[0, 1, 2, -1]]),
        (QUAD + "v 2 2 0\nf 1 2 3 4 5\n", [[0, 1, 2, -1], [0, 2, 3, -1], [0, 3, 4, -1]]),
        ("# Ünïcödé\n" + QUAD + "s off\nl 1 2\nf 1// 2// 3//\n", [[0, 1, 2, -1]]),
        ("f 1 2 3\n".join([QUAD, QUAD.replace("0", "2")]) + "f -1 -2 -3\n", [[0, 1, 2, -1], [7, 6, 5, -1]]),
    ],
)
def test_what_other_programs_write(tmp_path, text, faces):
    assert read_text(tmp_path, text).faces.tolist() == faces


def test_colours_after_positions_count_only_if_all_have_them(tmp_path):
    coloured = "v 0 0 0 .1 .2 .3\nv 1 0 0 .1 .2 .3\nv 0 1 0 1 1 1\n"
    np.testing.assert_allclose(read_text(tmp_path, coloured + "f 1 2 3").colours[2], 1)
    assert read_text(tmp_path, coloured + "v 5 5 5\nf 1 2 3").colours is None


def test_missing_library_and_texture_are_told(tmp_path):
    with pytest.warns(UserWarning, match=r"gone\.mtl.*missing"):
        mesh = read_text(tmp_path, "mtllib gone.mtl\n" + QUAD + "usemtl skin\nf 1 2 3\n")
    assert [m.name for m in mesh.materials] == ["skin"]
    (tmp_path / "here.mtl").write_text("newmtl skin\nmap_Kd -s 1 1 1 gone.png\nKd 0.5 0.25 1\n")
    with pytest.warns(UserWarning, match=r"without its texture.*gone\.png"):
        mesh = read_text(tmp_path, "mtllib here.mtl\n" + QUAD + "usemtl skin\nf 1 2 3\n")
    assert mesh.materials[0].colour == (0.5, 0.25, 1) and mesh.materials[0].texture is None


@pytest.mark.parametrize(
    "changes",
    [
        {"vertices": np.full((3, 3), np.nan, np.float32)},
        {"faces": np.array([[0, 1, 3, -1]], np.int32)},
        {"faces": np.array([[0, 1, -1, -1]], np.int32)},
        {"faces": np.array([[0, 1, 2]], np.int32)},
        {"uv_faces": np.array([[0, 0, 0, -1]], np.int32)},
        {"colours": np.zeros((2, 3), np.float32)},
        {"face_materials": np.zeros(1, np.int32)},
        {"groups": {"g": np.array([1])}},
    ],
)
def test_meshes_that_do_not_fit_are_refused(tmp_path, changes):
    sound = {"vertices": np.zeros((3, 3), np.float32), "faces": np.array([[0, 1, 2, -1]], np.int32)}
    with pytest.raises(InputError):
        write_obj_mesh(tmp_path / "a.obj", ObjMesh(**(sound | changes)))
    assert list(tmp_path.iterdir()) == []
