"""The method ``deep3d``: crop, R-Net, decode, and a `Face`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.assets import require
from likeness.cameras import Pinhole
from likeness.devices import pick_device
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads.bfm import BfmHead
from likeness.heads.bfm_assets import front_model
from likeness.heads.bfm_files import FrontModel
from likeness.heads.bfm_mat import read_mat
from likeness.landmarks import Landmarks
from likeness.landmarks.conventions import to_five, to_ibug68
from likeness.methods.deep3d.aggregation import aggregate, confidence
from likeness.methods.deep3d.albedo import AlbedoMap, linear_light
from likeness.methods.deep3d.alignment import CROP, Alignment, align, five_points, standard_points
from likeness.methods.deep3d.assets import rnet_path
from likeness.methods.deep3d.cnet import CNet, load_cnet
from likeness.methods.deep3d.coefficients import Coefficients
from likeness.methods.deep3d.decoder import CAMERA_DISTANCE, FOCAL, DecodedFace, Decoder, rotation_matrix
from likeness.methods.deep3d.files import load_rnet
from likeness.methods.deep3d.inference import Precision, RNetRunner
from likeness.methods.deep3d.networks import Variant, to_input
from likeness.methods.deep3d.rendering import render_face
from likeness.methods.protocol import Photo

_MILLIMETRES = 100.0


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photo on its way into the network: its crop, how it was cut, and its landmarks in official pixels, y down."""

    photo: Photo
    landmarks: Landmarks
    alignment: Alignment
    crop: UInt8[np.ndarray, "224 224 3"]


