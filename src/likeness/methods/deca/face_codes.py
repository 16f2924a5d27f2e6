"""Between DECA's codes and a Face of Likeness, both ways without loss.

A Face keeps the head's rotation in its camera and the mouth's in its joints, so FLAME's root rotation, which turns
about a joint that moves with shape and expression, is folded into the camera together with that joint's place.
"""

from __future__ import annotations

import roma
import torch

from likeness.cameras import Similarity, WeakPerspective
from likeness.errors import InputError
from likeness.face import Face
from likeness.heads.flame import MM_PER_M
from likeness.heads.flame_files import N_JOINTS
from likeness.landmarks import Landmarks
from likeness.methods.deca.crop import Compat
from likeness.methods.deca.geometry import JAW, DecaCode
from likeness.methods.deca.model import N_SHAPE, DecaModel
from likeness.methods.deca.networks import IMAGE_SIZE, N_EXPRESSION
from likeness.methods.deca.shading import to_linear_light

_CODES = ("texture", "root", "camera", "light", "detail")


def code_to_face(
    model: DecaModel,
    code: DecaCode,
    crop: Similarity,
    image_size: tuple[int, int],
    *,
    compat: Compat = "default",
    detected: Landmarks | None = None,
    confidence: float = 1.0,
) -> Face:
    """The Face of a code (a batch of one) whose crop is ``crop`` of a photo (height, width)."""
    head = model.head
    identity, expression = code.shape.new_zeros(head.n_identity), code.shape.new_zeros(head.n_expression)
    identity[:N_SHAPE], expression[:N_EXPRESSION] = code.shape[0], code.expression[0]
    joints = code.shape.new_zeros(N_JOINTS, 3)
    joints[JAW] = code.jaw[0]
    codes = {name: getattr(code, name)[0] for name in _CODES}
    # In double precision: a photo may have thousands of pixels.
    codes["crop"] = torch.cat([crop.scale, crop.angle, crop.translation[0]]).double()
    return Face(
        head=head,
        identity=identity,
        expression=expression,
        joints=joints,
        camera=_camera(model, code, crop),
        image_size=image_size,
        method="deca",
        confidence=confidence,
        detected=detected,
        light=to_linear_light(code.light[0]),
        displacement=model.displacement.millimetres(code.jaw, code.expression, code.detail)[0],
        codes=codes,
    )


def face_to_code(face: Face, device: torch.device | str | None = None) -> DecaCode:
    """The code of a Face of DECA, with the expression and jaw it has now. Raises InputError on any other Face."""
    _check(face)
    code = DecaCode(
        shape=face.identity[None, :N_SHAPE],
        expression=face.expression[None, :N_EXPRESSION],
        jaw=face.joints[None, JAW],
        **{name: face.codes[name][None] for name in _CODES},
    )
    return DecaCode(**{name: value.to(device) for name, value in vars(code).items()})


def crop_of(face: Face) -> Similarity:
    """Photo to crop, as it was when DECA looked. Raises InputError on a Face of another method."""
    _check(face)
    scale, angle, *translation = face.codes["crop"].split(1)
    return Similarity(scale, angle, torch.cat(translation)[None])


def _camera(model: DecaModel, code: DecaCode, crop: Similarity) -> WeakPerspective:
    """Head frame (mm) to pixels of the photo."""
    turn = roma.rotvec_to_rotmat(code.root)
    flip = torch.diag(turn.new_tensor([1.0, -1.0, -1.0]))
    pivot = model.flame.joints(code.shape, code.expression)[:, 0]
    # world = turn · (head - pivot) + pivot, metres; head = mm / 1000 + centre
    origin = (turn @ (model.head.centre - pivot)[..., None])[..., 0] + pivot
    scale = code.camera[:, 0] * (IMAGE_SIZE / 2)
    shifted = (origin[:, :2] + code.camera[:, 1:]) * origin.new_tensor([1.0, -1.0])
    camera = WeakPerspective(flip @ turn, scale / MM_PER_M, scale[:, None] * shifted + IMAGE_SIZE / 2)
    back = crop.to(camera.scale.device, torch.float64).inverse()
    return camera.to(torch.float64).apply(back).to(torch.float32)


def _check(face: Face) -> None:
    missing = [name for name in (*_CODES, "crop") if name not in face.codes]
    if face.head.name != "flame" or missing:
        raise InputError(f"this Face was made by '{face.method}'; DECA can decode only what it has encoded itself.")
