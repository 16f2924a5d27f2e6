"""The JSON and the bytes of a GLB, handed out only after checking: no length, offset or index in a file is believed."""

import math
from typing import Any, Never

import numpy as np

from likeness.errors import FileFormatError
from likeness.files.glb.container import COMPONENT_TYPES, N_COMPONENTS

MAX_ARRAY_BYTES = 1 << 30
"""For all that is decoded together: sparse and shared accessors let a small file ask for much."""

_UNSIGNED = (5121, 5123, 5125)
_FLOAT = 5126


class Document:
    """Checked access to a parsed GLB; everything amiss raises `FileFormatError` naming the file."""

    def __init__(self, root: dict[str, Any], binary: memoryview, name: str) -> None:
        self.root = root
        self._binary = binary
        self._name = name
        self._bytes_left = MAX_ARRAY_BYTES

    def fail(self, reason: str) -> Never:
        raise FileFormatError(f"{self._name}: not a GLB that can be read: {reason}; export it again.")

    def take(self, n_bytes: int) -> None:
        """Count memory about to be used; refuse when all together passes `MAX_ARRAY_BYTES`."""
        self._bytes_left -= n_bytes
        if self._bytes_left < 0:
            self.fail(f"its arrays take more than {MAX_ARRAY_BYTES:,} bytes")

    # --- JSON -------------------------------------------------------------------------------------------------------

    def object(self, parent: dict[str, Any], key: str) -> dict[str, Any]:
        value = parent.get(key, {})
        return value if isinstance(value, dict) else self.fail(f"{key!r} is no object")

    def objects(self, parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
        value = self.array(parent, key)
        return value if all(isinstance(item, dict) for item in value) else self.fail(f"{key!r} holds no objects")

    def array(self, parent: dict[str, Any], key: str) -> list[Any]:
        value = parent.get(key, [])
        return value if isinstance(value, list) else self.fail(f"{key!r} is no array")

    def integers(self, parent: dict[str, Any], key: str) -> list[int]:
        value = self.array(parent, key)
        return value if all(_is_count(item) for item in value) else self.fail(f"{key!r} holds no counting numbers")

    def integer(self, parent: dict[str, Any], key: str, default: int | None = None) -> int:
        value = parent.get(key, default)
        return value if _is_count(value) else self.fail(f"{key!r} is no counting number")

    def number(self, parent: dict[str, Any], key: str, default: float) -> float:
        value = parent.get(key, default)
        return float(value) if _is_number(value) else self.fail(f"{key!r} is no number")

    def numbers(self, parent: dict[str, Any], key: str, length: int) -> list[float]:
        value = self.array(parent, key)
        if len(value) != length or not all(_is_number(item) for item in value):
            self.fail(f"{key!r} does not hold {length} numbers")
        return [float(item) for item in value]

    def string(self, parent: dict[str, Any], key: str, default: str) -> str:
        value = parent.get(key, default)
        return value if isinstance(value, str) else self.fail(f"{key!r} is no text")

    def item(self, collection: str, index: int) -> dict[str, Any]:
        """One of the root's objects, `nodes[3]` say."""
        items = self.array(self.root, collection)
        if not 0 <= index < len(items) or not isinstance(items[index], dict):
            self.fail(f"there is no {collection}[{index}]")
        return items[index]

    # --- bytes ------------------------------------------------------------------------------------------------------

    def view(self, index: int) -> memoryview:
        """The bytes of a buffer view."""
        view = self.item("bufferViews", index)
        buffer = self.integer(view, "buffer")
        if buffer != 0 or "uri" in self.item("buffers", buffer):
            self.fail("its data lie outside the file; export it with everything embedded")
        start, length = self.integer(view, "byteOffset", 0), self.integer(view, "byteLength")
        if start + length > len(self._binary):
            self.fail(f"bufferViews[{index}] ends {start + length - len(self._binary):,} bytes after the data")
        return self._binary[start : start + length]

    def copied_view(self, index: int) -> bytes:
        view = self.view(index)
        self.take(len(view))
        return bytes(view)

    def floats(self, index: int, kind: str, *, n_rows: int | None = None) -> np.ndarray:
        """An accessor as float32 `(n, width)`; normalised integers are scaled (specification, 3.6.2.2)."""
        accessor = self.item("accessors", index)
        component = self.integer(accessor, "componentType")
        values = self._values(index, kind, n_rows)
        if component == _FLOAT:
            return values.astype(np.float32, copy=False)
        if accessor.get("normalized") is not True or component not in (5121, 5123):
            self.fail(f"accessors[{index}] holds integers where numbers are expected")
        self.take(4 * values.size)
        return values.astype(np.float32) / np.iinfo(values.dtype).max

    def unsigned(self, index: int, kind: str, *, n_rows: int | None = None) -> np.ndarray:
        """An accessor of unsigned integers `(n, width)`."""
        if self.integer(self.item("accessors", index), "componentType") not in _UNSIGNED:
            self.fail(f"accessors[{index}] holds no unsigned integers")
        return self._values(index, kind, n_rows)

    def _values(self, index: int, kind: str, n_rows: int | None) -> np.ndarray:
        accessor = self.item("accessors", index)
        count, component = self.integer(accessor, "count"), self.integer(accessor, "componentType")
        if accessor.get("type") != kind or component not in COMPONENT_TYPES or count == 0:
            self.fail(f"accessors[{index}] is empty or no {kind} of a known type")
        if n_rows is not None and count != n_rows:
            self.fail(f"accessors[{index}] has {count:,} elements, {n_rows:,} expected")
        dtype, width = COMPONENT_TYPES[component], N_COMPONENTS[kind]
        if "bufferView" in accessor:
            values = self._dense(accessor, index, count, width, dtype)
        elif n_rows is None:  # only a count that others share may stand without bytes behind it
            self.fail(f"accessors[{index}] has no data")
        else:
            self.take(count * width * dtype.itemsize)
            values = np.zeros((count, width), dtype)
        if "sparse" in accessor:
            self._overwrite(values, self.object(accessor, "sparse"), index)
        return values

    def _dense(self, accessor: dict[str, Any], index: int, count: int, width: int, dtype: np.dtype) -> np.ndarray:
        view_index = self.integer(accessor, "bufferView")
        view = self.view(view_index)
        row = width * dtype.itemsize
        stride = self.integer(self.item("bufferViews", view_index), "byteStride", row)
        offset = self.integer(accessor, "byteOffset", 0)
        if stride < row or offset + stride * (count - 1) + row > len(view):
            self.fail(f"accessors[{index}] reaches beyond its buffer view")
        self.take(count * row)
        strided = np.ndarray((count, width), dtype, buffer=view, offset=offset, strides=(stride, dtype.itemsize))
        return strided.copy()

    def _overwrite(self, values: np.ndarray, sparse: dict[str, Any], index: int) -> None:
        count = self.integer(sparse, "count")
        if count > len(values):
            self.fail(f"accessors[{index}] has more sparse elements than elements")
        if count == 0:
            return
        where, what = self.object(sparse, "indices"), self.object(sparse, "values")
        component = self.integer(where, "componentType")
        if component not in _UNSIGNED:
            self.fail(f"accessors[{index}] has sparse indices of an unknown type")
        rows = self._dense(where, index, count, 1, COMPONENT_TYPES[component])[:, 0]
        if rows[-1] >= len(values) or (rows[1:] <= rows[:-1]).any():
            self.fail(f"accessors[{index}] has sparse indices that do not increase or are out of range")
        values[rows] = self._dense(what, index, count, values.shape[1], values.dtype)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) < 1e300 and math.isfinite(value)
