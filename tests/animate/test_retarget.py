"""Motion from head to head: what must be equal, what must be near, and what must never come along."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import standin_heads
from likeness.animate.retarget import rest_expression, retarget
from likeness.arkit_rig import JAW_NAMES
from likeness.cameras import Pinhole
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads import load_head
from likeness.motion import Motion
from likeness.rig import Rig, plain_rig

NAMES = load_head("open").expression_names


def face_on(head, seed: int = 0, **weights: float) -> Face:
    generator = torch.Generator().manual_seed(seed)
    identity = 0.5 * torch.randn(head.n_identity, generator=generator)
    # The stand-in FLAME knows 100 identities, the others of its 300 are nothing.
    expression = torch.tensor([weights.get(name, 0.0) for name in head.expression_names])
    one, zero = torch.ones(1), torch.zeros(1, 3)
    camera = Pinhole.from_focal(rotation=torch.eye(3)[None], translation=zero, focal=one, centre=zero[:, :2])
    return Face(
        head=head, identity=identity, expression=expression, joints=torch.zeros(len(head.joint_names), 3),
        camera=camera, image_size=(8, 8), method="none", confidence=1.0,
    )  # fmt: skip


@cache
def rig_of(name: str, seed: int = 0, blendshapes: str = "arkit") -> Rig:
    head = {"open": lambda: load_head("open"), "flame": standin_heads.flame_head, "bfm": standin_heads.bfm_head}[name]()
    face = face_on(head, seed)
    return plain_rig(face) if blendshapes == "native" else face.rig()


def motion_of(**curves: list[float]) -> Motion:
    n = len(next(iter(curves.values())))
    weights = np.zeros((n, len(NAMES)), np.float32)
    for name, curve in curves.items():
        weights[:, NAMES.index(name)] = curve
    return Motion(30.0, NAMES, weights, np.full((n, 3), 0.1, np.float32), np.full((n, 2, 3), 0.2, np.float32))


def talk() -> Motion:
    phase = np.linspace(0, 2 * np.pi, 12)
    return motion_of(
        jawOpen=list(0.35 - 0.35 * np.cos(phase)),
        mouthSmileLeft=list(0.4 + 0.4 * np.sin(phase)),
        mouthSmileRight=list(0.4 + 0.4 * np.sin(phase)),
        eyeBlinkLeft=[0, 0, 0, 0.5, 1, 0.5, 0, 0, 0, 0, 0, 0],
        eyeBlinkRight=[0, 0, 0, 0.5, 1, 0.5, 0, 0, 0, 0, 0, 0],
        browInnerUp=list(0.5 + 0.5 * np.cos(phase)),
    )


def test_between_two_arkit_rigs_names_are_kept_to_the_bit():
    motion = talk()
    found = retarget(motion, rig_of("open"), rig_of("flame"))
    assert found.names == rig_of("flame").blendshape_names
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileRight"):
        np.testing.assert_array_equal(
            found.weights[:, found.names.index(name)], motion.weights[:, motion.names.index(name)]
        )
    np.testing.assert_array_equal(found.head, motion.head)
    np.testing.assert_array_equal(found.eyes, motion.eyes)


@pytest.mark.parametrize("target", ["flame", "bfm"])
@pytest.mark.parametrize("blendshapes", ["arkit", "native"])
def test_a_driver_at_rest_gives_a_target_at_rest_exactly(target, blendshapes):
    """No drift: nothing of either identity enters where nothing moves."""
    still = motion_of(jawOpen=[0.0] * 5)
    for seed in (0, 7):
        found = retarget(still, rig_of("open", seed), rig_of(target, 1, blendshapes), by="surface")
        assert not found.weights.any()


def test_who_drives_does_not_matter_where_the_surfaces_do_the_same():
    """The open head's shapes are the same millimetres for everyone, so two drivers differ only by their size."""
    first, second = (
        retarget(talk(), rig_of("open", seed), rig_of("flame", 1), by="surface").weights for seed in (0, 7)
    )
    assert np.abs(first - second).mean() < 0.02
    for name in ("jawOpen", "mouthSmileLeft"):
        k = NAMES.index(name)
        assert np.abs(first[:, k] - second[:, k]).max() < 0.2


