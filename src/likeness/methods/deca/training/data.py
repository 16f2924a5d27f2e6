"""Photos to train DECA with: groups of one person's photos, each with 68 landmarks and perhaps a skin mask.

The authors' index files were never given out. `read_groups` reads a plain layout, a folder a person::

    root/anna/01.jpg   01.npy (68, 2 or more columns: pixels)   01_mask.npy (the photo's size, above 0.5 is skin)

and `read_index` the form of the authors' own VGGFace2 and BUPT-Balancedface indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import FileFormatError, InputError
from likeness.files.numpy_files import load_npy
from likeness.images import PHOTO_SUFFIXES, read_image
from likeness.methods.deca.crop import Box, crop_photo, square_to_crop
from likeness.methods.deca.networks import IMAGE_SIZE
from likeness.methods.deca.training.batches import Batch

# The side of the square is drawn from these multiples of the landmarks' box.
_MARGINS = (1.4, 1.8)


@dataclass(frozen=True)
class TrainingPhoto:
    """Where a photo, its landmarks and its mask (None: all of it is skin) lie."""

    image: Path
    landmarks: Path
    mask: Path | None = None


Groups = Sequence[Sequence[TrainingPhoto]]


def read_groups(root: Path, *, fewest: int = 1) -> list[list[TrainingPhoto]]:
    """A folder for each person; photos without landmarks are left out, and people with too few photos.

    Raises InputError when nobody is left.
    """
    groups = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        images = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
        photos = [_beside(path) for path in images if path.with_suffix(".npy").is_file()]
        if len(photos) >= fewest:
            groups.append(photos)
    if not groups:
        raise InputError(f"{root}: no person with {fewest} photos and their landmarks (NAME.jpg with NAME.npy).")
    return groups


def read_index(
    index: Path, *, images: Path, landmarks: Path, masks: Path | None = None, suffix: str = ".jpg"
) -> list[list[TrainingPhoto]]:
    """An index of (people, photos) relative names without ending, as ``n000001/0001_01``.

    Raises FileFormatError when it is no such table, InputError when a name leads out of its folder.
    """
    table = load_npy(index)
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.kind not in "US":
        raise FileFormatError(f"{index}: is no table of names, a row a person.")
    groups = []
    for row in table.astype(str).tolist():
        for name in row:
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise InputError(f"{index}: the name '{name}' leads out of the folder of photos.")
        groups.append([_indexed(name, images, landmarks, masks, suffix) for name in row])
    return groups


def draw_batch(groups: Groups, people: Sequence[int], n_photos: int, generator: torch.Generator) -> Batch:
    """K photos of each of these people, drawn without replacement where they have so many, in crops of random margin.

    Raises InputError when landmarks or masks do not fit their photo, ImageError when a photo cannot be read.
    """
    crops = []
    for person in people:
        photos = groups[person]
        order = torch.randperm(len(photos), generator=generator).tolist()
        chosen = [photos[order[k % len(order)]] for k in range(n_photos)]
        crops.append([read_crop(photo, _margin(generator)) for photo in chosen])
    stacked = [torch.stack([torch.stack([crop[part] for crop in row]) for row in crops]) for part in range(3)]
    return Batch(*stacked)


def read_crop(
    photo: TrainingPhoto, margin: float
) -> tuple[Float[Tensor, "3 224 224"], Float[Tensor, "68 2"], Float[Tensor, "224 224"]]:
    """Crop, landmarks in [-1, 1] over it, and mask of one photo. Raises InputError, ImageError or FileFormatError."""
    pixels, points = read_image(photo.image), _landmarks(photo.landmarks)
    box = Box.of_points(points)
    # Unlike at test time, the box gets no tenth more before its margin.
    side = int(box.mean_side * margin)
    if side < 1:
        raise InputError(f"{photo.landmarks}: the landmarks lie in one place.")
    similarity = square_to_crop(box.centre, side)
    image = crop_photo(pixels, similarity, "official")
    mask = torch.ones(IMAGE_SIZE, IMAGE_SIZE)
    if photo.mask is not None and photo.mask.is_file():
        skin = _mask(photo.mask, pixels.shape[:2])
        mask = crop_photo(skin[..., None].repeat(3, 2), similarity, "official")[0]
    placed = similarity.transform(torch.from_numpy(points)[None])[0].float()
    return image, placed / IMAGE_SIZE * 2 - 1, mask


def _indexed(name: str, images: Path, landmarks: Path, masks: Path | None, suffix: str) -> TrainingPhoto:
    mask = None if masks is None else masks / f"{name}.npy"
    return TrainingPhoto(images / f"{name}{suffix}", landmarks / f"{name}.npy", mask)


def _beside(image: Path) -> TrainingPhoto:
    mask = image.with_name(f"{image.stem}_mask.npy")
    return TrainingPhoto(image, image.with_suffix(".npy"), mask if mask.is_file() else None)


def _landmarks(path: Path) -> Float[np.ndarray, "68 2"]:
    points = load_npy(path)
    if not isinstance(points, np.ndarray) or points.ndim != 2 or points.shape[0] != 68 or points.shape[1] < 2:
        raise FileFormatError(f"{path}: must hold 68 landmarks, a row each, x and y in pixels.")
    return points[:, :2].astype(np.float64)


def _mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    values = load_npy(path)
    if not isinstance(values, np.ndarray) or values.shape[:2] != tuple(size):
        raise InputError(f"{path}: the mask must have the photo's {size[0]} x {size[1]} pixels.")
    return (values.reshape(*size, -1)[..., 0] > 0.5).astype(np.uint8) * 255


def _margin(generator: torch.Generator) -> float:
    low, high = _MARGINS
    return low + (high - low) * float(torch.rand((), generator=generator))
