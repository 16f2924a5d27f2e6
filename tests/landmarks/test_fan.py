"""The door to `face-alignment`, with a stand-in for the package: it is an optional extra."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from likeness.errors import InputError
from likeness.landmarks import Fan

IMAGE = np.zeros((20, 30, 3), np.uint8)
SMALL = np.random.default_rng(0).uniform(0, 10, (68, 2))


class FaceAlignment:
    """As the package's class of this name: points and boxes of the faces that were set, or None without any."""

    faces: list[tuple[np.ndarray, float]]

    def __init__(self, landmarks_type: str, *, device: str, flip_input: bool) -> None:
        assert landmarks_type == "2D" and device in ("cpu", "cuda") and not flip_input

    def get_landmarks_from_image(self, image: np.ndarray, *, return_bboxes: bool) -> tuple | None:
        assert image.shape[2] == 3 and return_bboxes
        if not self.faces:
            return None
        boxes = [np.array([*p.min(axis=0), *p.max(axis=0), score]) for p, score in self.faces]
        return [p for p, _ in self.faces], None, boxes


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[FaceAlignment]:
    module = ModuleType("face_alignment")
    module.FaceAlignment = FaceAlignment  # type: ignore[attr-defined]
    module.LandmarksType = SimpleNamespace(TWO_D="2D")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    return FaceAlignment


def test_faces_largest_first_with_corner_based_pixels(stand_in: type[FaceAlignment]) -> None:
    stand_in.faces = [(SMALL, 0.9), (SMALL * 2, 0.999), (SMALL * 3, 0.2)]
    faces = Fan(device="cpu").detect(IMAGE)
    assert [face.convention for face in faces] == ["ibug68", "ibug68"]
    np.testing.assert_allclose(faces[0].points, SMALL * 2 + 0.5, rtol=1e-6)
    assert [round(face.score, 3) for face in faces] == [0.999, 0.9]
    assert len(Fan(device="cpu").detect(IMAGE, max_faces=1)) == 1


def test_no_face(stand_in: type[FaceAlignment]) -> None:
    stand_in.faces = []
    assert Fan(device="cpu").detect(IMAGE) == []


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(InputError, match=r"pip install 'likeness\[fan\]'"):
        Fan()