@pytest.mark.parametrize("target", ["flame", "bfm"])
def test_through_another_heads_own_space_and_back(target):
    motion, open_rig, native = talk(), rig_of("open"), rig_of(target, 1, "native")
    there = retarget(motion, open_rig, native)
    back = retarget(there, native, open_rig)
    moved = np.einsum("fk,kvc->fvc", motion.weights, open_rig.blendshapes)
    returned = np.einsum("fk,kvc->fvc", back.weights, open_rig.blendshapes)
    face = load_head("open").topology.region("face")
    error = np.linalg.norm(returned - moved, axis=-1)[:, face]
    assert np.linalg.norm(moved, axis=-1).max() > 20
    assert error.mean() < 0.35
    assert np.percentile(error, 99) < 3
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft"):
        k = NAMES.index(name)
        assert np.corrcoef(motion.weights[:, k], back.weights[:, back.names.index(name)])[0, 1] > 0.97, name


def test_a_jaw_that_is_a_joint_opens_by_turning():
    native = rig_of("flame", 1, "native")
    found = retarget(talk(), rig_of("open"), native)
    assert found.names == (*native.blendshape_names, *JAW_NAMES)
    jaw, curve = found.weights[:, found.names.index("jaw.x")], talk().weights[:, NAMES.index("jawOpen")]
    assert np.corrcoef(jaw, curve)[0, 1] > 0.99
    assert 0.15 < jaw.max() < 0.5
    sideways = found.weights[:, [found.names.index("jaw.y"), found.names.index("jaw.z")]]
    assert np.abs(sideways).max() < 0.05


def test_a_blink_survives_the_smoothing():
    found = retarget(talk(), rig_of("open"), rig_of("bfm", 1), by="surface")
    free = retarget(talk(), rig_of("open"), rig_of("bfm", 1), by="surface", smoothness=0.0)
    k = found.names.index("eyeBlinkLeft")
    assert found.weights[4, k] > 0.9 * free.weights[4, k] > 0.6
    assert (found.weights >= 0).all() and (found.weights <= 1).all()


def test_the_rest_of_a_driver_is_taken_off():
    motion = motion_of(mouthSmileLeft=[0.3, 0.3, 0.3, 0.3, 0.8, 0.3, 0.3], browInnerUp=[0.1] * 7)
    rest = rest_expression(motion)
    assert rest["mouthSmileLeft"] == pytest.approx(0.3) and rest["browInnerUp"] == pytest.approx(0.1)
    found = retarget(motion, rig_of("open"), rig_of("flame"), rest=rest)
    smile = found.weights[:, found.names.index("mouthSmileLeft")]
    np.testing.assert_allclose(smile, [0, 0, 0, 0, 0.5, 0, 0], atol=1e-6)
    assert not found.weights[:, found.names.index("browInnerUp")].any()
    assert (found.weights >= 0).all()


def test_frames_that_saw_no_face_do_not_tell_what_rest_is():
    motion = motion_of(jawOpen=[0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9])
    seen = replace(motion, confidence=np.array([1, 1, 1, 0, 0, 0, 0], np.float32))
    assert rest_expression(seen)["jawOpen"] == pytest.approx(0.1)


def test_what_cannot_be_is_said():
    motion = replace(motion_of(jawOpen=[0.5]), names=tuple(f"x{k}" for k in range(len(NAMES))))
    with pytest.raises(InputError, match="is it the rig of this motion"):
        retarget(motion, rig_of("open"), rig_of("flame"))
    with pytest.raises(InputError, match="retarget by surface"):
        retarget(talk(), rig_of("open"), rig_of("flame", 1, "native"), by="names")
    with pytest.raises(InputError, match=r"face\.rig"):
        retarget(talk(), replace(rig_of("open"), landmarks={}), rig_of("flame", 1, "native"))
    with pytest.raises(InputError, match="no blendshape named noseLong"):
        retarget(talk(), rig_of("open"), rig_of("flame"), rest={"noseLong": 1.0})
