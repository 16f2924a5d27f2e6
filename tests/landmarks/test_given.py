"""Points that the user gives: arrays and files, sound and broken."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from likeness.errors import InputError
from likeness.landmarks import Given

IMAGE = np.zeros((20, 30, 3), np.uint8)
POINTS = np.random.default_rng(0).uniform(0, 300, (68, 2)).astype(np.float32)


def test_arrays_come_back() -> None:
    (face,) = Given(POINTS, "ibug68").detect(IMAGE)
    np.testing.assert_array_equal(face.points, POINTS)
    assert (face.convention, face.score) == ("ibug68", 1.0)
    assert Given([[1, 2]] * 5, "five").detect(IMAGE)[0].points.shape == (5, 2)


def test_several_faces_largest_first() -> None:
    faces = Given(np.stack([POINTS, POINTS * 3]), "ibug68").detect(IMAGE)
    np.testing.assert_array_equal(faces[0].points, POINTS * 3)
    assert len(Given(np.stack([POINTS, POINTS * 3]), "ibug68").detect(IMAGE, max_faces=1)) == 1


@settings(max_examples=25, deadline=None)
@given(points=arrays(np.float32, (5, 3), elements=st.floats(-1e4, 1e4, width=32)))
def test_files_come_back(points: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("points")
    np.save(folder / "face.npy", points)
    (folder / "face.json").write_text(json.dumps(points.tolist()))
    (folder / "face.txt").write_text("\n".join(" ".join(repr(float(v)) for v in row) for row in points))
    rows = "\n".join(", ".join(repr(float(v)) for v in row) for row in points)
    (folder / "face.pts").write_text(f"version: 1\nn_points: 5\n{{\n{rows}\n}}\n")
    for path in folder.iterdir():
        np.testing.assert_array_equal(Given(path, "five").detect(IMAGE)[0].points, points)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"1 2\n3 four\n"),
        ("a.txt", b"1 2\n3 4 5\n"),
        ("a.txt", b""),
        ("a.txt", b"\xff\xfe\x00\x01"),
        ("a.txt", b"1 nan\n" * 5),
        ("a.txt", b"1 1e99\n" * 5),
        ("a.json", b"[[1, 2], [3"),
        ("a.json", b'{"points": []}'),
        ("a.json", b"null"),
        ("a.json", b"[" * 100_000),
        ("a.npy", b""),
        ("a.npy", b"\x93NUMPY\x01\x00"),
        ("a.npy", pickle.dumps([[1, 2]] * 5)),
        ("a.pkl", b"1 2\n" * 5),
        ("a.txt", b"1 2\n" * 3_000_000),
    ],
    ids=range(15),
)
def test_broken_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        Given(tmp_path / name, "five")


def test_pickled_and_lying_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (900000000000, 5, 2), }"
    header = header.ljust(117) + b"\n"
    (tmp_path / "lying.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    for name in ("objects.npy", "lying.npy"):
        with pytest.raises(InputError, match=name):
            Given(tmp_path / name, "five")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name in ("missing.txt", "folder.txt"):
        with pytest.raises(InputError, match=name):
            Given(tmp_path / name, "five")


@pytest.mark.parametrize("points", [np.zeros((4, 2)), np.zeros((5, 4)), np.zeros(5), "x", None, [["a", "b"]] * 5])
def test_wrong_points_are_refused(points: object) -> None:
    with pytest.raises(InputError):
        Given(points, "five")  # type: ignore[arg-type]
