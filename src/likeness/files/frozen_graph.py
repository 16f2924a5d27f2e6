"""Nodes and constants of a frozen TensorFlow graph (``GraphDef``, ``.pb``), read without TensorFlow.

A graph is a protocol buffer: messages of numbered fields, of which only a handful matter here.

    GraphDef     1 node
    NodeDef      1 name, 2 op, 3 input, 5 attr (an entry: 1 key, 2 value)
    AttrValue    1 list (3 i), 8 tensor
    TensorProto  1 dtype, 2 tensor_shape (2 dim (1 size)), 4 tensor_content, 5 float_val, 7 int_val

Every length is checked against what is there before it is used, and every shape before memory is taken for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from likeness.errors import FileFormatError

MAX_BYTES = 1 << 30
MAX_NODES = 1 << 20
MAX_NUMBERS = 1 << 27
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# TensorFlow's number for a type: its numpy type, the field that lists its values and how one is stored there.
_TYPES = {1: (np.dtype("<f4"), 5), 3: (np.dtype("<i4"), 7)}


class _Malformed(ValueError):
    """The bytes are no such message; the public functions say it in terms of the file."""


@dataclass(frozen=True, eq=False)
class GraphNode:
    """One operation. ``attributes`` hold raw ``AttrValue`` messages by name."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, memoryview]

    def tensor(self) -> np.ndarray:
        """The value of a Const node of float32 or int32. Raises FileFormatError."""
        try:
            return _tensor(_only(self.attributes["value"], 8))
        except (KeyError, _Malformed) as error:
            raise FileFormatError(f"the node '{self.name}' holds no readable array ({error}).") from error

    def integers(self, attribute: str) -> tuple[int, ...]:
        """An attribute that is a list of integers (``strides``); empty when there is none. Raises FileFormatError."""
        if attribute not in self.attributes:
            return ()
        try:
            listed = _only(self.attributes[attribute], 1)
            return tuple(value for field, wire, raw in _fields(listed) if field == 3 for value in _varints(wire, raw))
        except _Malformed as error:
            raise FileFormatError(f"the node '{self.name}' has a damaged '{attribute}' ({error}).") from error


def read_graph(path: str | Path) -> dict[str, GraphNode]:
    """The nodes of a frozen graph by name, in the file's order.

    Raises FileFormatError when the file is none, is cut short or is absurdly large.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file.")
    if path.stat().st_size > MAX_BYTES:
        raise FileFormatError(f"{path.name}: {path.stat().st_size / 1e9:.1f} GB is far too large for a frozen graph.")
    nodes: dict[str, GraphNode] = {}
    try:
        for field, wire, raw in _fields(memoryview(path.read_bytes())):
            if field == 1:
                node = _node(_bytes(wire, raw))
                nodes[node.name] = node
            if len(nodes) > MAX_NODES:
                raise _Malformed(f"more than {MAX_NODES} nodes")
    except _Malformed as error:
        raise FileFormatError(f"{path.name}: not a readable TensorFlow graph ({error}). Was it cut short?") from error
    if not nodes:
        raise FileFormatError(f"{path.name}: holds no TensorFlow graph.")
    return nodes


def _node(message: memoryview) -> GraphNode:
    name, op, inputs, attributes = "", "", [], {}
    for field, wire, raw in _fields(message):
        match field:
            case 1:
                name = _text(wire, raw)
            case 2:
                op = _text(wire, raw)
            case 3:
                inputs.append(_text(wire, raw))
            case 5:
                entry = _bytes(wire, raw)
                attributes[_text(_BYTES, _only(entry, 1))] = _only(entry, 2)
    if not name or not op:
        raise _Malformed("a node without name or operation")
    return GraphNode(name, op, tuple(inputs), attributes)


def _tensor(message: memoryview) -> np.ndarray:
    kind, shape, content, values = 0, (), None, []
    for field, wire, raw in _fields(message):
        match field:
            case 1:
                (kind,) = _varints(wire, raw)
            case 2:
                shape = _shape(_bytes(wire, raw))
            case 4:
                content = _bytes(wire, raw)
            case 5 | 7 if kind in _TYPES and field == _TYPES[kind][1]:
                values.append(_values(wire, raw, kind))
    if kind not in _TYPES:
        raise _Malformed(f"type number {kind}, expected float32 or int32")
    dtype, _ = _TYPES[kind]
    size = math.prod(shape)
    if size > MAX_NUMBERS:
        raise _Malformed(f"a shape of {size:,} numbers")
    if content is not None:
        if len(content) != size * dtype.itemsize:
            raise _Malformed(f"{len(content)} bytes for the shape {shape}")
        return np.frombuffer(content, dtype).reshape(shape)
    return _filled(np.concatenate(values) if values else np.zeros(0, dtype), size, dtype).reshape(shape)


def _filled(values: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
    """Fewer values than the shape needs: the last one goes on; none at all: zeros (as TensorFlow has it)."""
    if len(values) > size:
        raise _Malformed(f"{len(values)} values for a shape of {size}")
    out = np.full(size, values[-1] if len(values) else 0, dtype)
    out[: len(values)] = values
    return out


def _values(wire: int, raw: memoryview | int, kind: int) -> np.ndarray:
    """``float_val`` or ``int_val``, packed or one by one."""
    dtype, _ = _TYPES[kind]
    if kind == 1:
        if wire not in (_BYTES, _FIXED32) or not isinstance(raw, memoryview) or len(raw) % 4:
            raise _Malformed("damaged float_val")
        return np.frombuffer(raw, dtype)
    # Negative int32 are sign-extended to 64 bits.
    return np.array(_varints(wire, raw), np.uint64).astype(np.int64).astype(dtype)


def _shape(message: memoryview) -> tuple[int, ...]:
    dims = [_bytes(wire, raw) for field, wire, raw in _fields(message) if field == 2]
    sizes = []
    for dim in dims:
        size = [value for field, wire, raw in _fields(dim) if field == 1 for value in _varints(wire, raw)]
        sizes.append(size[-1] if size else 0)
        if sizes[-1] > MAX_NUMBERS:
            raise _Malformed("a dimension that is unknown or far too large")
    if len(sizes) > 8:
        raise _Malformed(f"{len(sizes)} dimensions")
    return tuple(sizes)


def _only(message: memoryview, number: int) -> memoryview:
    """The last bytes field of that number: a later one replaces an earlier."""
    found = None
    for field, wire, raw in _fields(message):
        if field == number:
            found = _bytes(wire, raw)
    if found is None:
        raise _Malformed(f"field {number} is not there")
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """(field number, wire type, value) of a message: an int for a varint, else the bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, wire, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _Malformed(f"wire type {wire}")
        if length > len(message) - at:
            raise _Malformed("a field longer than what is left")
        yield key >> 3, wire, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise _Malformed("a number without an end")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise _Malformed("a number of more than 64 bits")


def _varints(wire: int, raw: memoryview | int) -> list[int]:
    if isinstance(raw, int):
        return [raw]
    if wire != _BYTES:
        raise _Malformed("an integer of the wrong kind")
    values, at = [], 0
    while at < len(raw):
        value, at = _varint(raw, at)
        values.append(value)
    return values


def _bytes(wire: int, raw: memoryview | int) -> memoryview:
    if wire != _BYTES or not isinstance(raw, memoryview):
        raise _Malformed("a number where bytes belong")
    return raw


def _text(wire: int, raw: memoryview | int) -> str:
    try:
        return str(_bytes(wire, raw), "utf-8")
    except UnicodeDecodeError as error:
        raise _Malformed("a name that is no text") from error
