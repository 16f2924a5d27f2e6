from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import standin_heads
from likeness.heads import load_head
from likeness.heads.carried import carried_shapes, face_parts, moves_only_loose_parts
from likeness.heads.contacts import open_contacts
from likeness.heads.correspondence import average_of, registration_of
from likeness.heads.deformation_transfer import DeformationTransfer, SourceShapes

NAMES = load_head("open").expression_names


def shapes(*names: str) -> SourceShapes:
    chosen = [NAMES.index(name) for name in names]
    partner = {"mouthClose": "jawOpen"}
    closes_with = [names.index(partner.get(name, name)) if partner.get(name, name) in names else k
                   for k, name in enumerate(names)]  # fmt: skip
    return SourceShapes(standin_heads.average(), standin_heads.open_shapes()[chosen], np.array(closes_with))


def test_onto_the_same_face_nothing_changes():
    source = shapes("jawOpen", "eyeBlinkLeft", "mouthSmileRight", "mouthClose")
    found = DeformationTransfer(source, face_parts()).onto(source.neutral)
    # Sums of doubles in another order.
    np.testing.assert_allclose(found, source.shapes, atol=1e-9)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.8, 1.25))
def test_a_turned_and_resized_face_moves_turned_and_resized(seed, scale):
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.normal(0, 0.3, 3)).as_matrix()
    source = shapes("jawOpen", "mouthSmileLeft")
    found = DeformationTransfer(source, face_parts()).onto(scale * source.neutral @ turn.T + rng.normal(0, 30, 3))
    expected = scale * np.einsum("ij,kvj->kvi", turn, source.shapes)
    # The source's own lids pass within its fitted eyeball by less than this.
    assert np.abs(found - expected).max() < 1e-6 * scale


def test_a_shape_that_does_nothing_does_nothing_elsewhere():
    still = SourceShapes(standin_heads.average(), np.zeros((2, *standin_heads.average().shape)), np.arange(2))
    found = DeformationTransfer(still, face_parts()).onto(registration_of(standin_heads.flame_head()).template)
    assert not found.any()


@pytest.fixture(scope="module", params=["flame", "bfm"])
def other(request):
    head = {"flame": standin_heads.flame_head, "bfm": standin_heads.bfm_head}[request.param]()
    return head, average_of(head), carried_shapes(head, average_of(head))


def openings(head, vertices: np.ndarray, lids: bool) -> np.ndarray:
    """How far apart the other head's lids, or lips, are at the points that touch on the open head, mm."""
    registration = registration_of(head)
    rows = open_contacts().rows(len(registration.template))
    is_lips = load_head("open").topology.region("lips")[open_contacts().upper]
    both = abs(rows) @ (~registration.open_covered).astype(float) < 1e-9
    gaps = rows @ registration.open_to_head.of(vertices, head.topology.triangles)
    return np.linalg.norm(gaps[both & (is_lips != lids)], axis=1)


def test_a_blink_closes_the_lids(other):
    head, neutral, carried = other
    opened = openings(head, neutral, lids=True)
    blink = carried[NAMES.index("eyeBlinkLeft")] + carried[NAMES.index("eyeBlinkRight")]
    closed = openings(head, neutral + blink, lids=True)
    wide = opened > 4
    assert wide.sum() >= 6
    # Pairs touch within a millimetre on the open head itself; the meshes' own edges cost another half.
    assert np.median(closed[wide]) < 1.0
    assert np.percentile(closed[wide], 90) < 0.3 * opened[wide].max()


def test_mouth_close_undoes_what_jaw_open_does_to_the_lips(other):
    head, neutral, carried = other
    jaw, close = carried[NAMES.index("jawOpen")], carried[NAMES.index("mouthClose")]
    rest, opened, closed = (openings(head, neutral + moved, lids=False) for moved in (0 * jaw, jaw, jaw + close))
    # At the corners lips hardly part.
    assert np.percentile(opened, 75) > 20
    assert np.median(np.abs(closed - rest)) < 0.8
    assert np.percentile(closed, 90) < 4.5


def test_the_chin_goes_down_and_the_skull_stays(other):
    head, neutral, carried = other
    jaw = carried[NAMES.index("jawOpen")]
    chin = head.embeddings["ibug68"].corners[8].numpy()
    assert jaw[chin, 1].mean() < -20
    assert np.linalg.norm(jaw[neutral[:, 1] > 60], axis=1).max() < 0.5


def test_sides_are_the_subjects_own(other):
    _, neutral, carried = other
    smile = np.linalg.norm(carried[NAMES.index("mouthSmileLeft")], axis=1)
    assert smile[neutral[:, 0] > 0].max() > 8
    # +x is the subject's left; beyond the lips' middle the right stands still.
    assert smile[neutral[:, 0] < -25].max() < 1


def test_shapes_agree_with_the_truth_on_a_face_of_the_same_size(other):
    """The stand-ins' own shapes are the open head's, millimetre for millimetre; carried ones have this face's
    proportions, so they agree in direction and nearly in size."""
    head, _, carried = other
    mesh = {"flame": standin_heads.flame_mesh, "bfm": standin_heads.bfm_mesh}[head.name]()
    truth = mesh.carried(standin_heads.open_shapes())
    for name in ("jawOpen", "eyeBlinkLeft", "mouthPucker", "browInnerUp", "mouthFunnel", "mouthSmileLeft"):
        found, wanted = carried[NAMES.index(name)].ravel(), truth[NAMES.index(name)].ravel()
        assert found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.9, name
        assert 0.75 < np.linalg.norm(found) / np.linalg.norm(wanted) < 1.3, name


def test_only_the_tongue_moves_in_tongue_out():
    assert moves_only_loose_parts("tongueOut")
    assert not moves_only_loose_parts("jawOpen")
