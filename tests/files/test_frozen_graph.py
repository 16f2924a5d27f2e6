import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import FileFormatError
from likeness.files.frozen_graph import read_graph
from methods.deep3d.standin_rnet import constant, field, integer, node, varint


def graph(tmp_path, data):
    path = tmp_path / "graph.pb"
    path.write_bytes(data)
    return read_graph(path)


def shaped(*sizes):
    return field(2, b"".join(field(2, integer(1, size)) for size in sizes))


def const(body):
    return node("c", "Const", [], {"value": field(8, body)})


def test_nodes_have_names_operations_and_inputs(tmp_path):
    strides = field(1, field(3, b"".join(varint(v) for v in (1, 2, 2, 1))))
    nodes = graph(tmp_path, node("x", "Placeholder") + node("y", "Conv2D", ["x", "w"], {"strides": strides}))
    assert list(nodes) == ["x", "y"]
    assert nodes["y"].op == "Conv2D"
    assert nodes["y"].inputs == ("x", "w")
    assert nodes["y"].integers("strides") == (1, 2, 2, 1)
    assert nodes["x"].integers("strides") == ()


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3, 1, 2), (0, 4)])
def test_constants_of_every_storage(tmp_path, dtype, shape):
    array = np.arange(-2, np.prod(shape, dtype=int) - 2).reshape(shape).astype(dtype)
    if array.size:
        found = graph(tmp_path, constant("c", array))["c"].tensor()
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, array if array.size > 1 else np.abs(array) * 0 + array)


def test_values_packed_or_not_and_the_last_repeated(tmp_path):
    float32 = integer(1, 1)
    packed = const(float32 + shaped(2, 2) + field(5, struct.pack("<2f", 1.5, 2.5)))
    np.testing.assert_array_equal(graph(tmp_path, packed)["c"].tensor(), [[1.5, 2.5], [2.5, 2.5]])
    single = b"".join(varint(5 << 3 | 5) + struct.pack("<f", v) for v in (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(graph(tmp_path, const(float32 + shaped(3) + single))["c"].tensor(), [1, 2, 3])
    np.testing.assert_array_equal(graph(tmp_path, const(float32 + shaped(2)))["c"].tensor(), [0, 0])
    int32 = integer(1, 3)
    negative = const(int32 + shaped(2) + field(7, varint(7) + varint(2**64 - 4)))
    np.testing.assert_array_equal(graph(tmp_path, negative)["c"].tensor(), [7, -4])


@pytest.mark.parametrize(
    "body",
    [
        integer(1, 1) + shaped(3) + field(4, bytes(8)),  # too short
        integer(1, 1) + shaped(1 << 40),  # would take terabytes
        integer(1, 1) + shaped(1 << 20, 1 << 20),
        integer(1, 1) + shaped(1) + field(5, bytes(8)),  # more values than the shape
        integer(1, 1) + shaped(2**64 - 1),  # unknown dimension
        integer(1, 2) + shaped(1) + field(4, bytes(8)),  # double
        integer(1, 1) + shaped(*[1] * 9) + field(4, bytes(4)),
        integer(1, 1) + shaped(1) + field(5, bytes(3)),
    ],
)
def test_lying_constants_are_refused(tmp_path, body):
    nodes = graph(tmp_path, const(body))
    with pytest.raises(FileFormatError, match="'c' holds no readable array"):
        nodes["c"].tensor()


def test_every_cut_of_a_graph_is_refused_or_a_shorter_graph(tmp_path):
    data = node("x", "Placeholder") + constant("c", np.arange(6, dtype=np.float32))
    path = tmp_path / "cut.pb"
    first = len(node("x", "Placeholder"))
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        if cut == first:
            assert list(read_graph(path)) == ["x"]
            continue
        with pytest.raises(FileFormatError):
            read_graph(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_arbitrary_bytes_raise_our_error_or_read(tmp_path_factory, noise, place):
    data = bytearray(constant("c", np.arange(3, dtype=np.float32)))
    data[place:place] = noise
    path = tmp_path_factory.getbasetemp() / "noise.pb"
    path.write_bytes(bytes(data))
    try:
        for each in read_graph(path).values():
            each.integers("strides")
            each.tensor()
    except FileFormatError:
        pass
