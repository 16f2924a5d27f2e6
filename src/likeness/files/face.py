"""The Face file: every tensor of a Face without loss, and a header that names its head model.

A `PersonalHead` belongs to no model and is stored inside the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from likeness.cameras import Pinhole, WeakPerspective
from likeness.errors import FileFormatError, InputError
from likeness.face import Face
from likeness.files.tensors import read_tensors, write_tensors
from likeness.heads import Head, load_head
from likeness.heads.personal import NAME as PERSONAL
from likeness.heads.personal import PersonalHead
from likeness.landmarks.base import Landmarks

_KIND, _VERSION = "face", 1
_CAMERAS = {
    "pinhole": (Pinhole, ("rotation", "translation", "intrinsics")),
    "weak_perspective": (WeakPerspective, ("rotation", "scale", "translation")),
}
_REQUIRED = ("identity", "expression", "joints")
_OPTIONAL = ("light", "albedo", "displacement", "offsets")


def write_face(path: str | Path, face: Face) -> None:
    """Write a Face. Raises OutputError when the file cannot be written."""
    camera = "pinhole" if isinstance(face.camera, Pinhole) else "weak_perspective"
    tensors = {name: _array(getattr(face, name)) for name in _REQUIRED}
    tensors |= {name: _array(getattr(face, name)) for name in _OPTIONAL if getattr(face, name) is not None}
    tensors |= {f"camera/{name}": _array(getattr(face.camera, name)) for name in _CAMERAS[camera][1]}
    tensors |= {f"codes/{name}": _array(value) for name, value in face.codes.items()}
    head: dict[str, Any] = {"name": face.head.name}
    if isinstance(face.head, PersonalHead):
        head, arrays = face.head.to_record()
        tensors |= {f"head/{name}": value for name, value in arrays.items()}
    header: dict[str, Any] = {
        "method": face.method,
        "head": head | {"version": face.head.version},
        "camera": camera,
        "image_size": list(face.image_size),
        "confidence": face.confidence,
        "residuals": dict(face.residuals),
    }
    if face.detected is not None:
        tensors["detected"] = face.detected.points
        header["detected"] = {"convention": face.detected.convention, "score": face.detected.score}
    write_tensors(path, _KIND, _VERSION, header, tensors)


def read_face(path: str | Path) -> Face:
    """Read a Face.

    Raises FileFormatError when the file is damaged or was made with another version of its head model, and AssetError
    when that model is not installed.
    """
    header, tensors = read_tensors(path, _KIND, _VERSION, required=_REQUIRED)
    try:
        return _assemble(path, header, tensors)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise FileFormatError(f"{path}: the Face in it is incomplete ({error}); make it anew.") from error


def _assemble(path: str | Path, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Face:
    head = _head(header["head"], tensors)
    if head.version != header["head"]["version"]:
        raise FileFormatError(
            f"{path}: was made with version {header['head']['version']} of the head '{head.name}', here is "
            f"{head.version}; its numbers mean nothing on this one. Reconstruct it anew."
        )
    kind, names = _CAMERAS[header["camera"]]
    camera = kind(*(torch.from_numpy(tensors[f"camera/{name}"]) for name in names))
    detected = header.get("detected")
    codes = {name[6:]: torch.from_numpy(value) for name, value in tensors.items() if name.startswith("codes/")}
    given = {name: torch.from_numpy(tensors[name]) for name in _REQUIRED + _OPTIONAL if name in tensors}
    return Face(
        head=head,
        camera=camera,
        image_size=(int(header["image_size"][0]), int(header["image_size"][1])),
        method=str(header["method"]),
        confidence=float(header["confidence"]),
        residuals={str(k): float(v) for k, v in header["residuals"].items()},
        detected=detected and Landmarks(detected["convention"], tensors["detected"], float(detected["score"])),
        codes=codes,
        **given,
    )


def _head(record: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Head:
    if record["name"] != PERSONAL:
        return load_head(record["name"])
    arrays = {name[5:]: value for name, value in tensors.items() if name.startswith("head/")}
    return PersonalHead.from_record(record, arrays)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
