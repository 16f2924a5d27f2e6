"""A whole run of expression transfers, as the command line does it: people, expressions, a folder for each pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from likeness.animate.transfer import transfer
from likeness.animate.transfer_sheet import clay_picture, transfer_sheet
from likeness.api import Reconstructor, read_photo
from likeness.atomic import atomic_folder
from likeness.errors import ImageError, LikenessError
from likeness.face import Face
from likeness.files.maps import write_image
from likeness.images import find_photos
from likeness.landmarks.sessions import Device
from likeness.methods import Photo
from likeness.results import write_result
from likeness.runs import folder_names
from likeness.videos import VideoReader

VIDEO_ENDINGS = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"})
FACE_ENDING, FACE_FILE = ".safetensors", "face.safetensors"
# More columns than a screen is wide help nobody.
_MOST_COLUMNS = 12
_CLAY_SIZE = 768

Report = Callable[[str], None]
Complain = Callable[[LikenessError], None]


@dataclass(frozen=True, eq=False)
class _Given:
    """Something that shows a face: a photo, or a Face that was made before."""

    name: str
    shown: Photo | Face


@dataclass(eq=False)
class _Person:
    """Who wears the expressions, where the results go, and what the sheet will show."""

    given: _Given
    face: Face
    out: Path
    columns: list[tuple[UInt8[np.ndarray, "H W 3"], Face]] = field(default_factory=list)


def transfer_expressions(
    source: Path,
    expressions: Sequence[Path],
    out: Path,
    *,
    method: str,
    expression_method: str | None = None,
    device: Device,
    formats: Sequence[str],
    report: Report,
    complain: Complain,
) -> int:
    """The largest face of ``source`` wearing every expression of photos, Face files, folders and videos (every frame).

    ``source`` may be a photo, a Face file, or a folder of them: then each of its people wears every expression, in a
    folder of its own. A folder stands for its photos and Face files and for the ``face.safetensors`` of the results in
    it. ``expression_method`` reads the expressions' photos, ``method`` where it is not given; the two may have
    different heads.

    Writes a folder for each with the asked-for formats and ``clay.png``, and ``sheet.png`` of the first twelve beside
    them. A person who was given as a Face has no photo, so there is no overview. Returns how many expressions and
    people failed; each failure goes to ``complain``, and the others still finish. Raises LikenessError when the only
    source fails or ``out`` cannot be written.
    """
    maker = _Maker(method, device)
    reader = maker if expression_method is None or expression_method == method else _Maker(expression_method, device)
    people, failures = _people(source, out, maker, complain)
    if not people:
        return failures
    for number, step in enumerate(_everything(expressions)):
        try:
            given = _opened(step)
            expression = reader.face(given)
        except LikenessError as error:
            failures += 1
            complain(error)
            continue
        for person in people:
            folder = person.out / f"{number:04d}_{given.name}"
            try:
                _wear(person, given, expression, folder, formats)
            except LikenessError as error:
                failures += 1
                complain(error)
            else:
                report(f"{given.name} -> {folder}")
    for person in people:
        if person.columns:
            sheet = transfer_sheet(_picture(person.given), person.face, person.columns)
            write_image(person.out / "sheet.png", sheet)
    return failures


class _Maker:
    """Faces of photos by one method, which is loaded when the first photo comes."""

    def __init__(self, method: str, device: Device) -> None:
        self._method = method
        self._device: Device = device
        self._reconstructor: Reconstructor | None = None

    def face(self, given: _Given) -> Face:
        """The largest face shown."""
        if isinstance(given.shown, Face):
            return given.shown
        if self._reconstructor is None:
            self._reconstructor = Reconstructor(method=self._method, device=self._device, max_faces=1)
        return self._reconstructor(given.shown).faces[0]


def _people(source: Path, out: Path, maker: _Maker, complain: Complain) -> tuple[list[_Person], int]:
    """Everybody in the source, and how many could not be read. Raises when there is only one, who could not."""
    steps = list(_everything([source]))
    people, failures = [], 0
    names = folder_names([step.path if isinstance(step, _Named) else Path(step.name) for step in steps])
    for step, name in zip(steps, names.values(), strict=True):
        try:
            given = _opened(step)
            people.append(_Person(given, maker.face(given), out if len(steps) == 1 else out / name))
        except LikenessError as error:
            if len(steps) == 1:
                raise
            failures += 1
            complain(error)
    return people, failures


def _wear(person: _Person, given: _Given, expression: Face, folder: Path, formats: Sequence[str]) -> None:
    worn = transfer(person.face, expression)
    with atomic_folder(folder) as temporary:
        photo = person.given.shown
        if isinstance(photo, Face):
            # Nothing but the overview looks at the photo.
            formats = [name for name in formats if name != "overview"]
            photo = Photo(_picture(person.given), person.given.name)
        write_result(temporary, photo, worn, formats)
        write_image(temporary / "clay.png", clay_picture(worn, person.face, size=_CLAY_SIZE))
    if len(person.columns) < _MOST_COLUMNS:
        person.columns.append((_picture(given), worn))


def _picture(given: _Given) -> UInt8[np.ndarray, "H W 3"]:
    """The photo, or a portrait in clay of a Face that has none."""
    return clay_picture(given.shown, given.shown) if isinstance(given.shown, Face) else given.shown.pixels


# ------------------------------------------------------------------------------------------- what was given


@dataclass(frozen=True)
class _Named:
    """A file that shall be read in its turn."""

    path: Path

    @property
    def name(self) -> str:
        # Results are all called face.safetensors; their folders tell them apart.
        return self.path.parent.name if self.path.name == FACE_FILE else self.path.stem


def _everything(paths: Sequence[Path]) -> Iterator[_Named | _Given | _Failed]:
    """Every photo, Face and frame, in order."""
    for path in paths:
        try:
            if path.suffix.lower() in VIDEO_ENDINGS:
                yield from _frames(path)
            else:
                yield from map(_Named, _files(path))
        except LikenessError as error:
            yield _Failed(path.stem, error)


@dataclass(frozen=True)
class _Failed:
    name: str
    error: LikenessError


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    faces = sorted({*path.glob(f"*{FACE_ENDING}"), *path.glob(f"*/{FACE_FILE}")})
    # In a folder of results the pictures are results too, not photos.
    if (path / FACE_FILE).is_file():
        return faces
    try:
        return [*find_photos([path]), *faces]
    except ImageError:
        if not faces:
            raise
        return faces


def _frames(path: Path) -> Iterator[_Given]:
    with VideoReader(path) as video:
        for number, frame in enumerate(video):
            yield _Given(f"{path.stem}_{number:04d}", Photo(frame.pixels, f"{path} frame {number}"))


def _opened(step: _Named | _Given | _Failed) -> _Given:
    if isinstance(step, _Failed):
        raise step.error
    if isinstance(step, _Given):
        return step
    is_face = step.path.suffix.lower() == FACE_ENDING
    return _Given(step.name, Face.load(step.path) if is_face else read_photo(step.path))
