"""Who plays: a method's way to read drivers, to prepare a source, and to write its frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.api import Reconstructor
from likeness.errors import InputError, LikenessError
from likeness.heads.protocol import Head
from likeness.landmarks import MediaPipe
from likeness.landmarks.sessions import Device
from likeness.methods import Photo, load_method
from likeness.reenactment.driving import Driver, calmed, evened, read_driver, smoothed
from likeness.reenactment.pictures import FrameOutput, ImageFormat, check_files, write_frame
from likeness.reenactment.portrait import Portrait
from likeness.reenactment.tracked import can_track, track_driver
from likeness.reenactment.wearing import Driven, Wearing, wear


class Role(Protocol):
    """A prepared source."""

    def write(self, index: int, folder: Path, name: str) -> list[Path]:
        """Write the frame of driving frame ``index``; its files. Raises LikenessError when that fails."""
        ...


class Stage(Protocol):
    """A method with its options, and one driver for all sources."""

    options: dict[str, Any]
    """What the pictures depend on, for the manifest."""

    def drive(self, targets: Sequence[Path]) -> Driver:
        """Read the driver. Raises LikenessError when there is none."""
        ...

    def prepare(self, photo: Photo) -> Role:
        """Raises LikenessError when the photo shows no face that can be used."""
        ...

    def frame_name(self, stem: str, index: int) -> str:
        """What the files of a frame begin with."""
        ...


class PortraitStage:
    """Our own sets, from the open method or DECA.

    ``smooth`` is a window in frames, or None for what suits: videos are freed of the tracker's noise, photos left
    alone. A single video or motion file drives the open method as `likeness track` sees it. Raises InputError on
    unknown names, AssetError when the method's files are missing.
    """

    def __init__(
        self,
        *,
        method: str = "open",
        device: Device = "auto",
        wearing: Wearing | None = None,
        smooth: int | None = None,
        files: Collection[str],
        image_format: ImageFormat = "png",
    ) -> None:
        check_files(files, image_format)
        if method not in ("open", "deca"):
            raise InputError(f"portrait-animation sets are made with open or deca, not with '{method}'.")
        options: dict[str, Any] = {"quality": "fast"} if method == "open" else {}
        self._method = load_method(method, device=device, **options)
        self._reconstructor = Reconstructor(method=method, device=device, max_faces=1, **options)
        self._detector = MediaPipe(device=device)
        self._device: Device = device
        self._wearing = wearing or Wearing()
        self._smooth = smooth
        self._files = tuple(files)
        self._image_format: ImageFormat = image_format
        self._driver = Driver((), ())
        self.options = {
            "method": method,
            "compat": None,
            "smooth": smooth,
            "files": sorted(files),
            "image_format": image_format,
            **asdict(self._wearing),
        }

    def drive(self, targets: Sequence[Path]) -> Driver:
        if self.options["method"] == "open" and can_track(targets):
            tracked = evened(track_driver(targets[0], device=self._device), _expression_names(self._method))
            self._driver = smoothed(tracked, self._smooth or 0)
            return self._driver
        driver = read_driver(targets, self._method, detector=self._detector)
        names = _expression_names(self._method)
        if self._smooth is None:
            driver = calmed(evened(driver, names))
        else:
            driver = smoothed(evened(driver, names), self._smooth)
        self._driver = driver
        return driver

    def prepare(self, photo: Photo) -> Role:
        face = self._reconstructor(photo).faces[0].to("cpu")
        turns = self._wearing.pose == "driver"
        portrait = Portrait(face, photo.pixels, face_weights=_face_weights(self._method), head_moves=turns)
        return _PortraitRole(self, portrait)

    def frame_name(self, stem: str, index: int) -> str:
        digits = max(4, len(str(len(self._driver) - 1)))
        return f"{stem}_{index:0{digits}d}"


@dataclass(frozen=True, eq=False)
class _PortraitRole:
    stage: PortraitStage
    portrait: Portrait

    @torch.inference_mode()
    def write(self, index: int, folder: Path, name: str) -> list[Path]:
        stage, portrait = self.stage, self.portrait
        driven = stage._driver.frames[index]
        if isinstance(driven, LikenessError):
            raise driven
        assert isinstance(driven, Driven)
        worn = wear(portrait.face, driven, stage._wearing, portrait.parts)
        if stage._driver.blinks_shut and not stage._wearing.freeze_eyes:
            worn = portrait.with_shutting_blinks(worn)
        made = FrameOutput(portrait, worn, portrait.draw(worn))
        return write_frame(folder, name, made, stage._files, stage._image_format)


def _expression_names(method: Any) -> tuple[str, ...]:
    head: Head = method.model.head if hasattr(method, "model") else method._head
    return head.expression_names


def _face_weights(method: Any) -> Float[Tensor, " V"] | None:
    """Where the face is, for DECA: its own mask, read at the vertices' places in the chart."""
    model = getattr(method, "model", None)
    if model is None:
        return None
    mask, uv = model.displacement.mask.cpu(), model.uv.cpu()
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
    at_uv = torch.nn.functional.grid_sample(mask[None, None], grid, align_corners=False)[0, 0, 0]
    weights = torch.zeros(len(model.head.topology.triangles_tensor.unique()))
    weights = weights.new_zeros(int(model.triangles.max()) + 1)
    # A vertex on a seam has several places; they lie outside the face.
    weights[model.triangles.cpu().flatten()] = at_uv[model.uv_triangles.cpu().flatten()]
    return weights
