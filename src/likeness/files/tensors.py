"""Our own files: a safetensors container whose header says what it holds and in which version. Never pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from likeness.atomic import write_bytes
from likeness.errors import FileFormatError

# One metadata entry: safetensors keeps several in hash order, and two writes of one Face must give the same bytes.
_ENTRY = "likeness"


def write_tensors(
    path: str | Path, kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write named arrays and a JSON header. Raises OutputError when the file cannot be written."""
    text = json.dumps({"kind": kind, "version": version, **header}, sort_keys=True)
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    write_bytes(path, save(arrays, metadata={_ENTRY: text}))


def read_tensors(
    path: str | Path, kind: str, version: int, required: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file that `write_tensors` made.

    Raises FileFormatError when it is none, holds another kind, comes from a newer version or lacks a tensor.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get(_ENTRY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError as error:
        raise FileFormatError(f"{path}: there is no such file.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"{path}: not a readable Likeness file ({error}). Was it cut short?") from error
    _check(path, header, tensors, kind, version, required)
    return header, tensors


def _check(path: Path, header: Any, tensors: Mapping, kind: str, version: int, required: Iterable[str]) -> None:
    if not isinstance(header, dict) or header.get("kind") != kind:
        found = header.get("kind") if isinstance(header, dict) else None
        raise FileFormatError(f"{path}: holds {f'a {found}' if found else 'something else'}, not a Likeness {kind}.")
    if not isinstance(header.get("version"), int) or header["version"] > version:
        raise FileFormatError(
            f"{path}: written by a newer Likeness ({kind} version {header.get('version')}, this one reads up to "
            f"{version}). Upgrade with `pip install -U likeness`."
        )
    missing = sorted(set(required) - set(tensors))
    if missing:
        raise FileFormatError(f"{path}: lacks {', '.join(missing)}; the file is damaged, make it anew.")
