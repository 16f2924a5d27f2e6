"""The bytes around a GLB: two chunks, and the binary one's buffer views and accessors.

glTF 2.0 specification, sections 3.6 (binary data), 4 (GLB).
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from likeness.errors import FileFormatError

MAGIC = b"glTF"
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963

COMPONENT_TYPES = {
    5120: np.dtype("<i1"),
    5121: np.dtype("<u1"),
    5122: np.dtype("<i2"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
N_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}

MAX_JSON_BYTES = 16 << 20


@dataclass(frozen=True)
class SparseRows:
    """The rows of a `(n_rows, 3)` array that are not zero, and where their indices and values lie in a buffer."""

    values: Float32[np.ndarray, "S 3"]
    n_rows: int
    index_view: int
    index_offset: int
    value_view: int
    value_offset: int


class BinaryChunk:
    """Gathers buffer views and accessors; `json` holds their descriptions, `data` their bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.buffer_views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add_view(self, data: bytes, *, target: int | None = None) -> int:
        """Append bytes as a buffer view, aligned for every component type; returns its index."""
        self.data += bytes(-len(self.data) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.data += data
        self.buffer_views.append(view)
        return len(self.buffer_views) - 1

    def add_accessor(self, array: np.ndarray, *, target: int | None = None, bounds: bool = False) -> int:
        """Append a dense array, one accessor in a view of its own; rows must fill multiples of 4 bytes if vertices."""
        component = _component_type(array)
        view = self.add_view(array.astype(COMPONENT_TYPES[component], order="C").tobytes(), target=target)
        return self._describe(array, component, bounds, bufferView=view)

    def add_sparse(self, sparse: SparseRows) -> int:
        """An accessor of zero vectors save for some rows."""
        described = {
            "count": len(sparse.values),
            "indices": {
                "bufferView": sparse.index_view,
                "byteOffset": sparse.index_offset,
                "componentType": index_component(sparse.n_rows),
            },
            "values": {"bufferView": sparse.value_view, "byteOffset": sparse.value_offset},
        }
        n_zeros = int(len(sparse.values) < sparse.n_rows)  # one stands for all in the bounds
        values = np.concatenate([sparse.values, np.zeros((n_zeros, 3), np.float32)])
        accessor = self._describe(values, 5126, True, sparse=described)
        self.accessors[accessor]["count"] = sparse.n_rows
        return accessor

    def add_zeros(self, n_rows: int) -> int:
        """An accessor of `n_rows` zero vectors, which takes no bytes."""
        accessor = self._describe(np.zeros((1, 3), np.float32), 5126, True)
        self.accessors[accessor]["count"] = n_rows
        return accessor

    def _describe(self, array: np.ndarray, component: int, bounds: bool, **where: Any) -> int:
        width = 1 if array.ndim == 1 else array.shape[1]
        kind = next(name for name, n in N_COMPONENTS.items() if n == width)
        accessor = {**where, "componentType": component, "count": len(array), "type": kind}
        if bounds:
            rows = array.astype(COMPONENT_TYPES[component]).reshape(len(array), width)
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def index_component(n_rows: int) -> int:
    """The component type of indices into `n_rows` rows; the largest 16-bit value is left free, as primitive restart."""
    return 5123 if n_rows <= 65535 else 5125


def pack(document: dict[str, Any], binary: bytes | bytearray) -> bytes:
    """Join JSON and binary chunk; the buffer's length must already stand in the document."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary = bytes(binary) + bytes(-len(binary) % 4)
    chunks = struct.pack("<II", len(text), JSON_CHUNK) + text + struct.pack("<II", len(binary), BINARY_CHUNK) + binary
    return MAGIC + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def unpack(data: bytes, name: str) -> tuple[dict[str, Any], memoryview]:
    """Split a GLB into its JSON document and its binary chunk (empty if absent). Raises `FileFormatError`."""
    if len(data) < 20 or data[:4] != MAGIC:
        raise FileFormatError(f"{name}: not a GLB file (it does not begin with 'glTF'); export it as .glb.")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise FileFormatError(f"{name}: glTF version {version}, expected 2; export it again as glTF 2.0.")
    if length > len(data):
        raise _cut_short(name, f"it promises {length:,} bytes and has {len(data):,}")
    chunks = _chunks(memoryview(data)[:length], name)
    if not chunks or chunks[0][0] != JSON_CHUNK:
        raise FileFormatError(f"{name}: the first chunk is not JSON; export the file again.")
    binary = next((chunk for kind, chunk in chunks[1:2] if kind == BINARY_CHUNK), memoryview(b""))
    return _parse_json(chunks[0][1], name), binary


def _chunks(data: memoryview, name: str) -> list[tuple[int, memoryview]]:
    chunks, position = [], 12
    while position + 8 <= len(data) and len(chunks) < 2:  # further chunks are for extensions
        length, kind = struct.unpack_from("<II", data, position)
        if position + 8 + length > len(data):
            raise _cut_short(name, f"a chunk promises {length:,} bytes and {len(data) - position - 8:,} are left")
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 8 + length
    return chunks


def _parse_json(chunk: memoryview, name: str) -> dict[str, Any]:
    if len(chunk) > MAX_JSON_BYTES:
        raise FileFormatError(f"{name}: {len(chunk):,} bytes of JSON, more than the {MAX_JSON_BYTES:,} that are read.")
    try:
        document = json.loads(str(chunk, "utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{name}: its JSON is damaged ({error}); export the file again.") from None
    if not isinstance(document, dict):
        raise FileFormatError(f"{name}: its JSON is no object; export the file again.")
    return document


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _cut_short(name: str, reason: str) -> FileFormatError:
    return FileFormatError(f"{name}: cut short ({reason}); copy or export the file again.")


def _component_type(array: np.ndarray) -> int:
    return next(code for code, dtype in COMPONENT_TYPES.items() if dtype == array.dtype.newbyteorder("<"))
