"""DECA as a method of Likeness: photo and landmarks to a Face on the FLAME head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.cameras import Similarity, WeakPerspective
from likeness.devices import pick_device
from likeness.errors import InputError, NoFaceError
from likeness.face import Face
from likeness.landmarks import Landmarks
from likeness.landmarks.conventions import to_ibug68
from likeness.methods.deca.crop import Box, Compat, crop_photo
from likeness.methods.deca.detail import Detail, Textures, decode_detail, decode_textures
from likeness.methods.deca.face_codes import code_to_face, crop_of, face_to_code
from likeness.methods.deca.geometry import DecaCode, Geometry, pose_geometry, split_code
from likeness.methods.deca.inference import Precision, fast_networks
from likeness.methods.deca.model import DecaModel, load_model
from likeness.methods.deca.model import Textures as TextureSpaces
from likeness.methods.deca.pictures import Frame
from likeness.methods.protocol import Photo
from likeness.texture import albedo_from_photo

# A landmark residual at the face (mm, root mean square) at which confidence has fallen to about a third.
_DOUBTFUL_RESIDUAL_MM = 8.0
# iBUG's points of the outline say little about a surface.
_N_CONTOUR = 17


@dataclass(frozen=True, eq=False)
class Decoded:
    """Everything DECA makes of one face, a batch of one: what the original calls its ``opdict``, under clear names."""

    model: DecaModel
    compat: Compat
    code: DecaCode
    crop: Frame
    photo: Frame
    geometry: Geometry
    detail: Detail
    textures: Textures


class DecaMethod:
    """DECA (Feng et al., SIGGRAPH 2021) from its official files.

    ``compat`` "official" repeats the reference to the number; the default mends what is a mistake in it.
    ``precision`` "bfloat16" is faster on processors that have it and changes codes by about half a percent.
    ``textures`` names the texture space (``bfm``, ``flame``); by default the one that is installed, if any.

    Raises AssetError when official files are missing, InputError on unknown options.
    """

    name = "deca"

    def __init__(
        self,
        *,
        device: str = "auto",
        compat: Compat = "default",
        precision: Precision = "full",
        textures: TextureSpaces | None = None,
    ) -> None:
        for name, value, known in (
            ("compat", compat, ("default", "official")),
            ("precision", precision, ("full", "bfloat16")),
            ("textures", textures, (None, "bfm", "flame")),
        ):
            if value not in known:
                raise InputError(f"unknown {name} '{value}'; choose from {', '.join(filter(None, known))}.")
        self._set(load_model(pick_device(device), textures), compat, precision)

    @classmethod
    def from_model(cls, model: DecaModel, *, compat: Compat = "default", precision: Precision = "full") -> DecaMethod:
        """The method on a model that is already in memory."""
        method = cls.__new__(cls)
        method._set(model, compat, precision)
        return method

    def _set(self, model: DecaModel, compat: Compat, precision: Precision) -> None:
        self.compat: Compat = compat
        networks = fast_networks(model.networks, precision)
        displacement = replace(model.displacement, decoder=networks.decoder)
        self.model = replace(model, networks=networks, displacement=displacement)

    def reconstruct(self, photo: Photo, landmarks: Landmarks) -> Face:
        """One face. Raises InputError on landmarks that bound no face, NoFaceError when DECA sees no head there."""
        return self.reconstruct_together([photo], [landmarks])[0]

    @torch.inference_mode()
    def reconstruct_together(self, photos: Sequence[Photo], landmarks: Sequence[Landmarks]) -> list[Face]:
        """One person in several photos: shape, texture and detail codes are the means over the photos."""
        crops = [crop_about(landmark) for landmark in landmarks]
        images = [crop_photo(photo.pixels, crop, self.compat) for photo, crop in zip(photos, crops, strict=True)]
        code = self.encode(torch.stack(images))
        if len(photos) > 1:
            shared = {name: getattr(code, name).mean(0, keepdim=True) for name in ("shape", "texture", "detail")}
            code = replace(code, **{name: mean.expand(len(photos), -1) for name, mean in shared.items()})
        faces = []
        for row, (photo, landmark, crop) in enumerate(zip(photos, landmarks, crops, strict=True)):
            own = code[row : row + 1]
            if not float(own.camera[0, 0]) > 0:
                raise NoFaceError(
                    f"{photo.name}: DECA sees no head in this crop. Check the landmarks, or use --method open."
                )
            size = (photo.pixels.shape[0], photo.pixels.shape[1])
            face = code_to_face(self.model, own, crop, size, compat=self.compat, detected=landmark)
            face = _judged(face, landmark)
            faces.append(replace(face, albedo=albedo_from_photo(face, photo.pixels)))
        # Tensors of inference mode could never be optimised by whoever receives the Face.
        return [_ordinary(face) for face in faces]

    def write_official(self, folder: Path, name: str, photo: Photo, face: Face) -> None:
        """The files DECA's own demos leave. Raises OutputError when one cannot be written."""
        from likeness.methods.deca.outputs import write_outputs

        write_outputs(folder, name, self.decode(face, photo.pixels))

    @torch.inference_mode()
    def encode(self, images: Float[Tensor, "B 3 224 224"]) -> DecaCode:
        """The codes of crops, RGB in [0, 1]."""
        images = images.to(self.model.device)
        return split_code(self.model.networks.coarse(images), self.model.networks.detail(images))

    @torch.inference_mode()
    def decode(self, face: Face, pixels: np.ndarray, *, extract: bool = True) -> Decoded:
        """Everything DECA makes of a Face of this method and the photo it came from.

        Raises InputError when the Face is of another method or the photo has another size.
        """
        if (pixels.shape[0], pixels.shape[1]) != face.image_size:
            raise InputError(
                f"the photo has {pixels.shape[0]} x {pixels.shape[1]} pixels, the Face's had {face.image_size}."
            )
        code, similarity = face_to_code(face, self.model.device), crop_of(face)
        geometry = pose_geometry(self.model, code, self.compat)
        detail = decode_detail(self.model, code, geometry, self.compat)
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
        photo = Frame(image.to(self.model.device), similarity.inverse())
        crop = Frame(crop_photo(pixels, similarity, self.compat)[None].to(self.model.device))
        # The whole photo has more pixels to give than the crop, which is all the reference takes.
        source = crop if self.compat == "official" else photo
        grid = source.to_grid(geometry.vertices_image)
        textures = decode_textures(self.model, code, geometry, detail, source.image, grid, self.compat, extract=extract)
        return Decoded(self.model, self.compat, code, crop, photo, geometry, detail, textures)


