"""How the open method's wrinkles follow the expression: for a Face, and as maps of a Rig.

A Face whose relief was read from a photo carries its wrinkle model among its codes; see `likeness.detail.wrinkles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from likeness.detail.photo import Detail
from likeness.detail.wrinkles import WrinkleModel, blend, learn_wrinkles, learn_wrinkles_together, wrinkle_maps
from likeness.devices import one_thread
from likeness.face import Face
from likeness.rig import DetailMap

_PREFIX = "wrinkles_"
_PARTS = ("rest", "lines", "activation", "strength")


def with_detail(face: Face, detail: Detail) -> Face:
    """The Face with relief read from its photo, ready to move."""
    with one_thread():
        model = learn_wrinkles(face.head, detail.displacement, detail.visibility, face.weights)
    return replace(_with_model(face, model), displacement=detail.displacement)


def with_details(faces: Sequence[Face], details: Sequence[Detail]) -> list[Face]:
    """Several Faces of one person, each with the relief that all their photos together give its expression."""
    if len(faces) == 1:
        return [with_detail(faces[0], details[0])]
    with one_thread():
        model = learn_wrinkles_together(
            faces[0].head,
            [detail.displacement for detail in details],
            [detail.visibility for detail in details],
            [face.weights for face in faces],
        )
    return [follow_expression(_with_model(face, model)) for face in faces]


def follow_expression(face: Face) -> Face:
    """The Face with the displacement of the expression that it has now; as it is when it has no wrinkle model."""
    model = _model(face)
    if model is None:
        return face
    with one_thread():
        displacement = blend(wrinkle_maps(face.head, model), face.weights)
    return replace(face, displacement=displacement.to(face.identity.device))


def detail_maps(face: Face) -> tuple[DetailMap, ...]:
    """The static map and the wrinkle zones', with the weights by which they show; or the one map there is."""
    model = _model(face)
    if model is not None:
        with one_thread():
            return tuple(wrinkle_maps(face.head, model))
    if face.displacement is None:
        return ()
    return (DetailMap("static", face.displacement.detach().cpu().numpy().astype(np.float32)),)


def _with_model(face: Face, model: WrinkleModel) -> Face:
    codes = {_PREFIX + part: getattr(model, part) for part in _PARTS}
    return replace(face, codes={**face.codes, **codes})


def _model(face: Face) -> WrinkleModel | None:
    if _PREFIX + "rest" not in face.codes:
        return None
    return WrinkleModel(*(face.codes[_PREFIX + part].cpu() for part in _PARTS))
