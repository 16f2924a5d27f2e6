"""A whole run of expression transfers, as the command line does it: one person, many expressions, a folder for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from likeness.animate.transfer import transfer
from likeness.animate.transfer_sheet import clay_picture, transfer_sheet
from likeness.api import Reconstructor, read_photo
from likeness.atomic import atomic_folder
from likeness.errors import LikenessError
from likeness.face import Face
from likeness.files.maps import write_image
from likeness.images import find_photos
from likeness.landmarks.sessions import Device
from likeness.methods import Photo
from likeness.results import write_result
from likeness.videos import VideoReader

VIDEO_ENDINGS = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"})
# More columns than a screen is wide help nobody.
_MOST_COLUMNS = 12
_CLAY_SIZE = 768

Report = Callable[[str], None]
Complain = Callable[[LikenessError], None]


def transfer_expressions(
    source: Path,
    expressions: Sequence[Path],
    out: Path,
    *,
    method: str,
    device: Device,
    formats: Sequence[str],
    report: Report,
    complain: Complain,
) -> int:
    """The largest face of ``source`` wearing every expression of photos, folders of photos and videos (every frame).

    Writes a folder for each with the asked-for formats and ``clay.png``, and ``sheet.png`` of the first twelve beside
    them. Returns how many expressions failed; each failure goes to ``complain``, and the others still finish. Raises
    LikenessError when the source fails or ``out`` cannot be written.
    """
    reconstructor = Reconstructor(method=method, device=device, max_faces=1)
    photo = read_photo(source)
    person = reconstructor(photo).faces[0]
    shown: list[tuple[np.ndarray, Face]] = []
    failures = 0
    for name, step in _steps(expressions):
        try:
            if isinstance(step, LikenessError):
                raise step
            worn = transfer(person, reconstructor(step).faces[0])
            with atomic_folder(out / name) as folder:
                write_result(folder, photo, worn, formats)
                write_image(folder / "clay.png", clay_picture(worn, person, size=_CLAY_SIZE))
        except LikenessError as error:
            failures += 1
            complain(error)
            continue
        if len(shown) < _MOST_COLUMNS:
            shown.append((step.pixels, worn))
        report(f"{step.name} -> {out / name}")
    if shown:
        write_image(out / "sheet.png", transfer_sheet(photo.pixels, person, shown))
    return failures


def _steps(expressions: Sequence[Path]) -> Iterator[tuple[str, Photo | LikenessError]]:
    """Every expression by its folder's name: number and stem, so that they sort as they were given."""
    photos = (item for path in expressions for item in _photos_of(path))
    for number, (stem, photo) in enumerate(photos):
        yield f"{number:04d}_{stem}", photo


def _photos_of(path: Path) -> Iterator[tuple[str, Photo | LikenessError]]:
    try:
        if path.suffix.lower() in VIDEO_ENDINGS:
            with VideoReader(path) as video:
                for number, frame in enumerate(video):
                    yield f"{path.stem}_{number:04d}", Photo(frame.pixels, f"{path} frame {number}")
            return
        files = find_photos([path])
    except LikenessError as error:
        yield path.stem, error
        return
    for file in files:
        yield file.stem, _photo_or_error(file)


def _photo_or_error(file: Path) -> Photo | LikenessError:
    try:
        return read_photo(file)
    except LikenessError as error:
        return error
