"""Whole runs over many photos or Faces, as the command line does them: each failure is reported, the others finish."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from likeness.api import Reconstruction, Reconstructor, reconstruct_each, reconstruct_person
from likeness.atomic import atomic_folder
from likeness.errors import InputError, LikenessError, OutputError
from likeness.face import Face
from likeness.images import find_photos
from likeness.landmarks import Given
from likeness.landmarks.sessions import Device
from likeness.results import write_meshes, write_result

Report = Callable[[str], None]
Complain = Callable[[LikenessError], None]


def reconstruct_photos(
    photos: Iterable[Path],
    out: Path,
    *,
    method: str,
    same_person: bool,
    device: Device,
    max_faces: int | None,
    options: Mapping[str, Any],
    landmarks: Path | None = None,
    formats: Sequence[str],
    report: Report,
    complain: Complain,
    progress: bool,
) -> tuple[list[Path], int]:
    """Write a result folder for every face; return the folders and how many photos failed.

    ``landmarks`` is a file of points for a single photo, instead of detection. Raises OutputError at once when ``out``
    cannot be written to, since no photo could then succeed.
    """
    paths = find_photos(photos)
    detector = None if landmarks is None else _given(landmarks, paths)
    names = folder_names(paths)
    _make_folder(out)
    reconstructor = Reconstructor(method=method, device=device, max_faces=max_faces, detector=detector, **options)
    each = (reconstruct_person if same_person else reconstruct_each)(paths, reconstructor)
    written: list[Path] = []
    failures = 0
    for path, outcome in _with_progress(each, len(paths), progress):
        try:
            if isinstance(outcome, LikenessError):
                raise outcome
            folders = _write_faces(out, names[path], outcome, formats, reconstructor)
        except LikenessError as error:
            failures += 1
            complain(error)
            continue
        written += folders
        for folder in folders:
            report(f"{path} -> {folder}")
    return written, failures


def export_faces(
    files: Sequence[Path], out: Path | None, *, formats: Sequence[str], report: Report, complain: Complain
) -> int:
    """Write other formats of saved Faces, into ``out`` or beside each file; return how many failed."""
    failures = 0
    for file in files:
        try:
            face = Face.load(file)
            folder = file.parent if out is None else out if len(files) == 1 else out / (file.parent.name or file.stem)
            with atomic_folder(folder) as temporary:
                write_meshes(temporary, face, formats)
        except LikenessError as error:
            failures += 1
            complain(error)
            continue
        report(f"{file} -> {folder}")
    return failures


def folder_names(paths: Sequence[Path]) -> dict[Path, str]:
    """A folder name for each photo: its stem; where two photos of a run share one, the whole file name, and where
    that is shared too, the parent folder's name before it (and at last a number)."""
    candidates = (
        lambda path: path.stem,
        lambda path: path.name,
        lambda path: f"{path.absolute().parent.name}-{path.name}",
    )
    names: dict[Path, str] = {}
    pending = list(paths)
    for candidate in candidates:
        proposed = [candidate(path) for path in pending]
        unique = {name for name in proposed if proposed.count(name) == 1 and name not in names.values()}
        names |= {path: name for path, name in zip(pending, proposed, strict=True) if name in unique}
        pending = [path for path in pending if path not in names]
    names |= {path: f"{path.stem}-photo{number}" for number, path in enumerate(pending, 1)}
    return names


def _given(landmarks: Path, photos: Sequence[Path]) -> Given:
    if len(photos) != 1:
        raise InputError(f"{landmarks}: landmarks belong to one photo, but {len(photos)} were given.")
    return Given.from_file(landmarks)


def _write_faces(
    out: Path, name: str, reconstruction: Reconstruction, formats: Sequence[str], reconstructor: Reconstructor
) -> list[Path]:
    """A folder a face: ``name``, ``name-2``, ``name-3`` …"""
    folders = []
    for number, face in enumerate(reconstruction.faces, 1):
        folder = out / (name if number == 1 else f"{name}-{number}")
        with atomic_folder(folder) as temporary:
            write_result(temporary, reconstruction.photo, face, formats)
            if "official" in formats:
                reconstructor.write_official(temporary, name, reconstruction.photo, face)
        folders.append(folder)
    return folders


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out}: this folder cannot be made ({error.strerror}). Choose another with -o, or mend its permissions."
        ) from error


def _with_progress(each, total: int, show: bool):
    if not show or total < 2:
        return each
    from tqdm import tqdm

    return tqdm(each, total=total, unit="photo")