class Deep3dMethod:
    """Deep3DFaceReconstruction with the user's own official files.

    ``weights`` is R-Net's file, else an installed one; ``variant`` what it must be. ``front`` and ``standard`` are the
    Basel face and the (5, 3) points photos are aligned to, else the installed ones. ``confidence_network`` is a
    trained C-Net for `reconstruct_together`; without it photos are weighted by what is known of them.
    ``albedo_size`` is the side of the albedo map. ``precision`` is the network's on a CPU: "bfloat16" is faster and
    moves coefficients by some thousandths.

    Raises AssetError when official files are missing or are not what they should be.
    """

    name = "deep3d"

    def __init__(
        self,
        *,
        device: str = "auto",
        weights: str | Path | None = None,
        variant: Variant | None = None,
        front: FrontModel | None = None,
        standard: Float[np.ndarray, "5 3"] | None = None,
        confidence_network: str | Path | None = None,
        albedo_size: int = 512,
        precision: Precision = "float32",
    ) -> None:
        self.device = pick_device(device)
        network = load_rnet(weights or rnet_path(variant), variant=variant)
        self._runner = RNetRunner(network, self.device, precision=precision)
        self.variant: Variant = self._runner.variant
        self.front = front or front_model()
        self.decoder = Decoder(self.front, self.device)
        self.head = BfmHead(self.front.model)
        self._standard = _installed_standard() if standard is None else standard
        self._cnet: CNet | None = None
        if confidence_network is not None:
            self._cnet = load_cnet(confidence_network, variant=self.variant).to(self.device)
        self._albedo_size = albedo_size

    def reconstruct(self, photo: Photo, landmarks: Landmarks) -> Face:
        """One face of one photo."""
        return self.reconstruct_batch([photo], [landmarks])[0]

    def reconstruct_batch(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> list[Face]:
        """One face of each photo, in one pass of the network. The same Faces as one by one."""
        prepared = [self.prepare(photo, found) for photo, found in zip(photos, landmarks, strict=True)]
        coefficients = self.predict(prepared)
        decoded = self._decode(coefficients)
        weights = self._confidence(prepared, coefficients, decoded)
        return self._faces(prepared, coefficients, decoded, weights)

    def reconstruct_together(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> list[Face]:
        """One person in several photos: the identity is the photos' weighted mean, the rest each photo's own."""
        prepared = [self.prepare(photo, found) for photo, found in zip(photos, landmarks, strict=True)]
        coefficients = self.predict(prepared)
        weights = self._confidence(prepared, coefficients, self._decode(coefficients))
        per_coefficient = weights[:, None] if self._cnet is None else self._learned_confidence(prepared)
        shared = coefficients.with_identity(aggregate(coefficients.identity, per_coefficient)[None])
        return self._faces(prepared, shared, self._decode(shared), weights)

    def prepare(self, photo: Photo, landmarks: Landmarks) -> Prepared:
        """Align and cut. Raises InputError when the landmarks cannot be a face's."""
        height, width = photo.pixels.shape[:2]
        points = official_five(landmarks)
        # The TensorFlow code reads five points as float64, the PyTorch code as float32.
        points = points.astype(np.float64 if self.variant == "tensorflow" else np.float32)
        alignment = align(points, (width, height), self._standard)
        return Prepared(photo, landmarks, alignment, alignment.crop(photo.pixels))

    def predict(self, prepared: Sequence[Prepared]) -> Coefficients:
        """R-Net on a batch of crops."""
        return Coefficients.split(self._runner(_crops(prepared)).clone())

    @torch.no_grad()
    def _decode(self, coefficients: Coefficients) -> DecodedFace:
        return self.decoder.decode(coefficients)

    @torch.no_grad()
    def _confidence(
        self, prepared: Sequence[Prepared], coefficients: Coefficients, decoded: DecodedFace
    ) -> Float[Tensor, " B"]:
        image, mask = render_face(decoded.world, decoded.colour, self.decoder.triangles)
        detected = [_ibug68_in_crop(each) for each in prepared]
        known = [points for points in detected if points is not None]
        compared = len(known) == len(prepared)
        return confidence(
            crops=to_input(_crops(prepared), "pytorch").to(self.device),
            rendering=image.permute(0, 3, 1, 2),
            mask=mask,
            angles=coefficients.angles,
            scale=torch.tensor([each.alignment.scale for each in prepared], device=self.device),
            predicted=decoded.landmarks if compared else None,
            detected=torch.stack(known).to(self.device) if compared else None,
        ).total

    @torch.no_grad()
    def _learned_confidence(self, prepared: Sequence[Prepared]) -> Float[Tensor, "B 80"]:
        assert self._cnet is not None
        features = self._runner.network.backbone.features(to_input(_crops(prepared).to(self.device), self.variant))
        return self._cnet(features[1], features[-1].mean((2, 3)))

    @torch.no_grad()
    def _faces(
        self, prepared: Sequence[Prepared], coefficients: Coefficients, decoded: DecodedFace, weights: Tensor
    ) -> list[Face]:
        light = linear_light(decoded.normals, decoded.albedo, decoded.colour)
        cameras = crop_camera(coefficients)
        return [
            Face(
                head=self.head,
                identity=coefficients.identity[k].cpu(),
                expression=coefficients.expression[k].cpu(),
                joints=torch.zeros(1, 3),
                camera=photo_camera(cameras[k], each.alignment),
                image_size=each.photo.pixels.shape[:2],
                method=self.name,
                confidence=float(weights[k]),
                detected=each.landmarks,
                residuals=_residuals(each, decoded.landmarks[k].cpu()),
                light=light[k].cpu(),
                albedo=self._albedo_map(decoded.albedo[k]),
                codes={
                    "coefficients": coefficients.vector()[k].cpu(),
                    "vertex_albedo": decoded.albedo[k].cpu(),
                    "vertex_colour": decoded.colour[k].cpu(),
                    "alignment": torch.from_numpy(_alignment_numbers(each.alignment)),
                },
            )
            for k, each in enumerate(prepared)
        ]

    @cached_property
    def _albedo_map(self) -> AlbedoMap:
        return AlbedoMap(self.head.topology, self._albedo_size)

    def write_official(self, folder: Path, name: str, photo: Photo, face: Face) -> None:
        """``<name>.mat`` and ``<name>_mesh.obj``, as the original leaves them. Raises OutputError."""
        from likeness.methods.deep3d.outputs import write_official

        write_official(folder, name, photo, face)


def official_five(landmarks: Landmarks) -> Float[np.ndarray, "5 2"]:
    """The five points as Deep3D counts pixels: by their centres, y down. Eyes are the means of their corners."""
    points = landmarks.points[:, :2]
    if landmarks.convention == "five":
        return to_five(points, "five") - 0.5
    return five_points(to_ibug68(points, landmarks.convention)) - 0.5


def crop_camera(coefficients: Coefficients) -> Pinhole:
    """Head frame (mm) → our pixels of the crop.

    Deep3D's world has y up and z towards the viewer, with the camera at z = 10 dm; ours y down and z forward.
    """
    rotation = rotation_matrix(coefficients.angles.cpu())
    flip = torch.tensor([1.0, -1.0, -1.0])
    distance = torch.tensor([0.0, 0.0, CAMERA_DISTANCE])
    translation = (flip * coefficients.translation.cpu() + distance) * _MILLIMETRES
    return Pinhole.from_focal(
        rotation=flip[:, None] * rotation,
        translation=translation,
        focal=torch.tensor([FOCAL]),
        centre=torch.tensor([[CROP / 2, CROP / 2]]),
    )


def photo_camera(camera: Pinhole, alignment: Alignment) -> Pinhole:
    """The crop's camera, seen in the photo: the exact inverse of how the picture was resampled.

    Its scales along x and y differ by whole-pixel rounding, so it is no `Similarity`, but a pinhole takes it.
    """
    to_photo = torch.from_numpy(np.linalg.inv(alignment.photo_to_crop)).to(camera.intrinsics)
    return Pinhole(camera.rotation, camera.translation, to_photo @ camera.intrinsics)


def alignment_of(face: Face) -> Alignment:
    """How the photo of a Face of this method was cropped. Raises InputError on a Face of another method."""
    if "alignment" not in face.codes:
        raise InputError(f"This Face was made by '{face.method}'; only those of 'deep3d' know Deep3D's crop.")
    width, height, scale, x, y, *rest = face.codes["alignment"].tolist()
    resized_width, resized_height, left, top = map(int, rest)
    return Alignment((int(width), int(height)), scale, (x, y), (resized_width, resized_height), (left, top))


def _alignment_numbers(alignment: Alignment) -> Float[np.ndarray, "9"]:
    return np.array([*alignment.parameters, *alignment.resized, *alignment.corner], np.float64)


def _ibug68_in_crop(prepared: Prepared) -> Float[Tensor, "68 2"] | None:
    """The detected landmarks as the decoder counts them (crop, y up); None when only five are known."""
    landmarks = prepared.landmarks
    if landmarks.convention == "five":
        return None
    points = to_ibug68(landmarks.points[:, :2], landmarks.convention).astype(np.float64) - 0.5
    upward = np.stack([points[:, 0], prepared.alignment.size[1] - 1 - points[:, 1]], 1)
    return torch.from_numpy(prepared.alignment.landmarks_to_crop(upward)).float()


def _residuals(prepared: Prepared, predicted: Float[Tensor, "68 2"]) -> dict[str, float]:
    """How far predicted and detected landmarks lie apart on average, in pixels of the photo."""
    detected = _ibug68_in_crop(prepared)
    if detected is None:
        return {}
    return {"landmarks_px": float((predicted - detected).norm(dim=1).mean()) / prepared.alignment.scale}


def _crops(prepared: Sequence[Prepared]) -> UInt8[Tensor, "B 224 224 3"]:
    return torch.from_numpy(np.stack([each.crop for each in prepared]))


def _installed_standard() -> Float[np.ndarray, "5 3"]:
    return standard_points(read_mat(require("bfm-landmarks"), ["lm"])["lm"])
