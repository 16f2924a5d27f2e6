"""The files Deep3D's own programs write: ``<name>.mat`` and ``<name>_mesh.obj``, entry by entry as they are there.

Lengths are decimetres in Deep3D's world frame, colours 0 to 255; the frames of each entry are the original's, mixed as
they are.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.io import savemat

from likeness.atomic import write_bytes
from likeness.face import Face
from likeness.heads.bfm import BfmHead
from likeness.methods.deep3d.alignment import CROP
from likeness.methods.deep3d.coefficients import Coefficients
from likeness.methods.deep3d.decoder import project, rotation_matrix
from likeness.methods.deep3d.method import alignment_of, official_five
from likeness.methods.deep3d.rendering import reconstruction_image
from likeness.methods.protocol import Photo


def write_official(folder: str | Path, name: str, photo: Photo, face: Face) -> tuple[Path, Path]:
    """Write ``<name>.mat`` and ``<name>_mesh.obj`` for a Face of this method; returns their paths.

    Raises InputError on a Face of another method, OutputError when they cannot be written.
    """
    folder = Path(folder)
    entries = official_entries(photo, face)
    data = io.BytesIO()
    savemat(data, entries)
    mat, obj = folder / f"{name}.mat", folder / f"{name}_mesh.obj"
    write_bytes(mat, data.getvalue())
    text = obj_text(entries["face_shape"], entries["face_color"], face.head.topology.triangles)
    write_bytes(obj, text.encode("ascii"))
    return mat, obj


@torch.no_grad()
def official_entries(photo: Photo, face: Face) -> dict[str, np.ndarray]:
    """The eight entries of the original's ``.mat``.

    ``cropped_img`` RGB and ``recon_img`` RGBA have y down; ``lm_68p`` is the mesh's landmarks in the crop, y **up**;
    ``lm_5p`` the detected five in the crop, y **down**. ``face_shape`` is in the world frame. Of an edited Face, shape,
    picture and landmarks show the edit, under the colours of the photo.
    """
    alignment = alignment_of(face)
    predicted = Coefficients.split(face.codes["coefficients"][None])
    # The Face may have been edited since.
    coefficients = replace(predicted, identity=face.identity[None].cpu(), expression=face.expression[None].cpu())
    world = _world(face, coefficients)
    colour = face.codes["vertex_colour"]
    head = face.head
    assert isinstance(head, BfmHead) and head.model.landmarks is not None
    recon = reconstruction_image(world[None], colour[None], head.topology.triangles_tensor)[0]
    return {
        "cropped_img": alignment.crop(photo.pixels),
        "recon_img": recon.numpy(),
        "coeff": coefficients.vector().numpy(),
        "face_shape": world.numpy(),
        "face_texture": (face.codes["vertex_albedo"] * 255).numpy(),
        "face_color": (colour * 255).numpy(),
        "lm_68p": project(world[None, torch.from_numpy(head.model.landmarks)])[0].numpy(),
        "lm_5p": _five_in_crop(face),
    }


def obj_text(
    world: Float[np.ndarray, "V 3"], colour: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "T 3"]
) -> str:
    """``v x y z r g b`` with colours of 0 to 255 clipped and brought to 0 to 1, an empty line, ``f`` from 1."""
    rows = np.concatenate([world, np.clip(colour, 0, 255) / 255], 1)
    vertices = "".join("v {:f} {:f} {:f} {:f} {:f} {:f}\n".format(*row) for row in rows.tolist())
    faces = "".join("f {:d} {:d} {:d}\n".format(*row) for row in (triangles + 1).tolist())
    return f"{vertices}\n{faces}"


def _world(face: Face, coefficients: Coefficients) -> Float[torch.Tensor, "V 3"]:
    """The Face's own surface (edits included), turned and shifted as predicted, dm."""
    canonical = face.vertices.cpu() / 100
    return canonical @ rotation_matrix(coefficients.angles)[0].T + coefficients.translation[0]


def _five_in_crop(face: Face) -> Float[np.ndarray, "5 2"]:
    alignment = alignment_of(face)
    assert face.detected is not None
    points = official_five(face.detected).astype(np.float64)
    upward = np.stack([points[:, 0], alignment.size[1] - 1 - points[:, 1]], 1)
    cropped = alignment.landmarks_to_crop(upward)
    return np.stack([cropped[:, 0], CROP - 1 - cropped[:, 1]], 1)
