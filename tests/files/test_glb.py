"""What is written as GLB comes back, is found by another reader, and is the same each time."""

import dataclasses
import io
import json
import struct

import numpy as np
import pytest
import trimesh
from glb_models import full_model, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import FileFormatError, InputError
from likeness.files.glb import (
    GlbAnimation,
    GlbImage,
    GlbJoint,
    GlbMaterial,
    GlbModel,
    GlbPart,
    glb_bytes,
    read_glb,
    write_glb,
)
from likeness.files.glb.tangents import vertex_tangents
from likeness.files.glb.write import MIN_DELTA_MM

# Millimetres to metres and back rounds twice in single precision.
RELATIVE = 3e-7


@st.composite
def models(draw):
    """Random rigs, with or without each optional thing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_vertices, n_uv = draw(st.integers(3, 40)), draw(st.integers(1, 40))
    n_joints, n_morphs = draw(st.integers(0, 6)), draw(st.integers(0, 4))
    has_uv = draw(st.booleans())
    normals = rng.normal(size=(n_vertices, 3))
    image = picture("png") if has_uv and draw(st.booleans()) else None
    parts = []
    for name in draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3)):
        n_triangles = draw(st.integers(1, 20))
        parts.append(
            GlbPart(
                name,
                rng.integers(0, n_vertices, (n_triangles, 3)).astype(np.int32),
                GlbMaterial(name + " material", tuple(rng.random(4).tolist()), image, roughness=0.5),
                rng.integers(0, n_uv, (n_triangles, 3)).astype(np.int32) if has_uv else None,
            )
        )
    moved = rng.random((n_morphs, n_vertices, 1)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    deltas = (rng.normal(size=(n_morphs, n_vertices, 3)) * moved).astype(np.float32)
    weights = np.zeros((n_vertices, n_joints), np.float32)
    for row in weights if n_joints else ():
        chosen = rng.permutation(n_joints)[:4]
        row[chosen] = rng.dirichlet(np.ones(len(chosen)))
    return GlbModel(
        name=draw(st.text(max_size=8)),
        vertices=(rng.normal(size=(n_vertices, 3)) * 100).astype(np.float32),
        normals=(normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        parts=tuple(parts),
        uv=rng.random((n_uv, 2)).astype(np.float32) if has_uv else None,
        joints=tuple(
            GlbJoint(
                f"joint {i}", tuple(rng.normal(size=3) * 50), draw(st.none() | st.integers(0, i - 1)) if i else None
            )
            for i in range(n_joints)
        ),
        skin_weights=weights if n_joints else None,
        morph_names=tuple(f"morph {i}" for i in range(n_morphs)),
        morph_deltas=deltas if n_morphs else None,
        morph_normal_deltas=-deltas if n_morphs and draw(st.booleans()) else None,
        morph_weights=rng.random(n_morphs).astype(np.float32) if n_morphs else None,
        extras=draw(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.text(max_size=5), max_size=3)),
    )


def corners(model, part, rows):
    """Rows of a per-vertex array as the part's triangles see them."""
    return rows[..., part.triangles.reshape(-1), :]


def assert_same(read, model):
    """The same but for the cut seams: compared corner by corner."""
    assert [p.name for p in read.parts] == [p.name for p in model.parts]
    for got, given_ in zip(read.parts, model.parts, strict=True):
        assert got.material == given_.material
        np.testing.assert_allclose(
            corners(read, got, read.vertices), corners(model, given_, model.vertices), rtol=RELATIVE
        )
        np.testing.assert_allclose(corners(read, got, read.normals), corners(model, given_, model.normals), atol=2e-7)
        if given_.uv_triangles is not None:
            expected = model.uv[given_.uv_triangles]
            np.testing.assert_allclose(read.uv[got.uv_triangles], expected, atol=1.2e-7)  # 1 - (1 - v)
        if model.joints:
            np.testing.assert_allclose(
                corners(read, got, read.skin_weights), corners(model, given_, model.skin_weights), atol=2e-7
            )
        for name, dropped in (("morph_deltas", MIN_DELTA_MM), ("morph_normal_deltas", 1e-4)):
            if getattr(model, name) is not None:
                mine, theirs = (corners(m, p, getattr(m, name)) for m, p in ((read, got), (model, given_)))
                np.testing.assert_allclose(mine, theirs, rtol=RELATIVE, atol=dropped)
    assert read.name == model.name and dict(read.extras) == dict(model.extras)
    assert [(j.name, j.parent) for j in read.joints] == [(j.name, j.parent) for j in model.joints]
    for got, given_ in zip(read.joints, model.joints, strict=True):
        np.testing.assert_allclose(got.position, given_.position, rtol=RELATIVE, atol=1e-12)
    assert read.morph_names == model.morph_names
    if model.morph_names:
        np.testing.assert_array_equal(read.morph_weights, model.morph_weights)


