"""MATLAB files."""

import numpy as np
import pytest
import scipy.io

from likeness.errors import FileFormatError, InputError
from likeness.files import mat
from likeness.files.mat import read_mat, write_mat

ARRAYS = {
    "id": np.linspace(-1, 1, 80, dtype=np.float32),
    "trans": np.eye(3),
    "tri": np.arange(6, dtype=np.int64).reshape(2, 3),
    "cube": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
}


def test_round_trip_and_another_reader(tmp_path):
    write_mat(tmp_path / "a.mat", ARRAYS)
    read, other = read_mat(tmp_path / "a.mat"), scipy.io.loadmat(tmp_path / "a.mat")
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], np.atleast_2d(array))
        np.testing.assert_array_equal(other[name], np.atleast_2d(array))
        assert read[name].dtype == array.dtype


def test_same_arrays_same_bytes_whatever_the_time(tmp_path):
    write_mat(tmp_path / "a.mat", ARRAYS)
    data = (tmp_path / "a.mat").read_bytes()
    assert data[:116].decode() == "MATLAB 5.0 MAT-file, written by Likeness".ljust(116)
    write_mat(tmp_path / "b.mat", ARRAYS)
    assert (tmp_path / "b.mat").read_bytes() == data


@pytest.mark.parametrize(
    "arrays", [{"1st": np.eye(2)}, {"a b": np.eye(2)}, {"a" * 32: np.eye(2)}, {"a": np.array("x")}]
)
def test_what_matlab_cannot_hold(tmp_path, arrays):
    with pytest.raises(InputError):
        write_mat(tmp_path / "a.mat", arrays)


def test_damaged_and_oversized_files(tmp_path, monkeypatch):
    write_mat(tmp_path / "a.mat", ARRAYS)
    data = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "text.mat").write_text("no MATLAB file, but long enough to have a header of one hundred bytes" * 3)
    (tmp_path / "cut.mat").write_bytes(data[: len(data) // 2])
    for name in ("text.mat", "cut.mat", "missing.mat"):
        with pytest.raises(FileFormatError, match=name):
            read_mat(tmp_path / name)
    write_mat(tmp_path / "zeros.mat", {"a": np.zeros((20, 20))})  # a tenth of its size, compressed
    monkeypatch.setattr(mat, "MAX_BYTES", 3000)
    with pytest.raises(FileFormatError, match=r"zeros\.mat: claims arrays of more than 3,000"):
        read_mat(tmp_path / "zeros.mat")
