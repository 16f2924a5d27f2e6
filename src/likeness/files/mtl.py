"""Wavefront MTL: the materials beside an OBJ, as far as a head needs them (a colour and a colour texture)."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from jaxtyping import UInt8

from likeness.atomic import write_text
from likeness.errors import FileFormatError, ImageError
from likeness.files.maps import write_image
from likeness.images import read_image

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class ObjMaterial:
    """A name, a diffuse colour (sRGB, [0, 1]) and a colour texture with the name of its file beside the OBJ."""

    name: str
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    texture: UInt8[np.ndarray, "H W 3"] | None = None
    texture_name: str = "albedo.png"


def write_mtl(path: str | os.PathLike, materials: Iterable[ObjMaterial]) -> None:
    """Write the materials, and their textures as PNG into the same folder. Raises `OutputError`."""
    path = Path(path)
    lines = []
    for material in materials:
        colour = " ".join(f"{c:.9g}" for c in material.colour)
        lines += [f"newmtl {one_word(material.name)}", f"Kd {colour}", "Ks 0 0 0", "illum 1"]
        if material.texture is not None:
            write_image(path.with_name(material.texture_name), material.texture)
            lines.append(f"map_Kd {material.texture_name}")
        lines.append("")
    write_text(path, "\n".join(lines))


def read_mtl(path: str | os.PathLike) -> dict[str, ObjMaterial]:
    """The materials of an MTL file by name, with their textures decoded; other statements are passed over.

    A texture that is missing or cannot be read is left out with a warning, as viewers do. Raises `FileFormatError`
    for a file that is too large, or names a texture outside its own folder.
    """
    path = Path(path)
    found: dict[str, ObjMaterial] = {}
    current = None
    for keyword, rest in _statements(path):
        if keyword == "newmtl":
            current = rest
            found[current] = ObjMaterial(rest)
        elif current is not None and keyword == "Kd":
            found[current] = _with(found[current], colour=_colour(rest, path))
        elif current is not None and keyword == "map_Kd":
            # Options such as "-s 1 1 1" stand before the name.
            name = rest.split()[-1] if rest.startswith("-") else rest
            found[current] = _with(found[current], texture_name=name, texture=_texture(path, name))
    return found


def file_beside(path: Path, name: str, kind: str) -> Path:
    """The file of that name in the folder of `path` or below. Raises `FileFormatError` for any other place."""
    # Both separators are in use, whatever the system.
    parts = PureWindowsPath(name)
    if not parts.parts or parts.is_absolute() or parts.drive or parts.root or ".." in parts.parts or "\0" in name:
        raise FileFormatError(
            f"{path}: names the {kind} {name!r:.200}, which is outside its own folder; put it beside the file."
        )
    beside = path.parent.joinpath(*parts.parts)
    if not beside.resolve().is_relative_to(path.parent.resolve()):  # through a symbolic link
        raise FileFormatError(
            f"{path}: the {kind} {name!r:.200} leads out of its own folder; put a copy beside the file."
        )
    return beside


def one_word(name: str) -> str:
    """A name as OBJ statements can hold it."""
    return "_".join(name.split()) or "unnamed"


def _statements(path: Path) -> list[tuple[str, str]]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FileFormatError(f"{path}: more than the {MAX_FILE_BYTES:,} bytes of materials that are read.")
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error
    split = (line.split(None, 1) for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return [(words[0], words[1].strip() if len(words) > 1 else "") for words in split]


def _with(material: ObjMaterial, **changes) -> ObjMaterial:
    return ObjMaterial(**{**material.__dict__, **changes})


def _colour(text: str, path: Path) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(word) for word in text.split())
    except ValueError:
        raise FileFormatError(f"{path}: {text!r:.100} is no colour of three numbers; mend or remove it.") from None
    return red, green, blue


def _texture(path: Path, name: str) -> UInt8[np.ndarray, "H W 3"] | None:
    try:
        return read_image(file_beside(path, name, "texture"))
    except ImageError as error:
        warnings.warn(f"{path}: read without its texture ({error})", stacklevel=2)
        return None
