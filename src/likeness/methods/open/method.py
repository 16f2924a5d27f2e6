"""The default method: MediaPipe's landmarks, the open head, one energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
import torch

from likeness.appearance import Appearance, read_appearance
from likeness.appearance.rerender import rerender_error
from likeness.detail import detail_from_photo
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads import Head, load_head
from likeness.landmarks.base import Landmarks
from likeness.landmarks.conventions import Convention
from likeness.landmarks.sessions import Device
from likeness.methods.open.calibration import Calibration, calibrate
from likeness.methods.open.confidence import landmark_confidence
from likeness.methods.open.following import with_details
from likeness.methods.open.person import PersonFit, fit_person
from likeness.methods.protocol import Photo
from likeness.texture import paint_albedo

Quality = Literal["fast", "balanced", "best"]
QUALITIES: tuple[Quality, ...] = ("fast", "balanced", "best")

# Side of the albedo and displacement maps, texels.
_MAP_SIZE = {"balanced": 1024, "best": 2048}


class OpenMethod:
    """Faces on the open head, with no file that must be asked for.

    ``quality`` "fast" stops at the landmarks; "balanced" adds light, texture and wrinkles in maps of 1024²; "best"
    makes the maps 2048², which a large photo fills. The fit itself is small and runs on the CPU whatever the device;
    ``device`` runs the second look that confidence asks for.
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
        shading = self._quality != "fast"
        calibration = _calibration(conventions.pop())
        fit = fit_person(calibration, photos, landmarks, device=self._device, shading=shading)
        faces = [
            self._face(fit, i, photo, found) for i, (photo, found) in enumerate(zip(photos, landmarks, strict=True))
        ]
        if self._quality == "fast":
            return faces
        return self._with_maps(faces, [photo.pixels for photo in photos], _MAP_SIZE[self._quality])

    def _with_maps(self, faces: list[Face], pixels: list[np.ndarray], size: int) -> list[Face]:
        """One person's Faces with light, albedo and displacement, and how near they come to the photos."""
        appearances = [read_appearance(*each) for each in zip(faces, pixels, strict=True)]
        albedo, lights = paint_albedo(appearances, pixels, size=size)
        faces = [replace(face, albedo=albedo, light=light) for face, light in zip(faces, lights, strict=True)]
        details = [
            detail_from_photo(face, photo, size=size, skin_mask=seen.mask)
            for face, photo, seen in zip(faces, pixels, appearances, strict=True)
        ]
        return [
            replace(face, residuals={**face.residuals, "rerender_srgb": self._rerender(face, photo, seen)})
            for face, photo, seen in zip(with_details(faces, details), pixels, appearances, strict=True)
        ]

    @staticmethod
    def _rerender(face: Face, pixels: np.ndarray, seen: Appearance) -> float:
        """Mean absolute error of the re-rendered face, sRGB in [0, 1]."""
        return rerender_error(face, pixels, vertex_basis=seen.view.vertex_basis).mean_absolute

    def _face(self, person: PersonFit, index: int, photo: Photo, landmarks: Landmarks) -> Face:
        fit, height, width = person.fit, *photo.pixels.shape[:2]
        return Face(
            head=self._head,
            identity=fit.identity,
            expression=fit.expression[index],
            joints=torch.zeros(len(self._head.joint_names), 3),
            camera=fit.camera[index],
            image_size=(height, width),
            method=self.name,
            confidence=landmark_confidence(
                photo.pixels,
                landmarks,
                identity=person.by_landmarks[index].identity,
                residual_mm=float(person.by_landmarks[index].residual_mm[0]),
                device=self._device,
            ),
            detected=landmarks,
            residuals={
                "landmarks_px": float(fit.residual_px[index]),
                "landmarks_mm": float(fit.residual_mm[index]),
            },
        )


@cache
def _calibration(convention: Convention) -> Calibration:
    head: Head = load_head("open")
    if convention not in head.embeddings:
        raise InputError(f"the open method fits {', '.join(sorted(head.embeddings))}; the landmarks are {convention}.")
    return calibrate(head, convention)
