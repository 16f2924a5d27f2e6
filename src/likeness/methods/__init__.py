"""Reconstruction methods, found by name."""

from __future__ import annotations

from importlib import import_module

from likeness.errors import InputError
from likeness.methods.protocol import Method, Photo

__all__ = ["METHODS", "Method", "Photo", "load_method"]

# name -> "module:class"; imported when first asked for.
METHODS = {
    "open": "likeness.methods.open.method:OpenMethod",
    "inorig": "likeness.methods.inorig.method:InorigMethod",
}


def load_method(name: str, *, device: str = "auto", **options) -> Method:
    """The method called ``name`` on a device, with its own options.

    Raises InputError on an unknown name, AssetError when official files it needs are not installed.
    """
    if name not in METHODS:
        raise InputError(f"unknown method '{name}'; known: {', '.join(METHODS)}.")
    module, cls = METHODS[name].split(":")
    return getattr(import_module(module), cls)(device=device, **options)
