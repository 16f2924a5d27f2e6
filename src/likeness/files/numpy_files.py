"""NumPy's ``.npy`` and ``.npz`` files from strangers: pickles in them read as plain data, promises of size checked."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from likeness.errors import FileFormatError
from likeness.files.safe_pickle import MAX_BYTES, loads_pickle

__all__ = ["load_npy", "load_npz", "load_npz_columns"]


def load_npy(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """A ``.npy`` file: an array, or, for a pickled 0-d object array, the object in it as plain data.

    Raises FileFormatError like `load_pickle`, and when the header promises more than the file holds.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size > max_bytes:
                raise FileFormatError(f"{path}: has {size:,} bytes; at most {max_bytes:,} are read.")
            return _read_npy(file, str(path), size)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error}).") from error


def load_npz(path: str | Path, names: Iterable[str] | None = None, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The named arrays of a ``.npz`` file (all of them if ``names`` is None; those it lacks are left out).

    Raises FileFormatError like `load_npy`; ``max_bytes`` bounds what the archive unpacks to.
    """
    path = Path(path)
    wanted = None if names is None else set(names)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist() if m.filename.endswith(".npy")}
            chosen = {name: member for name, member in members.items() if wanted is None or name in wanted}
            if sum(member.file_size for member in chosen.values()) > max_bytes:
                raise FileFormatError(f"{path}: unpacks to more than the {max_bytes:,} bytes that are read.")
            return {name: _read_member(archive, member, f"{path}: {name}") for name, member in chosen.items()}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FileFormatError(f"{path}: not a readable .npz file ({error}).") from error


def load_npz_columns(
    path: str | Path, names: Mapping[str, int | None], *, max_bytes: int = 8 << 30
) -> dict[str, np.ndarray]:
    """Named arrays of a ``.npz`` file as float32, of each only the first so many entries along its last axis.

    For bases of which a few columns are used: never holds a whole one. Raises FileFormatError like `load_npz`.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            present = {name: n for name, n in names.items() if f"{name}.npy" in archive.namelist()}
            return {name: _read_columns(archive, path, name, n, max_bytes) for name, n in present.items()}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FileFormatError(f"{path}: not a readable .npz file ({error}).") from error


def _read_npy(file: IO[bytes], name: str, size: int) -> Any:
    shape, fortran, dtype = _read_header(file, name)
    rest = size - file.tell()
    if dtype.hasobject:
        found = loads_pickle(file.read(), name=name)
        if not isinstance(found, np.ndarray) or found.shape != shape:
            raise FileFormatError(f"{name}: its pickle is not the array its header promises.")
        return found.item() if found.shape == () else found
    count = math.prod(shape)
    if count * dtype.itemsize > rest:
        raise FileFormatError(f"{name}: promises an array of shape {shape} but holds {rest:,} bytes. Was it cut short?")
    flat = np.frombuffer(file.read(count * dtype.itemsize), dtype).copy()
    return flat.reshape(shape, order="F" if fortran else "C")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Any:
    with archive.open(member) as file:
        return _read_npy(file, name, member.file_size)


def _read_columns(archive: zipfile.ZipFile, path: Path, name: str, n_columns: int | None, max_bytes: int) -> np.ndarray:
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        shape, fortran, dtype = _read_header(file, f"{path}: {name}")
        count = math.prod(shape)
        if fortran or dtype.kind not in "fiu" or count * dtype.itemsize > min(member.file_size, max_bytes):
            raise FileFormatError(f"{path}: {name} is not the array of numbers its header promises.")
        n_last = shape[-1] if shape else 1
        kept = n_last if n_columns is None else min(n_columns, n_last)
        rows = np.empty((count // n_last, kept), np.float32) if n_last else np.empty((0, 0), np.float32)
        step = max(1, (16 << 20) // max(1, n_last * dtype.itemsize))
        for start in range(0, len(rows), step):
            n_rows = min(step, len(rows) - start)
            block = np.frombuffer(file.read(n_rows * n_last * dtype.itemsize), dtype).reshape(n_rows, n_last)
            rows[start : start + n_rows] = block[:, :kept]
    return rows.reshape(*shape[:-1], kept) if shape else rows.reshape(())


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise FileFormatError(f"{name}: not a readable .npy file ({error}).") from error
    if any(n < 0 for n in shape):
        raise FileFormatError(f"{name}: has a shape with negative sizes, {shape}.")
    return shape, fortran, dtype
