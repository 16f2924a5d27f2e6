"""The default method: MediaPipe's landmarks, the open head, one energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

import torch

from likeness.appearance.read import read_appearance
from likeness.detail import detail_from_photo
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads import Head, load_head
from likeness.landmarks.base import Landmarks
from likeness.landmarks.conventions import Convention
from likeness.landmarks.sessions import Device
from likeness.methods.open.calibration import Calibration, calibrate
from likeness.methods.open.confidence import landmark_confidence
from likeness.methods.open.fit import LandmarkFit, fit_landmarks
from likeness.methods.open.following import with_details
from likeness.methods.protocol import Photo
from likeness.texture import paint_albedo

Quality = Literal["fast", "balanced"]
QUALITIES: tuple[Quality, ...] = ("fast", "balanced")


class OpenMethod:
    """Faces on the open head, with no file that must be asked for.

    ``quality`` "fast" stops at the landmarks; "balanced" adds light, texture and wrinkles. The fit itself is small
    and runs on the CPU whatever the device; ``device`` runs the second look that confidence asks for.
    """

    name = "open"

    def __init__(self, *, device: Device = "auto", quality: Quality = "balanced") -> None:
        if quality not in QUALITIES:
            raise InputError(f"unknown quality '{quality}'; choose from {', '.join(QUALITIES)}.")
        self._quality = quality
        self._device: Device = device
        self._head = load_head("open")

    def reconstruct(self, photo: Photo, landmarks: Landmarks) -> Face:
        return self.reconstruct_together([photo], [landmarks])[0]

    def reconstruct_together(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> list[Face]:
        conventions = {found.convention for found in landmarks}
        if len(conventions) != 1:
            raise InputError("the photos of one person need landmarks of one convention, got a mixture.")
        fit = fit_landmarks(
            _calibration(conventions.pop()),
            # Stacking copies into torch's own, aligned memory: sums over unaligned memory round differently.
            torch.stack([torch.from_numpy(found.points) for found in landmarks]).clone(),
            [photo.pixels.shape[:2] for photo in photos],
            [photo.focal for photo in photos],
        )
        faces = [
            self._face(fit, i, photo, found) for i, (photo, found) in enumerate(zip(photos, landmarks, strict=True))
        ]
        if self._quality == "fast":
            return faces
        pixels = [photo.pixels for photo in photos]
        appearances = [read_appearance(*each) for each in zip(faces, pixels, strict=True)]
        albedo, lights = paint_albedo(appearances, pixels)
        faces = [replace(face, albedo=albedo, light=light) for face, light in zip(faces, lights, strict=True)]
        details = [
            detail_from_photo(face, photo, skin_mask=seen.mask)
            for face, photo, seen in zip(faces, pixels, appearances, strict=True)
        ]
        return with_details(faces, details)

    def _face(self, fit: LandmarkFit, index: int, photo: Photo, landmarks: Landmarks) -> Face:
        residual_mm = float(fit.residual_mm[index])
        height, width = photo.pixels.shape[:2]
        return Face(
            head=self._head,
            identity=fit.identity,
            expression=fit.expression[index],
            joints=torch.zeros(len(self._head.joint_names), 3),
            camera=fit.camera[index],
            image_size=(height, width),
            method=self.name,
            confidence=landmark_confidence(
                photo.pixels, landmarks, identity=fit.identity, residual_mm=residual_mm, device=self._device
            ),
            detected=landmarks,
            residuals={"landmarks_px": float(fit.residual_px[index]), "landmarks_mm": residual_mm},
        )


@cache
def _calibration(convention: Convention) -> Calibration:
    head: Head = load_head("open")
    if convention not in head.embeddings:
        raise InputError(f"the open method fits {', '.join(sorted(head.embeddings))}; the landmarks are {convention}.")
    return calibrate(head, convention)
