"""Names, groups and maps of the landmark conventions."""

from pathlib import Path

import numpy as np
import pytest

from likeness.errors import InputError
from likeness.landmarks.conventions import (
    GROUPS,
    MEDIAPIPE_TO_IBUG68,
    MIDLINE,
    MIRROR,
    N_POINTS,
    Convention,
    to_five,
    to_ibug68,
)

RECORD = Path(__file__).parent / "data" / "mediapipe.npz"


@pytest.fixture(scope="module")
def frontal() -> np.ndarray:
    with np.load(RECORD) as record:
        return record["frontal/points"][0]


@pytest.mark.parametrize("convention", N_POINTS)
def test_mirror_is_an_involution(convention: Convention) -> None:
    mirror = MIRROR[convention]
    assert mirror.shape == (N_POINTS[convention],)
    np.testing.assert_array_equal(mirror[mirror], np.arange(N_POINTS[convention]))


def test_mirror_maps_a_frontal_face_onto_itself(frontal: np.ndarray) -> None:
    middle = frontal[list(MIDLINE), 0].mean()
    mirrored = frontal[MIRROR["mediapipe478"], :2] * [-1, 1] + [2 * middle, 0]
    eyes = np.linalg.norm(frontal[33, :2] - frontal[263, :2])
    # The head is not quite symmetric; neighbours in the mesh are some 0.1 eye distances apart.
    assert np.abs(mirrored - frontal[:, :2]).max() < 0.1 * eyes
    assert (MIRROR["mediapipe478"][list(MIDLINE)] == MIDLINE).all()
    assert len(MIDLINE) == np.sum(MIRROR["mediapipe478"] == np.arange(478))


def test_groups_mirror_point_by_point() -> None:
    for name, group in GROUPS.items():
        assert len(set(group)) == len(group)
        mirrored = MIRROR["mediapipe478"][list(group)]
        if name.startswith("right_"):
            np.testing.assert_array_equal(mirrored, GROUPS[name.replace("right_", "left_")])
        elif not name.startswith("left_"):
            assert set(mirrored.tolist()) == set(group)


def test_left_is_the_subjects(frontal: np.ndarray) -> None:
    for side in ("eye", "brow", "iris"):
        assert frontal[list(GROUPS[f"left_{side}"]), 0].min() > frontal[list(GROUPS[f"right_{side}"]), 0].max()


def test_groups_lie_inside_each_other(frontal: np.ndarray) -> None:
    def box(name: str) -> tuple[np.ndarray, np.ndarray]:
        points = frontal[list(GROUPS[name]), :2]
        return points.min(axis=0), points.max(axis=0)

    for inner, outer in (("lips_inner", "lips_outer"), ("lips_outer", "face_oval"), ("left_eye", "face_oval")):
        assert (box(inner)[0] > box(outer)[0]).all() and (box(inner)[1] < box(outer)[1]).all()


def test_ibug_map_commutes_with_mirrors() -> None:
    np.testing.assert_array_equal(MIRROR["mediapipe478"][MEDIAPIPE_TO_IBUG68], MEDIAPIPE_TO_IBUG68[MIRROR["ibug68"]])
    assert len(set(MEDIAPIPE_TO_IBUG68.tolist())) == 68


def test_five_points(frontal: np.ndarray) -> None:
    five = to_five(frontal, "mediapipe478")
    assert five.shape == (5, 3)
    np.testing.assert_array_equal(five, to_five(to_ibug68(frontal, "mediapipe478"), "ibug68"))
    np.testing.assert_array_equal(five, to_five(five, "five"))
    left_eye, right_eye, nose, left_mouth, right_mouth = five[:, :2]
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < nose[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    np.testing.assert_allclose(left_eye, frontal[468, :2], atol=0.1 * (right_eye[0] - left_eye[0]))


def test_batches_lead() -> None:
    points = np.random.default_rng(0).normal(size=(2, 3, 478, 2))
    np.testing.assert_array_equal(to_five(points, "mediapipe478")[1, 2], to_five(points[1, 2], "mediapipe478"))


def test_wrong_shapes_and_names_are_refused() -> None:
    with pytest.raises(InputError, match="478"):
        to_five(np.zeros((68, 2)), "mediapipe478")
    with pytest.raises(InputError, match="ibug68"):
        to_five(np.zeros((68, 2)), "dlib68")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Five points"):
        to_ibug68(np.zeros((5, 2)), "five")
