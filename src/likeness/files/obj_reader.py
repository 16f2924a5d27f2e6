"""Read Wavefront OBJ files of any program: as tolerant as they are various, and bounded."""

import math
import os
import warnings
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Never

import numpy as np
from jaxtyping import Float32, Int32

from likeness.errors import FileFormatError
from likeness.files.mtl import ObjMaterial, file_beside, read_mtl
from likeness.files.obj import ObjMesh

MAX_FILE_BYTES = 512 << 20
MAX_LINE_CHARACTERS = 1 << 20


def read_obj(path: str | os.PathLike) -> ObjMesh:
    """The mesh in an OBJ file, with its materials.

    Taken: indices counted from the end, CRLF, continued lines, colours after positions, polygons (those of more
    than four corners are cut into triangles around their first). Passed over: lines, curves, smoothing. A material
    library that is missing is left out with a warning. Raises `FileFormatError` for a file that is damaged, too large,
    names vertices that are not there or numbers that are not finite, or leads to files outside its folder.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise FileFormatError(f"{path}: no such file; check the name.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FileFormatError(f"{path}: larger than the {MAX_FILE_BYTES:,} bytes that are read; simplify the mesh.")
        with path.open(encoding="utf-8", errors="replace", newline=None) as file:
            return _Parser(path).parse(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(f"{path}: cannot be read ({reason}); check its name and permissions.") from error


class _Parser:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._numbers = {"v": array("f"), "vt": array("f"), "vn": array("f")}
        self._n_rows = {"v": 0, "vt": 0, "vn": 0}
        self._n_coloured = 0
        self._colours = array("f")
        self._corners = (array("i"), array("i"), array("i"))  # vertex, uv and normal: four per face
        self._face_groups, self._face_materials = array("i"), array("i")
        self._groups: dict[str, int] = {}
        self._group = -1
        self._material_names: dict[str, int] = {}
        self._material = -1
        self._library: dict[str, ObjMaterial] = {}

    def parse(self, file: IO[str]) -> ObjMesh:
        for text in self._lines(file):
            keyword, _, rest = text.partition(" ")
            if keyword in self._numbers:
                self._row(keyword, rest.partition("#")[0].split())
            elif keyword == "f":
                self._face(rest.partition("#")[0].split())
            elif keyword in ("g", "o"):
                self._group = self._groups.setdefault(rest.strip(), len(self._groups)) if rest.strip() else -1
            elif keyword == "usemtl":
                names = self._material_names
                self._material = names.setdefault(rest.strip(), len(names)) if rest.strip() else -1
            elif keyword == "mtllib":
                self._read_library(rest.strip())
        return self._mesh()

    def _lines(self, file: IO[str]) -> Iterator[str]:
        """Statements, continued lines joined, tabs and leading blanks gone."""
        pieces: list[str] = []
        n_characters = 0
        while text := file.readline(MAX_LINE_CHARACTERS):
            self._line += 1
            n_characters += len(text)
            if n_characters >= MAX_LINE_CHARACTERS:
                self._fail(f"is longer than {MAX_LINE_CHARACTERS:,} characters")
            text = text.strip().replace("\t", " ")
            if text.endswith("\\"):
                pieces.append(text[:-1])
                continue
            yield " ".join([*pieces, text]) if pieces else text
            pieces, n_characters = [], 0

    def _row(self, keyword: str, words: list[str]) -> None:
        width = 2 if keyword == "vt" else 3
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            self._fail("holds something that is no number")
        if len(numbers) < width or not all(map(math.isfinite, numbers)) or max(map(abs, numbers)) > 3e38:
            self._fail(f"does not hold {width} finite numbers")
        self._numbers[keyword].extend(numbers[:width])
        self._n_rows[keyword] += 1
        if keyword == "v" and len(numbers) >= 6:
            self._colours.extend(numbers[-3:])
            self._n_coloured += 1

    def _face(self, words: list[str]) -> None:
        if len(words) < 3:
            self._fail("is a face of fewer than three corners")
        corners = [self._corner(word) for word in words]
        pieces = [corners] if len(corners) <= 4 else [[corners[0], *pair] for pair in pairwise(corners[1:])]
        for piece in pieces:
            if len(piece) == 3:
                piece = [*piece, (-1, -1, -1)]
            for column, indices in zip(self._corners, zip(*piece, strict=True), strict=True):
                column.extend(indices)
            self._face_groups.append(self._group)
            self._face_materials.append(self._material)

    def _corner(self, word: str) -> tuple[int, int, int]:
        parts = word.split("/")
        if len(parts) > 3:
            self._fail(f"has a corner {word!r:.60}, which is not vertex/uv/normal")
        vertex = self._index(parts[0], "v")
        uv = self._index(parts[1], "vt") if len(parts) > 1 and parts[1] else -1
        normal = self._index(parts[2], "vn") if len(parts) > 2 and parts[2] else -1
        return vertex, uv, normal

    def _index(self, text: str, keyword: str) -> int:
        """Counted from 1, or back from the newest row; faces come after what they name in every file that is sound."""
        n_rows = self._n_rows[keyword]
        try:
            index = int(text)
        except ValueError:
            self._fail(f"has {text!r:.60} for an index")
        index = index - 1 if index > 0 else n_rows + index
        if index == n_rows or not 0 <= index < n_rows:
            self._fail(f"names number {text:.60} of {n_rows:,} '{keyword}' before it")
        return index

    def _read_library(self, name: str) -> None:
        library = file_beside(self._path, name, "material library")
        if library.is_file():
            self._library |= read_mtl(library)
        else:
            warnings.warn(f"{self._path}: read without its materials ({name!r:.200} is missing)", stacklevel=2)

    def _mesh(self) -> ObjMesh:
        if not self._n_rows["v"] or not self._corners[0]:
            raise FileFormatError(f"{self._path}: holds no mesh (no vertices or no faces); export it again as OBJ.")
        faces, uv_faces, normal_faces = (np.array(column, np.int32).reshape(-1, 4) for column in self._corners)
        face_groups = np.array(self._face_groups, np.int32)
        materials = tuple(self._library.get(name, ObjMaterial(name)) for name in self._material_names)
        return ObjMesh(
            vertices=self._rows("v", 3),
            faces=faces,
            colours=self._vertex_colours(),
            uv=self._rows("vt", 2) if (uv_faces >= 0).any() else None,
            uv_faces=uv_faces if (uv_faces >= 0).any() else None,
            normals=self._rows("vn", 3) if (normal_faces >= 0).any() else None,
            normal_faces=normal_faces if (normal_faces >= 0).any() else None,
            groups=_group_faces(self._groups, face_groups),
            materials=materials,
            face_materials=np.array(self._face_materials, np.int32) if materials else None,
        )

    def _rows(self, keyword: str, width: int) -> Float32[np.ndarray, "N C"]:
        return np.array(self._numbers[keyword], np.float32).reshape(-1, width)

    def _vertex_colours(self) -> Float32[np.ndarray, "V 3"] | None:
        if self._n_coloured != self._n_rows["v"]:
            return None
        return np.array(self._colours, np.float32).reshape(-1, 3)

    def _fail(self, reason: str) -> Never:
        raise FileFormatError(f"{self._path}: line {self._line} {reason}; export it again as OBJ.")


def _group_faces(groups: dict[str, int], face_groups: Int32[np.ndarray, "F"]) -> dict[str, Int32[np.ndarray, "G"]]:
    """The faces of each group, by one sort however many groups there are."""
    order = np.argsort(face_groups, kind="stable").astype(np.int32)
    starts = np.searchsorted(face_groups[order], np.arange(len(groups) + 1))
    found = {name: order[starts[i] : starts[i + 1]] for name, i in groups.items()}
    return {name: faces for name, faces in found.items() if len(faces)}