@given(models())
@settings(max_examples=60, deadline=None)
def test_round_trip(tmp_path_factory, model):
    path = tmp_path_factory.getbasetemp() / "round-trip.glb"
    write_glb(path, model)
    assert_same(read_glb(path), model)


@pytest.fixture(scope="module")
def model():
    return full_model()


@pytest.fixture(scope="module")
def file(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("glb") / "full.glb"
    write_glb(path, model)
    return path


def test_everything_comes_back(file, model):
    read = read_glb(file)
    assert_same(read, model)
    assert read.payloads == model.payloads
    (got,), (given_,) = read.animations, model.animations
    assert got.name == given_.name and got.joint_rotations.keys() == given_.joint_rotations.keys()
    np.testing.assert_array_equal(got.times, given_.times)
    np.testing.assert_array_equal(got.morph_weights, given_.morph_weights)
    for joint, rotations in given_.joint_rotations.items():
        np.testing.assert_allclose(got.joint_rotations[joint], rotations, atol=1e-7)


def test_same_model_same_bytes(model):
    assert glb_bytes(model) == glb_bytes(full_model())


def test_another_reader_finds_the_mesh_in_metres(file, model):
    scene = trimesh.load(io.BytesIO(file.read_bytes()), file_type="glb")
    sizes = sorted(len(mesh.faces) for mesh in scene.geometry.values())
    assert sizes == sorted(len(part.triangles) for part in model.parts)
    mesh = max(scene.geometry.values(), key=lambda m: len(m.faces))
    part = max(model.parts, key=lambda p: len(p.triangles))
    np.testing.assert_allclose(mesh.triangles, model.vertices[part.triangles] / 1000, atol=1e-7)
    # trimesh keeps uv from the bottom left, as we do.
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], model.uv[part.uv_triangles], atol=1e-6)


def document(data):
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length])


def test_morph_targets_take_room_only_where_they_move(model):
    still = dataclasses.replace(
        model, morph_names=(), morph_deltas=None, morph_normal_deltas=None, morph_weights=None, animations=()
    )
    with_morphs = dataclasses.replace(model, animations=())
    n_rows = sum(accessor["count"] for accessor in document(glb_bytes(still))["accessors"][::1] if "min" in accessor)
    dense = 2 * len(model.morph_names) * n_rows * 12
    extra = len(glb_bytes(with_morphs)) - len(glb_bytes(still))
    assert extra < 0.5 * dense


def test_names_where_other_programs_look(model):
    root = document(glb_bytes(model))
    assert root["meshes"][0]["extras"]["targetNames"] == list(model.morph_names)
    assert [root["nodes"][i]["name"] for i in root["skins"][0]["joints"]] == [joint.name for joint in model.joints]
    assert len(root["images"]) == 3  # each picture once


def test_only_the_four_heaviest_influences_are_kept(tmp_path):
    weights = np.tile(np.array([0.05, 0.3, 0.2, 0.1, 0.35], np.float32), (3, 1))
    model = GlbModel(
        name="five",
        vertices=np.eye(3, dtype=np.float32),
        normals=np.eye(3, dtype=np.float32),
        parts=(GlbPart("part", np.array([[0, 1, 2]], np.int32), GlbMaterial("plain")),),
        joints=tuple(GlbJoint(str(i), (0.0, 0.0, 0.0)) for i in range(5)),
        skin_weights=weights,
    )
    write_glb(tmp_path / "five.glb", model)
    expected = np.array([0, 0.3, 0.2, 0.1, 0.35]) / 0.95
    np.testing.assert_allclose(read_glb(tmp_path / "five.glb").skin_weights[0], expected, atol=1e-7)


