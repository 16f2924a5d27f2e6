"""Stanford PLY, ascii and binary: vertices, normals, colours and faces; other properties are passed over.

Written here, since the well-known package for it is under the GPL.
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Literal, Never

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from likeness.atomic import write_bytes
from likeness.errors import FileFormatError, InputError
from likeness.topology import Mesh

MAX_FILE_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 16
MAX_LINE_BYTES = 1 << 20

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


@dataclass(frozen=True, eq=False)
class PlyMesh:
    """What a PLY file holds; a point cloud has no triangles."""

    vertices: Float32[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "T 3"]
    colours: UInt8[np.ndarray, "V 3"] | None = None
    normals: Float32[np.ndarray, "V 3"] | None = None


def write_ply(path: str | os.PathLike, mesh: Mesh, *, encoding: Literal["binary", "ascii"] = "binary") -> None:
    """Write a mesh's triangles, with its colours as 8 bit where it has any. Raises `InputError`, `OutputError`."""
    colours = None
    if mesh.colours is not None:
        colours = np.rint(np.clip(mesh.colours, 0, 1) * 255).astype(np.uint8)
    write_ply_mesh(path, PlyMesh(mesh.vertices.astype(np.float32), mesh.triangles, colours), encoding=encoding)


def write_ply_mesh(path: str | os.PathLike, mesh: PlyMesh, *, encoding: Literal["binary", "ascii"] = "binary") -> None:
    """Write a PLY file (binary: little endian). Raises `InputError`, `OutputError`."""
    _check(mesh)
    columns = [(name, "float", mesh.vertices[:, i]) for i, name in enumerate("xyz")]
    if mesh.normals is not None:
        columns += [(name, "float", mesh.normals[:, i]) for i, name in enumerate(("nx", "ny", "nz"))]
    if mesh.colours is not None:
        columns += [(name, "uchar", mesh.colours[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    rows = np.empty(len(mesh.vertices), [(name, "<" + _TYPES[kind]) for name, kind, _ in columns])
    for name, _, values in columns:
        rows[name] = values
    faces = np.empty(len(mesh.triangles), [("n", "u1"), ("corners", "<i4", 3)])
    faces["n"], faces["corners"] = 3, mesh.triangles
    header = [
        "ply",
        f"format {'ascii' if encoding == 'ascii' else 'binary_little_endian'} 1.0",
        f"element vertex {len(rows)}",
        *(f"property {kind} {name}" for name, kind, _ in columns),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    body = _ascii(rows, mesh.triangles) if encoding == "ascii" else rows.tobytes() + faces.tobytes()
    write_bytes(path, "\n".join(header).encode() + b"\n" + body)


def read_ply(path: str | os.PathLike) -> PlyMesh:
    """The mesh in a PLY file; faces of more corners are cut into triangles around their first.

    Raises `FileFormatError` for a file that is damaged, cut short or too large, or whose faces name vertices that
    are not there.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FileFormatError(f"{path}: larger than the {MAX_FILE_BYTES:,} bytes that are read; simplify the mesh.")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(f"{path}: cannot be read ({reason}); check its name and permissions.") from error
    encoding, elements, body_start = _parse_header(data, path)
    body = memoryview(data)[body_start:]
    source = _AsciiBody(body, path) if encoding == "ascii" else _BinaryBody(body, _BYTE_ORDERS[encoding], path)
    for element in elements:
        if not element.properties or element.count > len(body):
            _fail(path, f"it promises {element.count:,} rows of {element.name!r:.40} in {len(body):,} bytes")
    tables = {element.name: source.read(element) for element in elements if element.count}
    return _mesh(tables, path)


# --- writing --------------------------------------------------------------------------------------------------------


def _ascii(rows: np.ndarray, triangles: np.ndarray) -> bytes:
    line = " ".join("%d" if rows.dtype[name].kind == "u" else "%.9g" for name in rows.dtype.names or ())
    lines = [line % row for row in rows.tolist()]
    lines += [f"3 {a} {b} {c}" for a, b, c in triangles.tolist()]
    return "".join(text + "\n" for text in lines).encode()


def _check(mesh: PlyMesh) -> None:
    n_vertices = len(mesh.vertices)
    for name, rows in (("vertices", mesh.vertices), ("normals", mesh.normals), ("colours", mesh.colours)):
        if rows is not None and (rows.shape != (n_vertices, 3) or not np.isfinite(rows).all()):
            raise InputError(f"PLY {name} must be finite and of shape ({n_vertices}, 3), not {rows.shape}; mend them.")
    triangles = mesh.triangles
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise InputError(f"PLY triangles have shape {triangles.shape}, expected (T, 3).")
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= n_vertices):
        raise InputError(
            f"PLY triangles reach from {triangles.min()} to {triangles.max()}, expected 0 to {n_vertices - 1}."
        )


# --- reading --------------------------------------------------------------------------------------------------------

_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class _Property:
    name: str
    kind: str
    count_kind: str | None = None
    """The type of a list's length; None for a scalar."""


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: tuple[_Property, ...]


def _fail(path: Path, reason: str) -> Never:
    raise FileFormatError(f"{path}: not a PLY that can be read: {reason}; export it again.")


def _parse_header(data: bytes, path: Path) -> tuple[str, list[_Element], int]:
    """Encoding, elements, and where the body begins."""
    head = data[:MAX_HEADER_BYTES]
    end = head.find(b"end_header")
    if not head.startswith(b"ply") or end < 0:
        _fail(path, "it has no PLY header")
    newline = data.find(b"\n", end)
    lines = [line.split() for line in head[:end].decode("latin-1").splitlines()]
    encoding, elements = "", []
    for words in lines:
        if words[:1] == ["format"] and len(words) > 1:
            encoding = words[1]
        elif words[:1] == ["element"]:
            elements.append(_Element(*_element_words(words, path), ()))
        elif words[:1] == ["property"] and elements:
            last = elements[-1]
            elements[-1] = _Element(last.name, last.count, (*last.properties, _property(words, path)))
    if encoding != "ascii" and encoding not in _BYTE_ORDERS:
        _fail(path, f"its format {encoding!r:.40} is unknown")
    return encoding, elements, len(data) if newline < 0 else newline + 1


def _element_words(words: list[str], path: Path) -> tuple[str, int]:
    if len(words) != 3 or not words[2].isascii() or not words[2].isdigit() or len(words[2]) > 18:
        _fail(path, f"{' '.join(words)!r:.80} declares no element")
    return words[1], int(words[2])


def _property(words: list[str], path: Path) -> _Property:
    kinds = words[1:-1] if words[1:2] != ["list"] else words[2:-1]
    n_kinds = 1 if words[1:2] != ["list"] else 2
    if len(kinds) != n_kinds or any(kind not in _TYPES for kind in kinds):
        _fail(path, f"{' '.join(words)!r:.80} declares no property")
    return _Property(words[-1], _TYPES[kinds[-1]], _TYPES[kinds[0]] if n_kinds == 2 else None)


class _Table:
    """The rows of one element: scalars by name; of each list, all rows' lengths, and all values joined."""

    def __init__(self, element: _Element) -> None:
        self.scalars: dict[str, np.ndarray] = {}
        self.lists: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._element = element
        self._growing = {p.name: (array("q"), array("d")) for p in element.properties}

    def append(self, name: str, values: Sequence[float]) -> None:
        """One row's value or list."""
        lengths, joined = self._growing[name]
        lengths.append(len(values))
        joined.extend(values)

    def finish(self) -> "_Table":
        for p in self._element.properties:
            lengths, values = (np.array(column) for column in self._growing[p.name])
            if p.count_kind:
                self.lists[p.name] = (lengths, values)
            else:
                self.scalars[p.name] = values
        return self


class _BinaryBody:
    def __init__(self, body: memoryview, byte_order: str, path: Path) -> None:
        self._body, self._order, self._path, self._at = body, byte_order, path, 0

    def read(self, element: _Element) -> _Table:
        # Nearly every file has faces of one size; then all rows are alike and are read at one stroke.
        start = self._at
        lengths = {p.name: len(values) for p, values in self._row(element)}
        self._at = start
        names = {p.name: f"length of {p.name}" for p in element.properties if p.count_kind}
        rows = self._rows_alike(element, lengths, names)
        if rows is None or any((rows[names[name]] != lengths[name]).any() for name in names):
            return self._read_by_rows(element)
        self._at += rows.nbytes
        table = _Table(element)
        table.scalars = {p.name: rows[p.name] for p in element.properties if not p.count_kind}
        table.lists = {name: (rows[names[name]], rows[name].reshape(-1)) for name in names}
        return table

    def _rows_alike(self, element: _Element, lengths: dict[str, int], names: dict[str, str]) -> np.ndarray | None:
        fields: list[tuple] = []
        for p in element.properties:
            if p.count_kind:
                fields += [(names[p.name], self._order + p.count_kind), (p.name, self._order + p.kind, lengths[p.name])]
            else:
                fields.append((p.name, self._order + p.kind))
        dtype = np.dtype(fields)
        if element.count * dtype.itemsize <= len(self._body) - self._at:
            return np.frombuffer(self._body, dtype, element.count, self._at)
        if not names:
            _fail(self._path, f"it is cut short in its {element.count:,} rows of {element.name!r:.40}")
        return None

    def _read_by_rows(self, element: _Element) -> _Table:
        table = _Table(element)
        for _ in range(element.count):
            for p, values in self._row(element):
                table.append(p.name, values.tolist())
        return table.finish()

    def _row(self, element: _Element) -> list[tuple[_Property, np.ndarray]]:
        return [
            (p, self._take(p.kind, int(self._take(p.count_kind, 1)[0]) if p.count_kind else 1))
            for p in element.properties
        ]

    def _take(self, kind: str, count: int) -> np.ndarray:
        dtype = np.dtype(self._order + kind)
        end = self._at + count * dtype.itemsize
        if count < 0 or end > len(self._body):
            _fail(self._path, "it is cut short")
        values = np.frombuffer(self._body, dtype, count, self._at)
        self._at = end
        return values


class _AsciiBody:
    def __init__(self, body: memoryview, path: Path) -> None:
        self._file, self._path = BytesIO(body), path

    def read(self, element: _Element) -> _Table:
        table = _Table(element)
        for _ in range(element.count):
            words = self._words()
            for p in element.properties:
                count = int(self._take(words, 1)[0]) if p.count_kind else 1
                table.append(p.name, self._take(words, count))
        return table.finish()

    def _words(self) -> Iterator[bytes]:
        while line := self._file.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                _fail(self._path, f"a line is longer than {MAX_LINE_BYTES:,} bytes")
            if words := line.split():
                return iter(words)
        _fail(self._path, "it is cut short")

    def _take(self, words: Iterator[bytes], count: int) -> list[float]:
        try:
            values = [float(word) for word in islice(words, max(count, 0))]
        except ValueError:
            _fail(self._path, "it holds a word where a number is expected")
        if len(values) != count or not all(map(isfinite, values)):
            _fail(self._path, "a row has too few numbers, or one that is not finite")
        return values


def _mesh(tables: dict[str, _Table], path: Path) -> PlyMesh:
    if "vertex" not in tables:
        _fail(path, "it has no vertices")
    vertex = tables["vertex"].scalars
    vertices = _columns(vertex, ("x", "y", "z"), np.float32)
    if vertices is None:
        _fail(path, "its vertices have no x, y and z")
    normals = _columns(vertex, ("nx", "ny", "nz"), np.float32)
    for rows in (vertices, normals):
        if rows is not None and not np.isfinite(rows).all():
            _fail(path, "it holds numbers that are not finite")
    return PlyMesh(vertices, _triangles(tables, len(vertices), path), _colours(vertex), normals)


def _columns(scalars: dict[str, np.ndarray], names: tuple[str, ...], dtype: type) -> np.ndarray | None:
    if not all(name in scalars for name in names):
        return None
    with np.errstate(over="ignore"):  # doubles beyond single precision become infinite, which is then refused
        return np.stack([scalars[name] for name in names], axis=1).astype(dtype)


def _colours(scalars: dict[str, np.ndarray]) -> UInt8[np.ndarray, "V 3"] | None:
    """8-bit colours; floats are taken as [0, 1]."""
    names = ("red", "green", "blue")
    values = _columns(scalars, names, np.float64)
    if values is None:
        return None
    is_float = scalars["red"].dtype.kind == "f" and values.max(initial=0) <= 1
    return np.rint(np.clip(values * (255 if is_float else 1), 0, 255)).astype(np.uint8)


def _triangles(tables: dict[str, _Table], n_vertices: int, path: Path) -> Int32[np.ndarray, "T 3"]:
    lists = tables["face"].lists if "face" in tables else {}
    lengths, corners = lists.get("vertex_indices", lists.get("vertex_index", (np.zeros(0, int), np.zeros(0))))
    if len(corners) and (corners.min() < 0 or corners.max() >= n_vertices):
        _fail(path, f"its faces name vertices beyond the {n_vertices:,} there are")
    if len(lengths) and lengths.min() < 3:
        _fail(path, "it has faces of fewer than three corners")
    corners, lengths = corners.astype(np.int32), lengths.astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    n_triangles = lengths - 2
    first = np.repeat(starts, n_triangles)
    step = np.arange(n_triangles.sum()) - np.repeat(np.cumsum(n_triangles) - n_triangles, n_triangles)
    return np.stack([corners[first], corners[first + step + 1], corners[first + step + 2]], axis=1)
