"""FaceScape as a method of Likeness: photo and landmarks to a Face on the FaceScape head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness import assets
from likeness.devices import pick_device
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads import load_head
from likeness.heads.facescape import FaceScapeHead
from likeness.landmarks import Landmarks
from likeness.landmarks.conventions import to_ibug68
from likeness.methods.facescape.displacement import output_to_mm
from likeness.methods.facescape.fast_generator import FastGenerator
from likeness.methods.facescape.files import read_deforming_maps
from likeness.methods.facescape.fit import Fit, fit_landmarks, fit_together
from likeness.methods.facescape.following import KEY_WEIGHTS, OUTPUTS, follow_expression
from likeness.methods.facescape.generator import DisplacementGenerator, load_generator
from likeness.methods.facescape.key_expressions import authored_weights, read_weights
from likeness.methods.facescape.landmark_model import LandmarkModel
from likeness.methods.facescape.network_input import NETWORK_SIZE, network_image, to_tensor
from likeness.methods.facescape.official_fit import fit_as_released
from likeness.methods.facescape.pose import to_fit_space
from likeness.methods.facescape.texture import SIZE, texture_from_photo
from likeness.methods.protocol import Photo
from likeness.texture import albedo_from_photo

Compat = Literal["default", "official"]
TEXTURE, TEXTURE_CORNER = "texture", "texture_corner"
"""Codes: the part of the 4096² texture that is drawn, (H, W, 3) uint8 RGB, and the (row, column) it begins at."""

# A landmark residual (mm, mean) at which confidence has fallen to about a third.
_DOUBTFUL_RESIDUAL_MM = 6.0


@dataclass(frozen=True, eq=False)
class Networks:
    """What makes displacement: the generator and, for a rig, what the second half of its input and α̂ are."""

    generator: DisplacementGenerator | FastGenerator
    deforming_maps: Float[Tensor, "20 3 S S"] | None = None
    key_weights: Float[Tensor, "20 51"] | None = None


class FaceScapeMethod:
    """FaceScape's Detailed3DFace (Yang et al., CVPR 2020) from its official files.

    ``rig`` makes the twenty displacement maps of the key expressions from one photo of a neutral face, instead of the
    one map of the photo. ``compat`` "official" repeats the release's fit and its texture to the number (landmarks
    then count as pixel indices); the default minimises the same energy further, faster, and samples the photo without
    truncation. ``map_size`` and ``albedo_size`` are the sides of the Face's displacement and albedo. ``network_size``
    is what the generators see: they were trained at 1024; smaller is a rough preview. ``device`` runs the networks;
    the fit is small and stays on the processor.

    Raises AssetError when official files are missing, InputError on unknown options.
    """

    name = "facescape"

    def __init__(
        self,
        *,
        device: str = "auto",
        compat: Compat = "default",
        rig: bool = False,
        map_size: int = SIZE,
        albedo_size: int = 2048,
        network_size: int = NETWORK_SIZE,
    ) -> None:
        _check_options(compat, map_size, albedo_size, network_size)
        self._compat: Compat = compat
        self._sizes = map_size, albedo_size, network_size
        self._device = pick_device(device)
        networks = load_networks(rig=rig, device=self._device)
        self._set(cast(FaceScapeHead, load_head("facescape")), networks)

    @classmethod
    def from_parts(
        cls,
        head: FaceScapeHead,
        networks: Networks,
        *,
        compat: Compat = "default",
        map_size: int = SIZE,
        albedo_size: int = 2048,
        network_size: int = NETWORK_SIZE,
    ) -> FaceScapeMethod:
        """The method on a model that is already in memory, on the processor."""
        _check_options(compat, map_size, albedo_size, network_size)
        method = cls.__new__(cls)
        method._compat, method._device = compat, torch.device("cpu")
        method._sizes = map_size, albedo_size, network_size
        method._set(head, networks)
        return method

    def _set(self, head: FaceScapeHead, networks: Networks) -> None:
        self.head, self.networks = head, networks
        self._model = LandmarkModel.from_head(head)

    def reconstruct(self, photo: Photo, landmarks: Landmarks) -> Face:
        """One face. Raises InputError on landmarks without iBUG's 68, or a photo without colour."""
        points = self._fit_points(photo, landmarks)
        fit = (fit_as_released if self._compat == "official" else fit_landmarks)(self._model, points)
        return self._finish(photo, landmarks, fit)

    def reconstruct_together(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> list[Face]:
        """One person in several photos: identity is solved from all of them (the release knows one photo at a
        time).
        """
        points = [self._fit_points(photo, found) for photo, found in zip(photos, landmarks, strict=True)]
        fits = fit_together(self._model, points)
        return [self._finish(*each) for each in zip(photos, landmarks, fits, strict=True)]

    def write_official(self, folder: Path, name: str, photo: Photo, face: Face) -> None:
        """The release's own files, and EXR maps and the detailed mesh beside them. Raises OutputError."""
        from likeness.methods.facescape.outputs import write_outputs

        write_outputs(folder, face, base=name)

    def _fit_points(self, photo: Photo, landmarks: Landmarks) -> Float[np.ndarray, "68 2"]:
        points = to_ibug68(landmarks.points[:, :2], landmarks.convention).astype(np.float64)
        return to_fit_space(points - self._pixel_offset, len(photo.pixels))

    @property
    def _pixel_offset(self) -> float:
        """The release's detector gives pixel indices; ours and the photo's frame have pixel centres at +0.5."""
        return 0.5 if self._compat == "official" else 0.0

    def _finish(self, photo: Photo, landmarks: Landmarks, fit: Fit) -> Face:
        """The fit with texture, displacement and albedo, as a Face."""
        texture = self._texture(photo.pixels, fit)
        outputs = self._outputs(network_image(texture, self.head.tables.face_mask))
        face = self._bare_face(photo, landmarks, fit)
        corner, drawn = _cut_to_content(texture)
        codes: dict[str, Tensor] = {
            OUTPUTS: outputs,
            TEXTURE: torch.from_numpy(drawn),
            TEXTURE_CORNER: torch.tensor(corner),
        }
        if self.networks.key_weights is not None:
            codes[KEY_WEIGHTS] = self.networks.key_weights
        map_size, albedo_size, _ = self._sizes
        face = replace(face, displacement=output_to_mm(outputs[0], map_size), codes=codes)
        face = follow_expression(face)
        return replace(face, albedo=albedo_from_photo(face, photo.pixels, size=albedo_size))

    def _bare_face(self, photo: Photo, landmarks: Landmarks, fit: Fit) -> Face:
        head, height = self.head, len(photo.pixels)
        residual_px = float(np.linalg.norm(self._projected_landmarks(fit) - fit.landmarks, axis=1).mean())
        residual_mm = residual_px / fit.pose.scale
        identity = head.identity_of(torch.from_numpy(fit.factors)[None])[0]
        return Face(
            head=head,
            identity=identity.float(),
            expression=torch.from_numpy(fit.expression).float(),
            joints=torch.zeros(len(head.joint_names), 3),
            camera=fit.pose.camera(height, head.origin.numpy(), pixel_offset=self._pixel_offset),
            image_size=(height, photo.pixels.shape[1]),
            method=self.name,
            confidence=landmarks.score * math.exp(-((residual_mm / _DOUBTFUL_RESIDUAL_MM) ** 2)),
            detected=landmarks,
            residuals={"landmarks_px": residual_px, "landmarks_mm": residual_mm},
        )

    def _projected_landmarks(self, fit: Fit) -> Float[np.ndarray, "68 2"]:
        positions = self._model.positions(fit.factors, fit.expression)
        return fit.pose.project(positions[np.searchsorted(self._model.candidates, fit.vertices)])

    def _texture(self, pixels: UInt8[np.ndarray, "H W 3"], fit: Fit) -> UInt8[np.ndarray, "4096 4096 3"]:
        factors, expression = (torch.from_numpy(values)[None] for values in (fit.factors, fit.expression))
        vertices = self.head.model_vertices(factors, expression)[0].double().numpy()
        projected = to_fit_space(fit.pose.project(vertices), len(pixels))
        if self._compat == "official":
            return texture_from_photo(pixels, projected, self.head.tables, sampling="official")
        # From the image frame, with pixel centres at +0.5, to pixel indices.
        return texture_from_photo(pixels, projected - 0.5, self.head.tables)

    @torch.inference_mode(False)
    def _outputs(self, image: UInt8[np.ndarray, "1024 1024 3"]) -> Float[Tensor, "N S S"]:
        """The generator's answer to the photo, or its twenty to the photo beside each deforming map."""
        size = self._sizes[2]
        seen = _resized(to_tensor(image), size)
        deforming = self.networks.deforming_maps
        with torch.no_grad():
            if deforming is None:
                return self._generate(seen)[:, 0]
            inputs = (torch.cat([seen, _resized(one[None], size)], 1) for one in deforming)
            return torch.cat([self._generate(one)[:, 0] for one in inputs])

    def _generate(self, image: Float[Tensor, "1 C S S"]) -> Float[Tensor, "1 1 S S"]:
        return self.networks.generator(image.to(self._device)).cpu().clone()


def load_networks(*, rig: bool, device: torch.device) -> Networks:
    """The installed networks. Raises AssetError for what is missing."""
    name, n_inputs = ("facescape_rig", 6) if rig else ("facescape_single", 3)
    plain = load_generator(assets.require(name), n_inputs)
    generator = FastGenerator(plain) if device.type == "cpu" else plain.to(device)
    if not rig:
        return Networks(generator)
    maps = torch.from_numpy(read_deforming_maps(assets.require("facescape_posmaps")))
    table = assets.find("facescape_rig_params")
    key_weights = authored_weights() if table is None else read_weights(table)
    return Networks(generator, maps, torch.from_numpy(key_weights))


def _check_options(compat: str, map_size: int, albedo_size: int, network_size: int) -> None:
    if compat not in get_args(Compat):
        raise InputError(f"unknown compat '{compat}'; choose from {', '.join(get_args(Compat))}.")
    for name, value, step in (
        ("map_size", map_size, 1),
        ("albedo_size", albedo_size, 1),
        ("network_size", network_size, 16),
    ):
        if not 64 <= value <= SIZE or value % step:
            raise InputError(
                f"{name} is {value}; choose 64 to {SIZE}" + (f", a multiple of {step}." if step > 1 else ".")
            )


def _cut_to_content(texture: UInt8[np.ndarray, "H W 3"]) -> tuple[tuple[int, int], UInt8[np.ndarray, "h w 3"]]:
    """The rectangle outside which everything is black, and where it begins."""
    drawn = texture.max(-1) > 0
    rows, columns = (np.flatnonzero(drawn.max(axis)) for axis in (1, 0))
    if not len(rows):
        return (0, 0), texture[:1, :1].copy()
    return (int(rows[0]), int(columns[0])), texture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()


def _resized(image: Float[Tensor, "1 C H W"], size: int) -> Float[Tensor, "1 C size size"]:
    if image.shape[-2:] == (size, size):
        return image
    return torch.nn.functional.interpolate(
        image, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )
