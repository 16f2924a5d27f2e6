"""Arrays of MATLAB files, checked before use: what is there, how large, which shape, all finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from likeness.errors import FileFormatError

# The raw Basel model's largest array has 32 million numbers, its file 240 MB.
MAX_NUMBERS = 1 << 27
MAX_BYTES = 1 << 30


def read_mat(path: str | Path, required: Iterable[str]) -> dict[str, np.ndarray]:
    """The named arrays of a MATLAB v5 file.

    Raises FileFormatError when the file cannot be read, is absurdly large or lacks one of them.
    """
    path, required = Path(path), tuple(required)
    sizes = _sizes(path)
    missing = [name for name in required if name not in sizes]
    if missing:
        has = ", ".join(sorted(sizes)) or "nothing"
        raise FileFormatError(f"{path.name}: lacks {', '.join(missing)}; it holds {has}. Is this the right file?")
    large = [name for name in required if math.prod(sizes[name]) > MAX_NUMBERS]
    if large:
        raise FileFormatError(f"{path.name}: '{large[0]}' claims {math.prod(sizes[large[0]]):,} numbers; far too many.")
    return {name: value for name, value in _load(path, required).items() if name in required}


def read_struct(path: str | Path, name: str, fields: Iterable[str]) -> dict[str, np.ndarray]:
    """The named fields of a MATLAB struct, as arrays of numbers. Raises FileFormatError."""
    record = read_mat(path, [name])[name]
    known = record.dtype.names or ()
    missing = [field for field in fields if field not in known]
    if missing or record.size != 1:
        raise FileFormatError(
            f"{Path(path).name}: the struct '{name}' lacks {', '.join(missing) or 'its one element'}."
        )
    return {field: numbers(path, field, record[field].item()) for field in fields}


def numbers(path: str | Path, name: str, array: np.ndarray) -> np.ndarray:
    """The array itself, if it holds finite real numbers. Raises FileFormatError."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise FileFormatError(f"{Path(path).name}: '{name}' holds no numbers.")
    if not np.isfinite(array).all():
        raise FileFormatError(f"{Path(path).name}: '{name}' holds numbers that are not finite; the file is damaged.")
    return array


def indices(path: str | Path, name: str, array: np.ndarray, n: int) -> np.ndarray:
    """1-based indices below or at ``n``, stored as any kind of number → 0-based int64. Raises FileFormatError."""
    whole = numbers(path, name, array).astype(np.int64)
    if (whole != array).any():
        raise FileFormatError(f"{Path(path).name}: '{name}' should hold indices but has fractions.")
    if whole.size and not 1 <= whole.min() <= whole.max() <= n:
        raise FileFormatError(
            f"{Path(path).name}: '{name}' holds indices {whole.min()} to {whole.max()}, expected 1 to {n}."
        )
    return whole - 1


def _sizes(path: Path) -> dict[str, tuple[int, ...]]:
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file.")
    if path.stat().st_size > MAX_BYTES:
        raise FileFormatError(f"{path.name}: {path.stat().st_size / 1e9:.1f} GB is far too large for this file.")
    return {name: shape for name, shape, _ in _guarded(path, lambda: whosmat(path))}


def _load(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return _guarded(path, lambda: loadmat(path, variable_names=names))


def _guarded(path: Path, read):
    """SciPy says many different things about a broken file; all of them mean this."""
    try:
        return read()
    except (MatReadError, NotImplementedError, OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        raise FileFormatError(f"{path.name}: not a readable MATLAB v5 file ({error}). Was it cut short?") from error
    except Exception as error:  # zlib.error and scipy's own on hostile bytes
        if type(error).__module__.split(".")[0] not in ("zlib", "scipy", "struct"):
            raise
        raise FileFormatError(f"{path.name}: not a readable MATLAB v5 file ({error}). Was it cut short?") from error
