"""A Motion on disk, in the format that the file's ending names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from likeness.errors import FileFormatError, InputError
from likeness.files.motion_csv import read_csv, write_csv
from likeness.files.motion_glb import read_animation
from likeness.files.motion_json import read_json, write_json
from likeness.files.tensors import read_tensors, write_tensors
from likeness.motion import MAX_FRAMES, Motion

_KIND, _VERSION = "motion", 1
_REQUIRED, _OPTIONAL = ("weights", "head", "eyes"), ("position", "confidence")

ENDINGS = (".safetensors", ".csv", ".json", ".glb")
"""What `read_motion` reads."""


def write_motion(path: str | Path, motion: Motion) -> None:
    """Write ``.safetensors``, ``.csv`` or ``.json``; see `Motion.save`."""
    if len(motion) > MAX_FRAMES:
        raise InputError(f"{path}: {len(motion):,} frames; at most {MAX_FRAMES:,} fit one file, cut the motion first.")
    suffix = Path(path).suffix.lower()
    if suffix == ".safetensors":
        _write_lossless(path, motion)
    elif suffix == ".csv":
        write_csv(path, motion)
    elif suffix == ".json":
        write_json(path, motion)
    elif suffix == ".glb":
        raise InputError(f"{path}: a GLB holds a head too; write it with Rig.save(path, motion=motion).")
    else:
        raise InputError(f"{path}: motion is saved as .safetensors, .csv or .json, not as '{suffix or 'no ending'}'.")


def read_motion(path: str | Path, *, fps: float | None = None) -> Motion:
    """Read any of `ENDINGS`; see `Motion.load`."""
    suffix = Path(path).suffix.lower()
    if suffix == ".safetensors":
        return _read_lossless(path)
    if suffix == ".csv":
        return read_csv(path, fps=fps)
    if suffix == ".json":
        return read_json(path)
    if suffix == ".glb":
        return read_animation(path)
    raise InputError(f"{path}: motion is read from {', '.join(ENDINGS)}, not from '{suffix or 'no ending'}'.")


def _write_lossless(path: str | Path, motion: Motion) -> None:
    tensors = {name: getattr(motion, name) for name in _REQUIRED}
    tensors |= {name: value for name in _OPTIONAL if (value := getattr(motion, name)) is not None}
    write_tensors(path, _KIND, _VERSION, {"fps": motion.fps, "names": list(motion.names)}, tensors)


def _read_lossless(path: str | Path) -> Motion:
    header, tensors = read_tensors(path, _KIND, _VERSION, required=_REQUIRED)
    try:
        names = tuple(str(name) for name in header["names"])
        chosen = {name: tensors.get(name) for name in (*_REQUIRED, *_OPTIONAL)}
        for name, values in chosen.items():
            if values is not None and not (np.issubdtype(values.dtype, np.floating) and np.isfinite(values).all()):
                raise FileFormatError(f"{path}: its {name} holds values that are no finite numbers.")
        if len(tensors["weights"]) > MAX_FRAMES:
            raise FileFormatError(f"{path}: more than the {MAX_FRAMES:,} frames that are read.")
        return Motion(float(header["fps"]), names, **chosen)  # pyright: ignore[reportArgumentType]
    except (KeyError, TypeError, ValueError, IndexError, InputError) as error:
        raise FileFormatError(f"{path}: a damaged motion file ({error}); make it anew.") from None