def crop_about(landmarks: Landmarks) -> Similarity:
    """The crop DECA takes about landmarks of any convention that has a jaw line. Raises InputError."""
    points = to_ibug68(landmarks.points[:, :2], landmarks.convention)
    # DECA's pixel centres are whole numbers, ours lie at +0.5.
    return Box.of_points(points.astype(np.float64) - 0.5).similarity()


def _judged(face: Face, landmarks: Landmarks) -> Face:
    """With the distance between the head's landmarks and the detected ones, and what it says of the result."""
    detected = to_ibug68(landmarks.points[:, :2], landmarks.convention)[_N_CONTOUR:]
    points = face.head.embeddings["ibug68"].points(face.vertices)[None]
    found = face.camera.project(points)[0, _N_CONTOUR:].cpu().numpy()
    residual_px = float(np.sqrt(((found - detected) ** 2).sum(1).mean()))
    assert isinstance(face.camera, WeakPerspective), "DECA's camera is one"
    residual_mm = residual_px / float(face.camera.scale)
    return replace(
        face,
        confidence=landmarks.score * math.exp(-((residual_mm / _DOUBTFUL_RESIDUAL_MM) ** 2)),
        residuals={"landmarks_px": residual_px, "landmarks_mm": residual_mm},
    )


def _ordinary(face: Face) -> Face:
    """The same Face with tensors that remember nothing of inference mode."""
    with torch.inference_mode(False):
        names = ("identity", "expression", "joints", "light", "albedo", "displacement")
        tensors = {name: value.clone() for name in names if (value := getattr(face, name)) is not None}
        codes = {name: value.clone() for name, value in face.codes.items()}
        return replace(face, camera=face.camera._map(torch.Tensor.clone), codes=codes, **tensors)
