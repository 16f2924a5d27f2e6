"""Reconstruction methods, found by name."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np

from likeness.errors import InputError
from likeness.face import Face
from likeness.methods.protocol import Method, Photo

if TYPE_CHECKING:
    from likeness.rig import DetailMap

__all__ = ["METHODS", "Method", "Photo", "detail_maps", "follow_expression", "load_method"]

# name -> "module:class"; imported when first asked for.
METHODS = {
    "deca": "likeness.methods.deca.method:DecaMethod",
    "deep3d": "likeness.methods.deep3d.method:Deep3dMethod",
    "facescape": "likeness.methods.facescape.method:FaceScapeMethod",
    "open": "likeness.methods.open.method:OpenMethod",
    "inorig": "likeness.methods.inorig.method:InorigMethod",
}

# name -> module with `follow_expression(face)` and `detail_maps(face)`: methods whose wrinkles follow the expression.
_FOLLOWING = {
    "deca": "likeness.methods.deca.following",
    "facescape": "likeness.methods.facescape.following",
    "open": "likeness.methods.open.following",
}


def load_method(name: str, *, device: str = "auto", **options) -> Method:
    """The method called ``name`` on a device, with its own options.

    Raises InputError on an unknown name or option, AssetError when official files it needs are not installed.
    """
    if name not in METHODS:
        raise InputError(f"unknown method '{name}'; known: {', '.join(METHODS)}.")
    module, cls = METHODS[name].split(":")
    method = getattr(import_module(module), cls)
    known = signature(method).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = ", ".join(sorted(set(known) - {"device"})) or "none"
        raise InputError(f"the method '{name}' has no option '{unknown[0]}'; it takes {takes}.")
    return method(device=device, **options)


def follow_expression(face: Face) -> Face:
    """The Face with the displacement that belongs to its present expression; unchanged if its method has only one.

    Raises AssetError when the method's files are not installed.
    """
    if face.method not in _FOLLOWING:
        return face
    return import_module(_FOLLOWING[face.method]).follow_expression(face)


def detail_maps(face: Face) -> tuple[DetailMap, ...]:
    """A Face's displacement as maps for a Rig, with the rule of how each shows in an expression.

    Raises AssetError when the method's files are not installed.
    """
    from likeness.rig import DetailMap

    if face.method in _FOLLOWING:
        return import_module(_FOLLOWING[face.method]).detail_maps(face)
    if face.displacement is None:
        return ()
    return (DetailMap("static", face.displacement.detach().cpu().numpy().astype(np.float32)),)
