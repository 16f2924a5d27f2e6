"""Landmarks that the user already has: an array, or a text, JSON or NumPy file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from likeness.errors import InputError
from likeness.landmarks.base import Landmarks, by_size, check_image
from likeness.landmarks.conventions import N_POINTS, Convention, check_points

# 478 points of three numbers and a face count that nobody has: more than this is no landmark file.
LARGEST_FILE = 4 << 20


class Given:
    """Answers every picture with the same points, in pixels of that picture (pixel centres at +0.5).

    `points` is `(N, 2 or 3)` for one face or `(F, N, 2 or 3)` for several, or a file of them: `.txt` or `.pts` (a
    point a line), `.json` (nested lists), `.npy`. Raises `InputError` for points or files that are no such thing.
    """

    def __init__(
        self, points: Float[np.ndarray, "*F N D"] | Sequence | str | Path, convention: Convention = "ibug68"
    ) -> None:
        if convention not in N_POINTS:
            raise InputError(f"The landmark convention is {convention!r}; expected one of {', '.join(N_POINTS)}.")
        if isinstance(points, (str, Path)):
            points = read_points(Path(points))
        faces = _to_floats(points, "The landmarks given")
        check_points(faces, convention)
        if faces.ndim > 3 or not np.isfinite(faces).all():
            raise InputError("The landmarks given must be finite numbers for one face (N, D) or several (F, N, D).")
        self._convention: Convention = convention
        self._faces = faces.reshape(-1, *faces.shape[-2:])

    @classmethod
    def from_file(cls, path: str | Path) -> Given:
        """Points from a file, their convention told by their number. Raises InputError when none has as many."""
        points = read_points(Path(path))
        n_points = points.shape[-2] if points.ndim >= 2 else 0
        for convention, count in N_POINTS.items():
            if count == n_points:
                return cls(points, convention)
        known = ", ".join(f"{count} ({convention})" for convention, count in N_POINTS.items())
        raise InputError(f"{path}: holds {n_points} points; a face has {known}.")

    @property
    def convention(self) -> Convention:
        return self._convention

    def detect(self, image: UInt8[np.ndarray, "H W 3"], *, max_faces: int | None = None) -> list[Landmarks]:
        """The given faces, largest first, with score 1."""
        check_image(image, max_faces)
        return by_size([Landmarks(self._convention, face.copy(), 1.0) for face in self._faces], max_faces)


def read_points(path: Path) -> Float[np.ndarray, "*F N D"]:
    """Points from a `.txt`, `.pts`, `.json` or `.npy` file. Pickled arrays are refused."""
    readers = {".txt": _read_text, ".pts": _read_text, ".json": _read_json, ".npy": _read_npy}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: landmarks are read from {', '.join(readers)} files; save them as one of these.")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: too large for a landmark file ({LARGEST_FILE >> 20} MiB at most).")
        return _to_floats(readers[path.suffix.lower()](path), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path.") from error
    except (ValueError, EOFError, RecursionError) as error:
        raise InputError(f"{path}: holds no list of points that can be read ({error}).") from error


def _read_text(path: Path) -> np.ndarray:
    """Two or three numbers a line, split by blanks or commas; the header and braces of `.pts` files are skipped."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.replace(",", " ").split()
        is_header = not words or words[0][0] in "#{}" or words[0].rstrip(":") in ("version", "n_points")
        if not is_header:
            rows.append([float(word) for word in words])
    return np.array(rows)


def _read_json(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_npy(path: Path) -> np.ndarray:
    # A header may promise more than the file holds: mapping it checks the size before memory is taken.
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def _to_floats(points: object, name: str) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            return np.asarray(points, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be an array of numbers, one row of two or three for each point.") from error
