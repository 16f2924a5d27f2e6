"""How FaceScape's wrinkles follow the expression: for a Face, and as maps of a Rig.

A Face made with the rig option carries the twenty outputs and α̂ among its codes. One without carries a single
output, whose wrinkles belong to the photo's expression and stay.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from jaxtyping import Float
from torch import Tensor

from likeness.errors import InputError
from likeness.face import Face
from likeness.heads.facescape import FaceScapeHead
from likeness.heads.facescape_expressions import ARKIT_NAMES, KEY_EXPRESSIONS
from likeness.methods.facescape.blending import activations, blend_maps, mask_strengths
from likeness.methods.facescape.displacement import output_to_mm
from likeness.rig import DetailMap

OUTPUTS, KEY_WEIGHTS = "displacement_outputs", "key_weights"
"""Names of the codes: generator outputs (1 or 20, S, S) in (−1, 1), and α̂ (20, 51)."""

# Twenty maps of the full 4096² would take 1.3 GB; this is the networks' own resolution in the chart.
RIG_MAP_SIZE = 2048


def follow_expression(face: Face) -> Face:
    """The Face with the displacement of its present expression; as it is when it was made without the rig option."""
    if KEY_WEIGHTS not in face.codes or face.displacement is None:
        return face
    blended = blended_output(face, face.expression)
    displacement = output_to_mm(blended, len(face.displacement)).to(face.displacement)
    return replace(face, displacement=displacement)


def blended_output(face: Face, weights: Float[Tensor, " 51"]) -> Float[Tensor, "S S"]:
    """The generator output that belongs to blendshape weights. Raises InputError on a Face without the rig option."""
    if KEY_WEIGHTS not in face.codes:
        raise InputError("this Face has one displacement map; make it with the rig option to follow expressions.")
    head = cast(FaceScapeHead, face.head)
    strengths = mask_strengths(weights, face.codes[KEY_WEIGHTS], activations(head, face.identity))
    return blend_maps(face.codes[OUTPUTS], strengths, head)


def detail_maps(face: Face) -> tuple[DetailMap, ...]:
    """The key expressions' maps with the rule of the activation masks, or the one map there is."""
    if face.displacement is None:
        return ()
    if KEY_WEIGHTS not in face.codes:
        return (DetailMap("static", face.displacement.detach().cpu().numpy()),)
    key_weights = face.codes[KEY_WEIGHTS]
    maps = []
    for number, (key, output) in enumerate(zip(KEY_EXPRESSIONS, face.codes[OUTPUTS], strict=True)):
        # Neutral's share is what the others leave.
        shares = key_weights[number] if number else -key_weights[1:].sum(0)
        weights = {name: share for name, share in zip(ARKIT_NAMES, shares.tolist(), strict=True) if share}
        displacement = output_to_mm(output, RIG_MAP_SIZE).numpy()
        maps.append(DetailMap(key, displacement, bias=0.0 if number else 1.0, weights=weights, local=True))
    return tuple(maps)
