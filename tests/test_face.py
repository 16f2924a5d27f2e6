"""Face, Rig and Motion: what they promise, and that saving loses nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import likeness.heads
from likeness.cameras import Pinhole, WeakPerspective
from likeness.errors import FileFormatError, InputError
from likeness.face import Face
from likeness.heads import Embedding
from likeness.landmarks.base import Landmarks
from likeness.motion import Motion
from likeness.rig import DetailMap, Rig
from tiny_head import TinyHead

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]


@pytest.fixture(autouse=True)
def _tiny_head_is_known(monkeypatch):
    import tiny_head

    tiny_head.load = TinyHead
    monkeypatch.setitem(likeness.heads._LOADERS, "tiny", "tiny_head:load")


def pinhole() -> Pinhole:
    return Pinhole.from_focal(
        rotation=FACING,
        translation=torch.tensor([[3.0, -5.0, 700.0]]),
        focal=torch.tensor([900.0]),
        centre=torch.tensor([[320.0, 240.0]]),
    )


def weak_perspective() -> WeakPerspective:
    return WeakPerspective(FACING, torch.tensor([1.3]), torch.tensor([[320.0, 240.0]]))


def make_face(camera=None, **changes) -> Face:
    generator = torch.Generator().manual_seed(3)
    face = Face(
        head=TinyHead(),
        identity=torch.randn(3, generator=generator),
        expression=torch.rand(4, generator=generator),
        joints=0.2 * torch.randn(2, 3, generator=generator),
        camera=camera or pinhole(),
        image_size=(480, 640),
        method="test",
        confidence=0.75,
        detected=Landmarks("ibug68", np.arange(136, dtype=np.float32).reshape(68, 2), 0.9),
        residuals={"landmarks_px": 1.5},
        light=torch.randn(9, 3, generator=generator),
        albedo=torch.rand(3, 8, 16, generator=generator),
        displacement=torch.randn(8, 16, generator=generator),
        offsets=torch.randn(12, 3, generator=generator),
        codes={"detail": torch.randn(5, generator=generator), "counts": torch.tensor([1, 2, 3])},
    )
    return replace(face, **changes)


@pytest.mark.parametrize("camera", [pinhole(), weak_perspective()])
def test_a_saved_face_comes_back_to_the_bit(tmp_path, camera):
    face = make_face(camera)
    face.save(tmp_path / "face.safetensors")
    again = Face.load(tmp_path / "face.safetensors")
    for name in ("identity", "expression", "joints", "light", "albedo", "displacement", "offsets"):
        assert torch.equal(getattr(face, name), getattr(again, name)), name
    assert type(again.camera) is type(face.camera)
    assert torch.equal(again.camera.project(face.vertices[None]), face.camera.project(face.vertices[None]))
    assert (again.method, again.confidence, again.image_size) == ("test", 0.75, (480, 640))
    assert again.residuals == face.residuals
    assert again.detected.convention == "ibug68" and again.detected.score == 0.9
    np.testing.assert_array_equal(again.detected.points, face.detected.points)
    assert all(torch.equal(again.codes[name], value) for name, value in face.codes.items())


def test_two_saves_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        make_face().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_optional_parts_stay_absent(tmp_path):
    bare = make_face(light=None, albedo=None, displacement=None, offsets=None, detected=None, codes={})
    bare.save(tmp_path / "face")
    again = Face.load(tmp_path / "face")
    assert again.light is again.albedo is again.displacement is again.offsets is again.detected is None
    assert again.codes == {}


def test_a_face_of_another_version_of_its_head_is_refused(tmp_path, monkeypatch):
    make_face().save(tmp_path / "face")
    monkeypatch.setattr(TinyHead, "version", "2")
    with pytest.raises(FileFormatError, match="version 1 of the head"):
        Face.load(tmp_path / "face")


@pytest.mark.parametrize("length", [0, 5, 8, 100])
def test_a_cut_file_is_named(tmp_path, length):
    make_face().save(tmp_path / "face")
    (tmp_path / "short").write_bytes((tmp_path / "face").read_bytes()[:length])
    with pytest.raises(FileFormatError, match="short"):
        Face.load(tmp_path / "short")


def test_other_files_are_told_apart(tmp_path):
    motion = Motion(30.0, ("jawOpen",), np.zeros((2, 1)), np.zeros((2, 3)), np.zeros((2, 2, 3)))
    motion.save(tmp_path / "motion.safetensors")
    with pytest.raises(FileFormatError, match="a motion, not a Likeness face"):
        Face.load(tmp_path / "motion.safetensors")
    save_file({"x": np.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(FileFormatError, match="not a Likeness face"):
        Face.load(tmp_path / "foreign")
    with pytest.raises(FileFormatError, match="no such file"):
        Face.load(tmp_path / "nothing")


def test_neutral_has_neither_expression_nor_joint_rotation():
    face = make_face()
    torch.testing.assert_close(face.neutral().vertices, face.neutral_vertices)
    assert not torch.allclose(face.vertices, face.neutral_vertices)


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="identity"):
        make_face(identity=torch.zeros(4))


def test_landmarks_lie_on_the_mesh_and_project_with_the_camera():
    face = make_face()
    landmarks = face.landmarks("ibug68")
    points = torch.from_numpy(landmarks.head)[None]
    np.testing.assert_allclose(landmarks.image, face.camera.project(points)[0].numpy(), atol=1e-4)
    # A convex body seen from +z: points of its front show, points of its back do not.
    centred = landmarks.head - landmarks.head.mean(0)
    assert landmarks.visible[centred[:, 2] > 50].all()
    assert not landmarks.visible[centred[:, 2] < -50].any()
    with pytest.raises(InputError, match="has five, ibug68"):
        face.landmarks("nonsense")


def test_a_rig_evaluates_to_the_face_it_came_from():
    face = make_face(joints=torch.zeros(2, 3))
    rig = face.rig(blendshapes="native")
    weights = dict(zip(rig.blendshape_names, rig.weights.tolist(), strict=True))
    np.testing.assert_allclose(rig.evaluate(weights).vertices, face.mesh().vertices, atol=1e-3)
    with pytest.raises(InputError, match="noseLong"):
        rig.evaluate({"noseLong": 1.0})


def test_a_saved_rig_comes_back_to_the_bit(tmp_path):
    rig = replace(
        make_face().rig(blendshapes="native"),
        details=(DetailMap("brow", np.ones((4, 4), np.float32), 0.1, {"browInnerUp": 0.5}),),
    )
    rig.save(tmp_path / "rig.safetensors")
    again = Rig.load(tmp_path / "rig.safetensors")
    for name in ("neutral", "blendshapes", "weights", "joint_positions", "skin_weights", "albedo"):
        np.testing.assert_array_equal(getattr(rig, name), getattr(again, name))
    np.testing.assert_array_equal(again.topology.triangles, rig.topology.triangles)
    np.testing.assert_array_equal(again.topology.regions["face"], rig.topology.regions["face"])
    assert again.blendshape_names == rig.blendshape_names and again.joint_parents == rig.joint_parents
    assert torch.equal(again.landmarks["ibug68"].corners, rig.landmarks["ibug68"].corners)
    assert torch.equal(again.landmarks["ibug68"].barycentric, rig.landmarks["ibug68"].barycentric)
    assert again.details[0].weights == {"browInnerUp": 0.5}
    assert again.details[0].strength({"browInnerUp": 0.4}) == pytest.approx(0.3)
    with pytest.raises(InputError, match=r"\.glb"):
        rig.save(tmp_path / "rig.fbx")
    beyond = Embedding(rig.landmarks["ibug68"].corners + 1000, rig.landmarks["ibug68"].barycentric)
    replace(rig, landmarks={"ibug68": beyond}).save(tmp_path / "beyond.safetensors")
    with pytest.raises(FileFormatError, match="vertices it does not have"):
        Rig.load(tmp_path / "beyond.safetensors")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 6), st.floats(1, 240), st.integers(0, 2**31))
def test_motion_round_trip(tmp_path_factory, n_frames, n_names, fps, seed):
    rng = np.random.default_rng(seed)
    names = tuple(f"shape{i}" for i in range(n_names))
    arrays = [rng.standard_normal(shape) for shape in ((n_frames, n_names), (n_frames, 3), (n_frames, 2, 3))]
    path = tmp_path_factory.mktemp("motion") / "motion.safetensors"
    Motion(fps, names, *arrays).save(path)
    again = Motion.load(path)
    assert (again.fps, again.names) == (fps, names)
    for value, name in zip(arrays, ("weights", "head", "eyes"), strict=True):
        np.testing.assert_array_equal(getattr(again, name), value)


def test_motion_of_odd_shape_is_refused():
    with pytest.raises(InputError, match="weights"):
        Motion(30.0, ("a", "b"), np.zeros((3, 1)), np.zeros((3, 3)), np.zeros((3, 2, 3)))
    with pytest.raises(InputError, match="fps"):
        Motion(0.0, (), np.zeros((3, 0)), np.zeros((3, 3)), np.zeros((3, 2, 3)))
