from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from likeness.cameras import WeakPerspective
from likeness.errors import FileFormatError, InputError
from likeness.face import Face
from likeness.files.tensors import read_tensors, write_tensors
from likeness.heads import Head
from likeness.heads.personal import PersonalHead
from likeness.rig import rig_from_face
from tiny_head import TinyHead


def personal(seed=3, **changes):
    """A tiny general head at one identity, as a personal head."""
    tiny, generator = TinyHead(), torch.Generator().manual_seed(seed)
    identity = torch.randn(1, tiny.n_identity, generator=generator)
    neutral = tiny.vertices(identity)[0]
    shapes = tiny.vertices(identity.expand(4, -1), torch.eye(4)) - neutral
    parts = {
        "neutral": neutral,
        "blendshapes": shapes,
        "expression_names": tiny.expression_names,
        "topology": tiny.topology,
        "joint_names": tiny.joint_names,
        "joint_parents": tiny.joint_parents,
        "joint_positions": tiny.joint_positions(identity)[0],
        "skin_weights": tiny.skin_weights(),
        "embeddings": tiny.embeddings,
    }
    return PersonalHead(**(parts | changes)), tiny, identity


def face_of(head):
    generator = torch.Generator().manual_seed(5)
    camera = WeakPerspective(roma.random_rotmat(1), torch.tensor([2.0]), torch.tensor([[30.0, 40.0]]))
    return Face(
        head=head,
        identity=torch.zeros(0),
        expression=torch.rand(head.n_expression, generator=generator),
        joints=torch.randn(len(head.joint_names), 3, generator=generator) * 0.3,
        camera=camera,
        image_size=(60, 80),
        method="made up",
        confidence=0.5,
    )


def test_is_the_general_head_at_that_identity():
    head, tiny, identity = personal()
    assert isinstance(head, Head)
    expression, joints = torch.rand(5, 4), torch.randn(5, 2, 3) * 0.4
    offsets = torch.randn(5, 12, 3)
    expected = tiny.vertices(identity.expand(5, -1), expression, joints, offsets)
    found = head.vertices(torch.zeros(5, 0), expression, joints, offsets)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-5)


def test_gradients_reach_expression_and_joints():
    head, _, _ = personal()
    expression = torch.rand(1, 4, requires_grad=True)
    joints = torch.rand(1, 2, 3, requires_grad=True)
    head.vertices(torch.zeros(1, 0), expression, joints).square().sum().backward()
    assert expression.grad.abs().sum() > 0 and joints.grad.abs().sum() > 0


def test_a_face_keeps_its_personal_head_in_its_file(tmp_path):
    face = face_of(personal()[0])
    face.save(tmp_path / "face.safetensors")
    again = Face.load(tmp_path / "face.safetensors")
    assert again.head.version == face.head.version
    assert again.head.expression_names == face.head.expression_names
    assert torch.equal(again.vertices, face.vertices)
    for name, embedding in face.head.embeddings.items():
        assert torch.equal(again.head.embeddings[name].corners, embedding.corners)
    for name, mask in face.head.topology.regions.items():
        np.testing.assert_array_equal(again.head.topology.regions[name], mask)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "face.safetensors").read_bytes()


def test_its_rig_is_the_head_itself():
    face = face_of(personal()[0])
    face = replace(face, joints=torch.zeros_like(face.joints))
    mesh = rig_from_face(face, blendshapes="native").evaluate(face.weights)
    np.testing.assert_allclose(mesh.vertices, face.vertices.numpy(), atol=1e-4)


def test_version_follows_the_numbers():
    assert personal()[0].version == personal()[0].version
    assert personal()[0].version != personal(seed=4)[0].version


def test_a_changed_file_is_noticed(tmp_path):
    path = tmp_path / "face.safetensors"
    face_of(personal()[0]).save(path)
    header, tensors = read_tensors(path, "face", 1)
    tensors["head/neutral"] = tensors["head/neutral"] + 1
    kept = {key: value for key, value in header.items() if key not in ("kind", "version")}
    write_tensors(path, "face", 1, kept, tensors)
    with pytest.raises(FileFormatError):
        Face.load(path)


@pytest.mark.parametrize("missing", ["head/neutral", "head/topology/triangles", "head/skin_weights"])
def test_a_file_without_a_part_of_the_head_is_refused(tmp_path, missing):
    path = tmp_path / "face.safetensors"
    face_of(personal()[0]).save(path)
    header, tensors = read_tensors(path, "face", 1)
    del tensors[missing]
    kept = {key: value for key, value in header.items() if key not in ("kind", "version")}
    write_tensors(path, "face", 1, kept, tensors)
    with pytest.raises(FileFormatError):
        Face.load(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"blendshapes": torch.zeros(3, 12, 3)},
        {"skin_weights": torch.ones(12, 1)},
        {"joint_parents": (1, -1)},
        {"joint_parents": (-1,)},
        {"neutral": torch.zeros(5, 3)},
        {"joint_positions": None},
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong):
    with pytest.raises(InputError):
        personal(**wrong)
