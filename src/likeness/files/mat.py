"""MATLAB v5 files, as Deep3DFaceReconstruction and its evaluation scripts exchange coefficients."""

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import loadmat, savemat, whosmat

from likeness.atomic import write_bytes
from likeness.errors import FileFormatError, InputError

MAX_BYTES = 1 << 30
"""Of a file, and of the arrays in it once decoded."""

# SciPy writes the time into the first 116 bytes; the same arrays should give the same file.
_HEADER = b"MATLAB 5.0 MAT-file, written by Likeness".ljust(116)


def write_mat(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write numeric arrays by name (vectors become rows, as in MATLAB). Raises `InputError`, `OutputError`."""
    for name, array in arrays.items():
        if not name.isidentifier() or name.startswith("_") or len(name) > 31:
            raise InputError(f"{name!r:.60} is no MATLAB variable name; use up to 31 letters, digits and underscores.")
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise InputError(f"The MATLAB variable {name!r} must be a numeric array.")
    buffer = io.BytesIO()
    savemat(buffer, dict(arrays), format="5", do_compression=True, oned_as="row")
    write_bytes(path, _HEADER + buffer.getvalue()[len(_HEADER) :])


def read_mat(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The numeric arrays of a MATLAB v5 file by name, each of two dimensions or more; other variables are left out.

    Raises `FileFormatError` for a file that is damaged, of another version, or too large once decoded.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileFormatError(f"{path}: larger than the {MAX_BYTES:,} bytes that are read.")
        sizes = [math.prod(shape) for _, shape, _ in whosmat(path)]
        if sum(sizes) * 8 > MAX_BYTES:
            raise FileFormatError(f"{path}: claims arrays of more than {MAX_BYTES:,} bytes; check the file.")
        variables = loadmat(path)
    except FileFormatError:
        raise
    except Exception as error:  # SciPy says many different things about a broken file; all of them mean this
        raise FileFormatError(f"{path}: not a MATLAB v5 file that can be read ({error}); save it again.") from error
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith("__") and isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    }
