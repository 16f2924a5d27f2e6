"""Whole runs of portrait animation: one photo or thousands, each with all driving frames, resumable.

Sources are worked off one after the other and frame after frame, so that memory stays that of one photo. What fails is
reported and noted, the others are finished; a run that is started again makes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import likeness
from likeness.api import read_photo
from likeness.atomic import write_text
from likeness.errors import ImageError, InputError, LikenessError, OutputError
from likeness.images import find_photos
from likeness.reenactment.driving import Driver
from likeness.reenactment.manifest import FORMAT, VERSION, Manifest, fingerprint
from likeness.reenactment.stage import Role, Stage
from likeness.runs import folder_names

MANIFEST = "manifest.json"
_SUMMARY_EVERY_S = 5.0

Report = Callable[[str], None]
Complain = Callable[[LikenessError], None]


@dataclass(frozen=True)
class Tally:
    """Frames ``made`` now, ``kept`` from an earlier run and ``failed``; sources that failed as a whole."""

    made: int = 0
    kept: int = 0
    failed: int = 0
    sources_failed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(mine + theirs for mine, theirs in zip(self._all, other._all, strict=True)))

    @property
    def _all(self) -> tuple[int, int, int, int]:
        return self.made, self.kept, self.failed, self.sources_failed


def reenact(
    source: Path,
    targets: Sequence[Path],
    out: Path,
    *,
    stage: Stage,
    manifest_inside: bool = True,
    report: Report,
    complain: Complain,
    progress: bool = False,
) -> Tally:
    """Re-render the largest face of ``source`` with the expressions of photos, folders of photos or a video.

    A source folder stands for all photos in it; each gets a subfolder of ``out`` of its own. Every folder of frames
    has its ``manifest.json``, or, if not ``manifest_inside``, one beside it called ``<folder>.manifest.json``; a
    folder of sources has one of all of them. Raises LikenessError when nothing can be driven or nothing be written.
    """
    photos = find_photos([source])
    if not photos:
        raise InputError(f"{source}: no photo to animate.")
    _make_folder(out)
    driver = stage.drive(targets)
    broken = [error for error in driver.frames if isinstance(error, LikenessError)]
    for error in broken:
        complain(error)
    if len(broken) == len(driver):
        raise InputError("none of the driving frames shows a face; nothing can be driven.")
    made_with = {"targets": [_target_record(path) for path in targets], "options": stage.options}
    names = folder_names(photos) if source.is_dir() else {}
    summary = _Summary(out / MANIFEST if manifest_inside else _beside(out), made_with) if source.is_dir() else None
    bar = _Bar(len(photos) * len(driver), show=progress)
    total = Tally()
    try:
        for photo in photos:
            folder = out / names[photo] if source.is_dir() else out
            path = folder / MANIFEST if manifest_inside else _beside(folder)
            tally, reason = _one_source(photo, folder, path, stage, driver, made_with, complain, bar)
            total += tally
            if summary is not None:
                summary.note(photo, folder, tally, len(driver), reason)
            if reason is None:
                report(f"{photo} -> {folder}: {_said(tally)}")
    finally:
        bar.close()
        if summary is not None:
            summary.write()
    return total


def _one_source(
    photo: Path,
    folder: Path,
    manifest_path: Path,
    stage: Stage,
    driver: Driver,
    made_with: dict[str, Any],
    complain: Complain,
    bar: _Bar,
) -> tuple[Tally, str | None]:
    """All frames of one source; why it failed as a whole, or None."""
    done = 0
    try:
        _make_folder(folder)
        manifest = Manifest(manifest_path, folder, {"source": fingerprint(_readable(photo)), **made_with})
        try:
            tally = Tally()
            for made in _frames(photo, folder, stage, driver, manifest):
                tally += made
                done += 1
                bar.step()
            return tally, None
        finally:
            manifest.write()
    except OutputError:
        raise
    except LikenessError as error:
        complain(error)
        bar.step(len(driver) - done)
        return Tally(sources_failed=1), str(error)


def _frames(photo: Path, folder: Path, stage: Stage, driver: Driver, manifest: Manifest) -> Iterator[Tally]:
    """Frame by frame; the source is only prepared when a frame is missing."""
    role: Role | None = None
    for index, (target, driven) in enumerate(zip(driver.names, driver.frames, strict=True)):
        name = stage.frame_name(photo.stem, index)
        if isinstance(driven, LikenessError):
            manifest.note_failure(name, target, str(driven))
            yield Tally(failed=1)
            continue
        if manifest.is_done(name):
            yield Tally(kept=1)
            continue
        role = role or _prepared(stage, photo)
        files = role.write(index, folder, name)
        manifest.note(name, target, files)
        yield Tally(made=1)


def _prepared(stage: Stage, photo: Path) -> Role:
    try:
        return stage.prepare(read_photo(photo))
    except MemoryError:
        raise ImageError(f"{photo}: too large for this machine's memory; make it smaller and try again.") from None


class _Summary:
    """``manifest.json`` of a folder of sources: what became of each."""

    def __init__(self, path: Path, made_with: dict[str, Any]) -> None:
        self._path = path
        self._record: dict[str, Any] = {
            "format": f"{FORMAT}s",
            "format_version": VERSION,
            "likeness": likeness.__version__,
            **made_with,
            "sources": {},
        }
        self._written = time.monotonic()

    def note(self, photo: Path, folder: Path, tally: Tally, n_frames: int, reason: str | None) -> None:
        entry: dict[str, Any] = {"source": str(photo), "status": "failed", "reason": reason}
        if reason is None:
            finished = tally.made + tally.kept
            status = "done" if finished == n_frames else "partial"
            entry = {"source": str(photo), "status": status, "finished": finished, "failed": tally.failed}
        self._record["sources"][folder.name] = entry
        if time.monotonic() - self._written > _SUMMARY_EVERY_S:
            self.write()

    def write(self) -> None:
        write_text(self._path, json.dumps(self._record, indent=1, allow_nan=False) + "\n")
        self._written = time.monotonic()


class _Bar:
    """A progress bar over all frames of all sources, where somebody is looking."""

    def __init__(self, total: int, *, show: bool) -> None:
        self._bar = None
        if show:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="frame")

    def step(self, n: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _target_record(path: Path) -> dict[str, Any]:
    """A file by its content; a folder by its photos' names and contents."""
    if not path.is_dir():
        return fingerprint(_readable(path))
    photos = find_photos([path])
    whole = hashlib.sha256()
    for photo in photos:
        whole.update(json.dumps({**fingerprint(photo), "name": photo.name}, sort_keys=True).encode())
    return {"name": str(path), "photos": len(photos), "sha256": whole.hexdigest()}


def _readable(path: Path) -> Path:
    if not path.is_file():
        raise ImageError(f"{path}: no such file; check the name.")
    return path


def _beside(folder: Path) -> Path:
    """Readers of the original's sets take every file of the folder for a frame's."""
    return folder.with_name(f"{folder.name}.{MANIFEST}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: this folder cannot be made ({error.strerror}). Choose another with -o, or mend its permissions."
        ) from error


def _said(tally: Tally) -> str:
    words = [f"{tally.made} frames made"]
    words += [f"{tally.kept} kept"] * bool(tally.kept) + [f"{tally.failed} failed"] * bool(tally.failed)
    return ", ".join(words)
