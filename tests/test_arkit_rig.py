"""ARKit's 52 on heads that speak otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import standin_heads
from animate.test_retarget import NAMES, face_on
from likeness.arkit_rig import JAW_NAMES, jaw_shapes, with_arkit_shapes
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads import load_head
from likeness.heads.personal import PersonalHead
from likeness.rig import DetailMap, plain_rig


def test_every_head_has_the_same_52_names_and_its_own_beside_them():
    for make in (lambda: load_head("open"), standin_heads.flame_head, standin_heads.bfm_head):
        face = face_on(make(), 1)
        assert face.rig().blendshape_names == NAMES
        assert face.rig(blendshapes="native").blendshape_names == tuple(face.head.expression_names)
    with pytest.raises(InputError, match="choose from arkit, native"):
        face.rig(blendshapes="ours")  # pyright: ignore[reportArgumentType]


def test_the_open_head_keeps_its_own():
    face = face_on(load_head("open"), 1, jawOpen=0.7)
    rig, native = face.rig(), face.rig(blendshapes="native")
    np.testing.assert_array_equal(rig.blendshapes, native.blendshapes)
    assert rig.weights[NAMES.index("jawOpen")] == pytest.approx(0.7)


def test_flames_turned_jaw_is_told_as_jaw_open():
    face = face_on(standin_heads.flame_head(), 1)
    joints = torch.zeros(5, 3)
    joints[2, 0] = 0.25
    rig = replace(face, joints=joints).rig()
    found = dict(zip(rig.blendshape_names, rig.weights.tolist(), strict=True))
    # A turn is no straight line, so lips and cheeks help: how much depends on the mesh at the lips.
    assert 0.5 < found["jawOpen"] < 1
    most_moving = max(found, key=lambda name: found[name] * np.linalg.norm(rig.blendshapes[NAMES.index(name)]))
    assert most_moving == "jawOpen"
    assert not any(value for name, value in found.items() if name.startswith(("eye", "brow")))
    moved = np.tensordot(rig.weights, rig.blendshapes, 1)
    true = replace(face, joints=joints).vertices.numpy() - face.neutral_vertices.numpy()
    seen = standin_heads.flame_mesh().carried(load_head("open").topology.region("face")[:, None].astype(float))[:, 0]
    error = np.linalg.norm(moved - true, axis=1)[seen > 0.5]
    assert error.mean() < 0.06 * np.linalg.norm(true, axis=1).max()


def test_the_heads_turn_is_no_expression():
    face = face_on(standin_heads.flame_head(), 1)
    joints = torch.zeros(5, 3)
    joints[:2] = 0.3
    assert not replace(face, joints=joints).rig().weights.any()


def test_coefficients_are_explained_by_arkits_weights():
    head = standin_heads.bfm_head()
    # The coefficients whose mixture is nearest to a smile with an open mouth.
    truth = standin_heads.bfm_mesh().carried(standin_heads.open_shapes())
    wanted = truth[NAMES.index("mouthSmileLeft")] + 0.5 * truth[NAMES.index("jawOpen")]
    face = face_on(head, 1)
    basis = plain_rig(face).blendshapes.reshape(head.n_expression, -1)
    expression = torch.from_numpy(np.linalg.lstsq(basis.T, wanted.ravel(), rcond=None)[0].astype(np.float32))
    rig = replace(face, expression=expression).rig()
    found = dict(zip(rig.blendshape_names, rig.weights.tolist(), strict=True))
    assert found["mouthSmileLeft"] > 0.6 and 0.3 < found["jawOpen"] < 0.7
    assert found["mouthSmileRight"] < 0.2 and found["eyeBlinkLeft"] < 0.05
    assert ((rig.weights >= 0) & (rig.weights <= 1)).all()


def test_shapes_of_arkits_names_stay_and_the_missing_ones_come():
    mesh = standin_heads.flame_mesh()
    own = torch.zeros(2, len(mesh.vertices), 3)
    own[:, :, 1] = torch.tensor([[1.0], [2.0]])
    head = PersonalHead(
        neutral=torch.from_numpy(mesh.vertices).float(),
        blendshapes=own,
        expression_names=("cheekPuff", "jawOpen"),
        topology=standin_heads.flame_head().topology,
        embeddings=standin_heads.flame_head().embeddings,
    )
    face = replace(face_on(standin_heads.flame_head(), 1), head=head, identity=torch.zeros(0), joints=torch.zeros(1, 3),
                   expression=torch.tensor([0.4, 0.6]))  # fmt: skip
    rig = face.rig()
    # Differences of positions near 100 mm in float32.
    np.testing.assert_allclose(rig.blendshapes[NAMES.index("jawOpen")], own[1], atol=2e-5)
    assert np.abs(rig.blendshapes[NAMES.index("eyeBlinkLeft")]).max() > 5
    weights = dict(zip(rig.blendshape_names, rig.weights.tolist(), strict=True))
    assert weights["cheekPuff"] == pytest.approx(0.4) and weights["jawOpen"] == pytest.approx(0.6)
    assert sum(weights.values()) == pytest.approx(1.0)


def with_wrinkles(face: Face):
    """Maps that follow two of the head's expressions and its jaw, as DECA's do."""
    weights = {"expression_001": 0.2, "expression_002": -0.1, JAW_NAMES[0]: 1.5}
    flat = np.zeros((4, 4), np.float32)
    return replace(plain_rig(face), details=(DetailMap("still", flat), DetailMap("more", flat, 0.0, weights)))


def test_wrinkles_follow_the_new_names_as_they_followed_the_old():
    face = face_on(standin_heads.flame_head(), 1)
    native = with_wrinkles(face)
    rig = with_arkit_shapes(native, face)
    assert rig.details[0].weights == {} and rig.details[0].bias == 1
    assert set(rig.details[1].weights) == set(NAMES)
    # What jawOpen does is nearly a turn of the jaw, so the map shows as much as at that turn.
    turn = jaw_shapes(face)[0]
    opened = rig.blendshapes[NAMES.index("jawOpen")]
    seen = np.linalg.norm(turn, axis=1) > 1
    angle = float((turn[seen] * opened[seen]).sum() / (turn[seen] ** 2).sum())
    assert rig.details[1].strength({"jawOpen": 1.0}) == pytest.approx(1.5 * angle, rel=0.3)
    assert rig.details[1].strength({}) == 0
