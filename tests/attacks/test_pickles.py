"""Hostile and broken pickles: each is refused with a sentence, and nothing it asks for happens."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import FileFormatError
from likeness.files.numpy_files import load_npy, load_npz, load_npz_columns
from likeness.files.safe_pickle import Record, load_pickle, loads_pickle


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_calls_to_the_system_are_refused(tmp_path, protocol):
    witness = tmp_path / "witness"
    with pytest.raises(FileFormatError, match=r"asks for '\w+\.system'"):
        loads_pickle(pickle.dumps(Calls(os.system, f"touch {witness}"), protocol))
    assert not witness.exists()


@pytest.mark.parametrize("function", [eval, exec, __import__, getattr, open, bytearray, os.getenv])
def test_builtins_that_reach_further_are_refused(function):
    with pytest.raises(FileFormatError, match="not plain data"):
        loads_pickle(pickle.dumps(Calls(function, "x")))


def test_dotted_names_do_not_reach_through_a_stand_in():
    # Protocol 4 may ask for `numpy.dtype.__class__`: only whole names are known.
    data = b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93."
    with pytest.raises(FileFormatError, match=r"numpy\.dtype\.__class__"):
        loads_pickle(data)


@pytest.mark.parametrize("name", ["chumpy.ch.Ch", "scipy.sparse.csc.csc_matrix", "sklearn.mixture.GaussianMixture"])
def test_objects_of_known_libraries_become_records(name):
    module, cls = name.rsplit(".", 1)
    # cls.__new__(cls), then a state of {"x": 3}; the library itself is never imported
    data = b"\x80\x02c" + f"{module}\n{cls}\n".encode() + b")\x81}U\x01xK\x03sb."
    found = loads_pickle(data)
    assert isinstance(found, Record)
    assert (found.kind, found.attributes) == (name, {"x": 3})


def test_a_lookalike_of_a_known_library_is_refused():
    with pytest.raises(FileFormatError, match=r"chumpyx\.ch\.Ch"):
        loads_pickle(b"\x80\x02cchumpyx.ch\nCh\n)\x81.")


@pytest.mark.parametrize("name", ["numpy ndarray", "torch.storage _load_from_bytes", "builtins set", "chumpy.ch Ch"])
@pytest.mark.parametrize("place", [b"%b.", b"]%ba.", b"}K\x01%bs.", b"}%bK\x01s.", b"(%bl."])
def test_a_name_by_itself_is_no_data(name, place):
    module, cls = name.split()
    reference = b"c" + f"{module}\n{cls}\n".encode()
    with pytest.raises(FileFormatError):
        loads_pickle(b"\x80\x02" + place.replace(b"%b", reference))


def test_functions_of_known_libraries_are_not_run():
    # sklearn.utils.… and chumpy functions are names like any other: calling one makes a record.
    found = loads_pickle(b"\x80\x02cchumpy.utils\nrun\nU\x04rm-r\x85R.")
    assert isinstance(found, Record)
    assert found.args == ("rm-r",)


@pytest.mark.parametrize("data", [b"\x80\x02Pid\n.", b"\x80\x02K\x01Q.", b"\x80\x02\x82\x01.", b"(ios\nsystem\n."])
def test_instructions_that_call_back_are_refused(data):
    with pytest.raises(FileFormatError, match="instruction"):
        loads_pickle(data)


def test_an_absurd_memo_index_takes_no_memory():
    with pytest.raises(FileFormatError, match="absurdly high"):
        loads_pickle(b"\x80\x02]r\xff\xff\xff\x7f.")


def test_a_lying_length_takes_no_memory():
    with pytest.raises(FileFormatError, match="not a readable pickle"):
        loads_pickle(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"short.")


def test_an_array_larger_than_its_bytes_is_refused():
    data = pickle.dumps(np.zeros(4, np.uint8), protocol=2)
    grown = data.replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85")
    assert grown != data
    with pytest.raises(FileFormatError, match="more or fewer numbers"):
        loads_pickle(grown)


def test_a_tensor_that_looks_past_its_data_is_refused():
    data = pickle.dumps(torch.arange(4.0), protocol=2)
    grown = data.replace(b"K\x00K\x04\x85", b"K\x00K\xff\x85")
    assert grown != data
    with pytest.raises(FileFormatError, match="beyond its own data"):
        loads_pickle(grown)


def test_nesting_without_end_is_refused():
    with pytest.raises(FileFormatError, match="nested too deeply"):
        loads_pickle(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")


def test_shared_lists_are_visited_once():
    # 2**60 paths through 60 lists: exponential for a walk without memory.
    nested: list = [np.arange(2)]
    for _ in range(60):
        nested = [nested, nested]
    found = loads_pickle(pickle.dumps(nested))
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]
    np.testing.assert_array_equal(found[0], [0, 1])


def test_a_list_that_holds_itself_survives():
    loop: list = [np.float32(0.5)]
    loop.append(loop)
    found = loads_pickle(pickle.dumps(loop))
    assert found[1] is found
    assert found[0] == np.float32(0.5)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array([True, False]),
        np.array([("a", 1.5)], dtype=[("name", "U4"), ("value", "<f8")]),
        np.array([None, np.arange(2)], dtype=object),
        np.zeros((0, 3), np.float16),
        np.array(7, np.int64),
    ],
    ids=["float", "fortran big-endian", "bool", "structured", "object", "empty", "0-d"],
)
def test_arrays_survive_in_every_protocol(array, protocol):
    found = loads_pickle(pickle.dumps({"array": array, "scalar": np.float64(2.5)}, protocol))
    assert found["array"].dtype == array.dtype
    assert found["array"].shape == array.shape
    if array.dtype == object:
        np.testing.assert_array_equal(found["array"][1], array[1])
    else:
        np.testing.assert_array_equal(found["array"], array)
    assert found["scalar"] == 2.5


def test_tensors_become_arrays_with_their_strides():
    tensor = torch.arange(12).reshape(3, 4)[:, 1:3].T
    found = loads_pickle(pickle.dumps({"t": tensor}))
    np.testing.assert_array_equal(found["t"], tensor.numpy())


@pytest.mark.parametrize("data", [b"", b"not a pickle", b"\x80\x05", b"\x80\x02}.\x00", b"\x80\x02."])
def test_broken_files_say_so(tmp_path, data):
    path = tmp_path / "model.pkl"
    path.write_bytes(data)
    if data.startswith(b"\x80\x02}"):
        assert load_pickle(path) == {}  # what follows the end is not read
        return
    with pytest.raises(FileFormatError, match=r"model\.pkl"):
        load_pickle(path)


def test_a_file_too_large_is_not_read(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x02}.")
    with pytest.raises(FileFormatError, match="at most 3"):
        load_pickle(path, max_bytes=3)


def npy(shape: str, payload: bytes = b"", descr: str = "<f8") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + payload


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(2, 2)", "(-1, -8)", "(4294967296, 4294967296)"])
def test_npy_headers_that_lie_take_no_memory(tmp_path, shape):
    path = tmp_path / "map.npy"
    path.write_bytes(npy(shape, b"\0" * 24))
    with pytest.raises(FileFormatError, match=r"map\.npy"):
        load_npy(path)


def test_npy_with_a_hostile_object_is_refused(tmp_path):
    path = tmp_path / "map.npy"
    path.write_bytes(npy("()", pickle.dumps(Calls(os.system, "true")), descr="|O"))
    with pytest.raises(FileFormatError, match="system"):
        load_npy(path)


def test_npz_bombs_are_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy("(2000000,)", b"\0" * 16_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(FileFormatError, match="unpacks to more"):
        load_npz(path, max_bytes=1_000_000)
    with pytest.raises(FileFormatError, match="promises"):
        load_npz_columns(path, {"x": None}, max_bytes=1_000_000)


def test_npz_gives_the_columns_asked_for(tmp_path):
    path = tmp_path / "basis.npz"
    basis = np.random.default_rng(0).standard_normal((7, 5, 9))
    np.savez(path, basis=basis, mean=np.arange(4))
    found = load_npz_columns(path, {"basis": 3, "mean": None, "absent": 2})
    assert set(found) == {"basis", "mean"}
    np.testing.assert_array_equal(found["basis"], basis[..., :3].astype(np.float32))
    np.testing.assert_array_equal(found["mean"], np.arange(4))


def test_broken_npz_says_so(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(100))
    path = tmp_path / "cut.npz"
    path.write_bytes(buffer.getvalue()[:-40])
    with pytest.raises(FileFormatError, match=r"cut\.npz"):
        load_npz(path)


PLAIN = {"numbers": np.arange(5.0), "names": ["a", "b"], "nested": ({"x": 1}, (2.5, None)), "set": {1, 2}}


@settings(max_examples=300, deadline=None)
@given(
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL), place=st.floats(0, 1), bytes_=st.binary(min_size=1, max_size=4)
)
def test_damaged_pickles_say_so_or_give_plain_data(protocol, place, bytes_):
    """Whatever bytes change: plain data or FileFormatError, nothing else."""
    data = bytearray(pickle.dumps(PLAIN, protocol))
    start = int(place * (len(data) - len(bytes_)))
    data[start : start + len(bytes_)] = bytes_
    try:
        found = loads_pickle(bytes(data))
    except FileFormatError:
        return
    check_plain(found)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_noise_is_no_pickle(data):
    with suppress(FileFormatError):
        check_plain(loads_pickle(b"\x80\x02" + data + b"."))


def check_plain(value) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key)
            check_plain(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            check_plain(item)
    else:
        plain = str | bytes | bytearray | int | float | bool | complex | type(None) | np.ndarray | np.generic | Record
        assert isinstance(value, plain), type(value)
