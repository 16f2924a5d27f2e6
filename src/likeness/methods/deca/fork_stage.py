"""Portrait-animation sets with the fork's own numbers and files: see `likeness.methods.deca.fork`.

Four JPEGs a frame, flat in the folder, named ``<photo>_<three digits>_<kind>.jpg``. What it takes from the original's
script: the first face, the source's own pose, always frozen eyes, a smoothing window that looks ahead for the first
four frames. What not: a photo without a face is refused, and not used whole.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from likeness.assets import find
from likeness.atomic import write_bytes
from likeness.errors import LikenessError, NoFaceError
from likeness.landmarks import MediaPipe
from likeness.landmarks.conventions import to_ibug68
from likeness.landmarks.sessions import Device
from likeness.methods.deca.crop import Box, crop_photo
from likeness.methods.deca.files import read_texture_space
from likeness.methods.deca.fork import (
    ForkModel,
    ForkSource,
    draw_target,
    fork_model,
    frame_pictures,
    read_source,
    smooth_window,
)
from likeness.methods.deca.geometry import JAW
from likeness.methods.deca.method import DecaMethod
from likeness.methods.deca.networks import N_EXPRESSION
from likeness.methods.deca.pictures import Frame
from likeness.methods.protocol import Photo
from likeness.reenactment.driving import Driver, read_driver
from likeness.reenactment.wearing import Driven

# OpenCV's defaults, with which the fork writes.
_JPEG_QUALITY, _JPEG_SUBSAMPLING = 95, 2


class ForkStage:
    """``smooth`` is the window in frames (the fork's flag means 5), ``upper_scale`` what its ``--scale_expressions``
    sets to 2. Raises AssetError when DECA's files are missing."""

    def __init__(
        self,
        *,
        device: Device = "auto",
        smooth: int = 0,
        upper_scale: float = 1.0,
        freeze_eyes: bool = True,
        method: DecaMethod | None = None,
        fork: ForkModel | None = None,
    ) -> None:
        self._method = method or DecaMethod(device=device, compat="official")
        self._fork = fork or _installed(self._method)
        self._detector = MediaPipe(device=device)
        self._smooth, self._upper_scale, self._freeze_eyes = smooth, upper_scale, freeze_eyes
        self._driver = Driver((), ())
        self.options: dict[str, Any] = {
            "method": "deca",
            "compat": "official",
            "smooth": smooth,
            "upper_scale": upper_scale,
            "freeze_eyes": freeze_eyes,
            "uv_size": self._fork.uv_size,
            "image_size": self._fork.image_size,
        }

    def drive(self, targets: Sequence[Path]) -> Driver:
        driver = read_driver(targets, self._method, detector=self._detector)
        self._driver = _smoothed(driver, self._smooth) if self._smooth > 1 else driver
        return self._driver

    @torch.inference_mode()
    def prepare(self, photo: Photo) -> _ForkRole:
        found = self._detector.detect(photo.pixels, max_faces=1)
        if not found:
            raise NoFaceError(f"{photo.name}: no face found; use a photo that shows one.")
        size, device = self._fork.image_size, self._method.model.device
        box = Box.of_points(to_ibug68(found[0].points[:, :2], found[0].convention).astype(np.float64) - 0.5)
        code = self._method.encode(crop_photo(photo.pixels, box.similarity(), "official")[None])
        to_crop = box.similarity(size)
        crop = crop_photo(photo.pixels, to_crop, "official", size=size)[None].to(device)
        whole = torch.from_numpy(np.array(photo.pixels)).permute(2, 0, 1)[None].to(device).float() / 255
        return _ForkRole(self, read_source(self._fork, code, crop), Frame(whole, to_crop.inverse(), size))

    def frame_name(self, stem: str, index: int) -> str:
        return f"{stem}_{index:03d}"


@dataclass(frozen=True, eq=False)
class _ForkRole:
    stage: ForkStage
    source: ForkSource
    frame: Frame

    @torch.inference_mode()
    def write(self, index: int, folder: Path, name: str) -> list[Path]:
        stage, driven = self.stage, self.stage._driver.frames[index]
        if isinstance(driven, LikenessError):
            raise driven
        device = stage._method.model.device
        expression = driven.expression[None, :N_EXPRESSION].to(device)
        drawn = draw_target(
            stage._fork,
            self.source,
            expression,
            driven.joints[None, JAW].to(device),
            self.frame,
            exaggeration=stage._upper_scale,
            freeze_eyes=stage._freeze_eyes,
        )
        written = []
        for kind, picture in frame_pictures(stage._fork, drawn).items():
            written.append(folder / f"{name}_{kind}.jpg")
            buffer = io.BytesIO()
            Image.fromarray(picture.numpy()).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=_JPEG_SUBSAMPLING)
            write_bytes(written[-1], buffer.getvalue())
        return written


def _smoothed(driver: Driver, window: int) -> Driver:
    read = [frame for frame in driver.frames if isinstance(frame, Driven)]
    if not read:
        return driver
    expression = smooth_window(torch.stack([frame.expression for frame in read]), window)
    joints = smooth_window(torch.stack([frame.joints for frame in read]), window)
    changed = iter(replace(f, expression=e, joints=j) for f, e, j in zip(read, expression, joints, strict=True))
    return replace(driver, frames=tuple(next(changed) if isinstance(f, Driven) else f for f in driver.frames))


def _installed(method: DecaMethod) -> ForkModel:
    """With the texture space at the resolution of its file, where one is installed."""
    path = find("flame-albedo-bfm")
    kind = "bfm"
    if path is None:
        path, kind = find("flame-texture"), "flame"
    textures = None if path is None else read_texture_space(path, kind, step=1)  # type: ignore[arg-type]
    if textures is not None:
        device = method.model.device
        textures = replace(textures, mean=textures.mean.to(device), components=textures.components.to(device))
    return fork_model(method.model, textures)
