"""Parametric heads behind one protocol, and how one is found by name."""

from __future__ import annotations

from importlib import import_module

from likeness.errors import InputError
from likeness.heads.flame_layer import Flame
from likeness.heads.protocol import Embedding, Head

__all__ = ["Embedding", "Flame", "Head", "load_head"]

# name -> "module:function"; imported when first asked for.
_LOADERS = {
    "flame": "likeness.heads.flame:load_flame",
    "open": "likeness.heads.open_head:load_open_head",
    "bfm": "likeness.heads.bfm:load_bfm_head",
    "bfm_full": "likeness.heads.bfm:load_full_bfm_head",
    "bfm_h5": "likeness.heads.bfm:load_bfm_h5_head",
    "facescape": "likeness.heads.facescape:load_facescape_head",
}


def load_head(name: str) -> Head:
    """The head model called ``name``.

    Raises AssetError when its official file is not installed, InputError on an unknown name.
    """
    if name not in _LOADERS:
        raise InputError(f"unknown head model '{name}'; known: {', '.join(sorted(_LOADERS))}.")
    module, function = _LOADERS[name].split(":")
    return getattr(import_module(module), function)()
