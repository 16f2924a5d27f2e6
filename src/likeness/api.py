"""The front door in Python: photos in, Faces out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from likeness.errors import ImageError, InputError, LikenessError, NoFaceError
from likeness.face import Face
from likeness.images import ImageSource, read_focal_px, read_image
from likeness.landmarks import LandmarkDetector, Landmarks, MediaPipe
from likeness.landmarks.sessions import Device
from likeness.methods import Method, Photo, load_method


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One photo and the Faces found in it, largest first."""

    photo: Photo
    faces: list[Face]


def reconstruct(
    *photos: ImageSource,
    method: str = "open",
    same_person: bool = False,
    device: Device = "auto",
    max_faces: int | None = None,
    detector: LandmarkDetector | None = None,
    **options,
) -> list[Face]:
    """Every face of the photos as a `Face`, photo by photo, largest first.

    Photos are paths, PIL images, arrays or tensors. ``same_person`` takes the largest face of each photo and solves
    them together with one identity. ``detector`` finds the landmarks (`MediaPipe` when None); ``options`` go to the
    method.

    Raises ImageError when a photo cannot be read, NoFaceError when one shows no face, InputError on unknown names.
    """
    if not photos:
        raise InputError("no photo given; call reconstruct('photo.jpg').")
    reconstructor = Reconstructor(method=method, device=device, max_faces=max_faces, detector=detector, **options)
    loaded = [read_photo(source, number=n) for n, source in enumerate(photos, 1)]
    if same_person:
        found = [reconstructor.detect(photo, 1)[0] for photo in loaded]
        return [result.faces[0] for result in reconstructor.together(loaded, found)]
    return [face for photo in loaded for face in reconstructor(photo).faces]


def read_photo(source: ImageSource, *, number: int = 1) -> Photo:
    """A photo with its name and, when the file tells, its focal length. Raises ImageError or InputError."""
    if isinstance(source, str | Path):
        return Photo(read_image(source), str(source), read_focal_px(source))
    return Photo(read_image(source), f"photo {number}")


class Reconstructor:
    """Detector and method, set up once for many photos. Each result depends on its own photo alone."""

    def __init__(
        self,
        *,
        method: str = "open",
        device: Device = "auto",
        max_faces: int | None = None,
        detector: LandmarkDetector | None = None,
        **options,
    ) -> None:
        self._method: Method = load_method(method, device=device, **options)
        self._detector = detector or MediaPipe(device=device)
        self._max_faces = max_faces

    def __call__(self, photo: Photo) -> Reconstruction:
        """Every face of one photo. Raises NoFaceError when there is none."""
        found = self.detect(photo, self._max_faces)
        return Reconstruction(photo, [self._method.reconstruct(photo, landmarks) for landmarks in found])

    def together(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> list[Reconstruction]:
        """One person in several photos, one face each: Faces that share one identity."""
        faces = self._method.reconstruct_together(photos, landmarks)
        return [Reconstruction(photo, [face]) for photo, face in zip(photos, faces, strict=True)]

    def write_official(self, folder: Path, name: str, photo: Photo, face: Face) -> None:
        """The files the original implementation of the method leaves. Raises InputError when it is our own."""
        write = getattr(self._method, "write_official", None)
        if write is None:
            raise InputError(f"the method '{self._method.name}' has no original whose files could be written.")
        write(folder, name, photo, face)

    def detect(self, photo: Photo, max_faces: int | None = None) -> list[Landmarks]:
        """The landmarks of the photo's faces, largest first. Raises NoFaceError when there is none."""
        found = self._detector.detect(photo.pixels, max_faces=max_faces)
        if not found:
            height, width = photo.pixels.shape[:2]
            raise NoFaceError(
                f"{photo.name}: no face found in this {width}×{height} picture. Use a photo in which a face is at "
                "least about 30 pixels wide, or crop closer to it."
            )
        return found


def reconstruct_each(
    paths: Iterable[Path], reconstructor: Reconstructor
) -> Iterator[tuple[Path, Reconstruction | LikenessError]]:
    """Photo after photo; one that fails yields its error, and the others still finish."""
    for path in paths:
        try:
            yield path, reconstructor(read_photo(path))
        except LikenessError as error:
            yield path, error
        except MemoryError:
            yield path, ImageError(f"{path}: too large for this machine's memory; make it smaller and try again.")


def reconstruct_person(
    paths: Sequence[Path], reconstructor: Reconstructor
) -> Iterator[tuple[Path, Reconstruction | LikenessError]]:
    """All photos as one person; those that cannot be read or show no face yield their error and are left out."""
    usable: list[tuple[Path, Photo, Landmarks]] = []
    for path in paths:
        try:
            photo = read_photo(path)
            usable.append((path, photo, reconstructor.detect(photo, 1)[0]))
        except LikenessError as error:
            yield path, error
    if usable:
        used, photos, landmarks = zip(*usable, strict=True)
        yield from zip(used, reconstructor.together(photos, landmarks), strict=True)
