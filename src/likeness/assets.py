"""Licensed model files: what they are called, who gives them, and where they lie here.

Likeness brings no licensed model. Whoever has asked a model's owners for its files hands them over once:
`add` recognises a file by its content (and its name, where contents alone cannot tell), and copies it into the store;
`require` gives its path, or an error that says what is missing, where to ask for it and what to run next.

The store is the folder named by the environment variable ``LIKENESS_ASSETS``, else the platform's folder for data.
A file that lies directly in that folder under its usual name is found too.

A new file is one more `Asset` in the ``ASSETS`` of a module listed in `_TABLES`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import platformdirs

from likeness.atomic import atomic_path
from likeness.errors import AssetError, LikenessError

__all__ = ["Asset", "AssetStatus", "add", "assets", "find", "require", "require_all", "status", "status_table", "store"]

# Modules that hold a tuple ``ASSETS``; imported when first asked for.
_TABLES = (
    "likeness.heads.bfm_assets",
    "likeness.heads.facescape_assets",
    "likeness.heads.flame_assets",
    "likeness.methods.deca.assets",
    "likeness.methods.deep3d.assets",
    "likeness.methods.facescape.assets",
    "likeness.methods.inorig.assets",
)


@dataclass(frozen=True)
class Asset:
    """One licensed file.

    ``name``        short and unique (``flame``).
    ``filenames``   what its owners call it; the first is the usual one. Their endings are the ones accepted.
    ``methods``     who needs it (``deca``), ``optional`` when they can do without.
    ``what``        one phrase for people; ``url`` where its owners give it; ``licence`` their terms in a phrase.
    ``check``       raises a LikenessError, saying why, unless the file at a path is this asset. Reads safely.
    ``by_name``     the content alone cannot tell this file from its like, so its name must match too.
    ``note``        one more sentence for whoever lacks it, where there is something to say.
    """

    name: str
    filenames: tuple[str, ...]
    methods: tuple[str, ...]
    what: str
    url: str
    licence: str
    check: Callable[[Path], None]
    optional: bool = False
    by_name: bool = False
    note: str = ""


@dataclass(frozen=True)
class AssetStatus:
    """An asset and where it lies, None when it is missing."""

    asset: Asset
    path: Path | None


def store() -> Path:
    """The folder of installed model files."""
    if chosen := os.environ.get("LIKENESS_ASSETS"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_dir("likeness", appauthor=False)) / "assets"


@cache
def assets() -> dict[str, Asset]:
    """Every asset Likeness knows, by name."""
    rows = [row for table in _TABLES for row in import_module(table).ASSETS]
    named = {row.name: row for row in rows}
    assert len(named) == len(rows), "two assets share a name"
    return named


def status(method: str | None = None) -> list[AssetStatus]:
    """Every asset (of one method, if named) and where it lies."""
    rows = [row for row in assets().values() if method is None or method in row.methods]
    return [AssetStatus(row, find(row.name)) for row in rows]


def status_table(method: str | None = None) -> str:
    """`status` as text for a terminal: a line each, and under a missing one where its owners give it."""
    lines = []
    for entry in status(method):
        row = entry.asset
        state = "installed" if entry.path else "missing, optional" if row.optional else "missing"
        lines.append(f"{row.name:<24}{state:<19}{'/'.join(row.methods):<16}{row.what}")
        lines.append(
            f"{'':<24}{entry.path}" if entry.path else f"{'':<24}{row.filenames[0]} from {row.url} ({row.licence})"
        )
    lines.append(f"\nStore: {store()}\nAdd files or whole folders with `likeness assets add PATH`.")
    return "\n".join(lines)


def find(name: str) -> Path | None:
    """Where an asset lies, None when it is not installed."""
    asset = assets()[name]
    folders = (store() / name, store())
    places = (folder / filename for folder in folders for filename in asset.filenames)
    return next((place for place in places if place.is_file()), None)


def require(name: str) -> Path:
    """The path of an installed asset. Raises AssetError when it is missing, saying what to do."""
    path = find(name)
    if path is None:
        raise AssetError(_missing([assets()[name]], assets()[name].what))
    return path


def require_all(method: str) -> dict[str, Path]:
    """The paths of all assets a method needs, and of the optional ones that are there.

    Raises AssetError that lists everything missing at once.
    """
    entries = status(method)
    missing = [entry.asset for entry in entries if entry.path is None and not entry.asset.optional]
    if missing:
        raise AssetError(_missing(missing, f"the method '{method}'"))
    return {entry.asset.name: entry.path for entry in entries if entry.path is not None}


def add(path: str | Path) -> list[AssetStatus]:
    """Recognise a file, or every known file under a folder, and copy it into the store. Says what was installed.

    Raises AssetError when nothing is recognised, OutputError when the store cannot be written.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = [_install(file, asset) for file in _files_under(path) if (asset := _recognised(file))]
        if not found:
            raise AssetError(f"{path}: no known model file is in this folder. `likeness assets` lists them.")
        return found
    if not path.is_file():
        raise AssetError(f"{path}: there is no such file or folder.")
    asset = _recognised(path)
    if asset is None:
        raise AssetError(f"{path}: is none of the known model files{_why_not(path)}. `likeness assets` lists them.")
    return [_install(path, asset)]


def _files_under(folder: Path) -> Iterator[Path]:
    endings = {Path(name).suffix.lower() for asset in assets().values() for name in asset.filenames}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in endings and file.is_file():
            yield file


def _recognised(path: Path) -> Asset | None:
    """The asset a file is. Those that carry its name are asked first."""
    candidates = [
        row for row in assets().values() if _ending_fits(path, row) and (_named(path, row) or not row.by_name)
    ]
    for row in sorted(candidates, key=lambda row: not _named(path, row)):
        try:
            row.check(path)
        except LikenessError:
            continue
        return row
    return None


def _why_not(path: Path) -> str:
    """Why a file that carries an asset's name is not that asset."""
    for row in assets().values():
        if _named(path, row):
            try:
                row.check(path)
            except LikenessError as error:
                return f"; it is named like {row.what}, but {error}"
    return ""


def _named(path: Path, asset: Asset) -> bool:
    return path.name.lower() in (name.lower() for name in asset.filenames)


def _ending_fits(path: Path, asset: Asset) -> bool:
    return path.suffix.lower() in {Path(name).suffix.lower() for name in asset.filenames}


def _install(path: Path, asset: Asset) -> AssetStatus:
    """Copy into the asset's own folder, whole or not at all; a variant of the same asset that lay there gives way."""
    filename = next(name for name in asset.filenames if Path(name).suffix.lower() == path.suffix.lower())
    if _named(path, asset):
        filename = next(name for name in asset.filenames if name.lower() == path.name.lower())
    target = store() / asset.name / filename
    if target.exists() and target.samefile(path):
        return AssetStatus(asset, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
    for other in asset.filenames:
        if other != filename:
            (target.parent / other).unlink(missing_ok=True)
    return AssetStatus(asset, target)


def _missing(rows: list[Asset], needed_by: str) -> str:
    files = "; ".join(
        f"{row.filenames[0]} ({row.what}; {row.licence}; from {row.url})" + (f" {row.note}" if row.note else "")
        for row in rows
    )
    return (
        f"{len(rows)} file(s) needed for {needed_by} are not installed: {files}. Get them from their owners, then run "
        "`likeness assets add PATH` on each file or on the folder that holds them."
    )