def test_tangents_follow_u_and_know_mirrored_charts():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], float)
    normals = np.tile([0.0, 0.0, 1.0], (4, 1))
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    uv = vertices[:, :2]
    np.testing.assert_allclose(vertex_tangents(vertices, normals, uv, triangles), np.tile([1, 0, 0, 1], (4, 1)))
    mirrored = uv * [-1, 1]
    np.testing.assert_allclose(vertex_tangents(vertices, normals, mirrored, triangles), np.tile([-1, 0, 0, -1], (4, 1)))
    without = vertex_tangents(vertices, normals, np.zeros((4, 2)), triangles)
    np.testing.assert_allclose(np.linalg.norm(without[:, :3], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose((without[:, :3] * normals).sum(axis=1), 0, atol=1e-6)


def test_joints_in_any_order_are_sorted_parents_first(tmp_path, model):
    data = glb_bytes(model)
    root = document(data)
    skin = root["skins"][0]
    order = [2, 1, 0, 3]  # eye, jaw, neck, prop: children first
    skin["joints"] = [skin["joints"][i] for i in order]
    accessor = root["accessors"][skin["inverseBindMatrices"]]
    start = 20 + struct.unpack_from("<I", data, 12)[0] + 8 + root["bufferViews"][accessor["bufferView"]]["byteOffset"]
    matrices = np.frombuffer(data, "<f4", 64, start).reshape(4, 16)[order].tobytes()
    path = tmp_path / "shuffled.glb"
    path.write_bytes(rebuilt(data[:start] + matrices + data[start + len(matrices) :], root))
    read = read_glb(path)
    expected = {j.name: (np.round(j.position, 3).tolist(), j.parent) for j in model.joints}
    parents = {j.name: None if j.parent is None else read.joints[j.parent].name for j in read.joints}
    assert parents == {"neck": None, "jaw": "neck", "eyeLeft": "neck", "prop": None}
    assert {j.name: np.round(j.position, 3).tolist() for j in read.joints} == {k: v[0] for k, v in expected.items()}


def rebuilt(data, root):
    """A GLB with another JSON chunk."""
    length = struct.unpack_from("<I", data, 12)[0]
    text = json.dumps(root).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + data[20 + length :]
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


TRIANGLE = np.array([[0, 1, 2]], np.int32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": ()}, "no parts"),
        ({"normals": np.zeros((2, 3), np.float32)}, "normals"),
        ({"vertices": np.full((264, 3), np.nan, np.float32)}, "finite"),
        ({"parts": (GlbPart("p", TRIANGLE + 10_000, GlbMaterial("m")),)}, "reach from"),
        ({"parts": (GlbPart("p", TRIANGLE - 1, GlbMaterial("m")),)}, "reach from"),
        ({"parts": (GlbPart("p", TRIANGLE, GlbMaterial("m", base_colour_image=picture("png"))),)}, "no uv"),
        ({"skin_weights": None}, "come together"),
        ({"joints": (GlbJoint("a", (0, 0, 0), 0),) * 4}, "different names"),
        ({"morph_names": ("same",) * 52}, "different names"),
        ({"extras": {"nan": float("nan")}}, "plain JSON"),
        ({"extras": {"object": object()}}, "plain JSON"),
        ({"extras": {"likeness_payloads": 1}}, "rename"),
        ({"animations": (GlbAnimation("still", np.zeros(1, np.float32)),)}, "moves nothing"),
        (
            {"animations": (GlbAnimation("b", np.zeros(2, np.float32), np.zeros((2, 52), np.float32)),)},
            "must increase",
        ),
        (
            {"animations": (GlbAnimation("c", np.zeros(1, np.float32), None, {"tail": np.ones((1, 4), np.float32)}),)},
            "does not have",
        ),
    ],
)
def test_models_that_do_not_fit_are_refused(model, changes, message):
    with pytest.raises(InputError, match=message):
        glb_bytes(dataclasses.replace(model, **changes))


def test_pictures_that_cannot_be_encoded():
    with pytest.raises(InputError, match="uint8"):
        GlbImage.from_pixels(np.zeros((4, 4, 3)))
    with pytest.raises(InputError, match="transparency"):
        GlbImage.from_pixels(np.zeros((4, 4, 4), np.uint8), encoding="jpeg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: root.update(extensionsRequired=["KHR_draco_mesh_compression"]), "draco"),
        (lambda root: root["nodes"].append({"mesh": 0}), "2 meshes"),
        (lambda root: root["buffers"][0].update(uri="data.bin"), "outside the file"),
        (lambda root: root["images"][0].update(uri="http://example.org/a.png"), "embedded"),
        (lambda root: root["meshes"][0]["primitives"][0].update(mode=1), "triangles"),
        (lambda root: root["animations"][0]["samplers"][0].update(interpolation="STEP"), "linearly"),
        (lambda root: root["animations"][0]["channels"][1]["target"].update(path="scale"), "something else"),
        (lambda root: root["meshes"][0]["primitives"][0]["attributes"].pop("NORMAL"), "no normals"),
    ],
)
def test_foreign_files_with_more_than_a_rig_say_so(tmp_path, model, change, message):
    data = glb_bytes(model)
    root = document(data)
    change(root)
    path = tmp_path / "foreign.glb"
    path.write_bytes(rebuilt(data, root))
    with pytest.raises(FileFormatError, match=message):
        read_glb(path)
