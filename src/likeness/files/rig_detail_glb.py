"""A Rig's relief in a GLB: a normal map of the face at rest, and the maps themselves with their rule as payloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float

from likeness.files.glb import GlbImage, GlbPayload
from likeness.files.maps import displacement_png
from likeness.normal_maps import normals_to_picture, tangent_normals
from likeness.rig import DetailMap, Rig

# Larger maps are brought down to these sides, so that the file stays one that people open.
_NORMAL_SIZE, _KEY_SIZE = 2048, 1024
STEP_MM = 0.0005
"""Millimetres a step of the 16-bit maps, enough for ±16 mm."""
OFFSET_MM = -32768 * STEP_MM
_RULE = (
    "displacement (mm along the smooth normal) = sum over maps of map * clip(bias + sum of weights[name] * morph weight"
    ", 0, 1); the material's normal map shows the sum at morph weights 0"
)
_LOCAL_RULE = (
    "; for maps with local = true each morph weight is first multiplied, vertex by vertex, by how far its morph target "
    "moves the vertex over how far it moves any, and such maps are divided by their sum where that exceeds 1"
)


def rest_normal_image(rig: Rig) -> GlbImage | None:
    """The normal map of the face at rest; None where a Rig has no relief."""
    displacement = rest_displacement(rig, _NORMAL_SIZE)
    if displacement is None or rig.topology.uv is None or not displacement.any():
        return None
    normals = tangent_normals(torch.from_numpy(displacement), torch.from_numpy(rig.neutral), rig.topology)
    return GlbImage.from_pixels(normals_to_picture(normals))


def rest_displacement(rig: Rig, largest: int) -> Float[np.ndarray, "H W"] | None:
    """The maps added up at blendshape weights 0, no larger than a side."""
    if not rig.details:
        return None
    size = min(max(len(detail.displacement) for detail in rig.details), largest)
    total = np.zeros((size, size), np.float32)
    for detail in rig.details:
        if (strength := detail.strength({})) > 0:
            total += strength * _resized(detail.displacement, size)
    return total


def detail_payloads(rig: Rig) -> tuple[dict[str, GlbPayload], dict[str, Any]]:
    """Each map as a 16-bit PNG among the payloads, and the extras that say how to read and to blend them."""
    if not rig.details:
        return {}, {}
    payloads = {_payload_name(detail): _payload(detail) for detail in rig.details}
    local = any(detail.local for detail in rig.details)
    record = {"rule": _RULE + _LOCAL_RULE * local, "maps": [_describe(detail) for detail in rig.details]}
    return payloads, {"likeness_detail": record}


def _describe(detail: DetailMap) -> Mapping[str, Any]:
    return {
        "name": detail.name,
        "payload": _payload_name(detail),
        "millimetres_per_step": STEP_MM,
        "millimetres_at_0": OFFSET_MM,
        "bias": round(detail.bias, 6),
        "weights": {name: round(weight, 6) for name, weight in detail.weights.items() if round(weight, 6)},
        "local": detail.local,
    }


def _payload_name(detail: DetailMap) -> str:
    return f"displacement/{detail.name}.png"


def _payload(detail: DetailMap) -> GlbPayload:
    displacement = _resized(detail.displacement, min(len(detail.displacement), _KEY_SIZE))
    return GlbPayload(displacement_png(displacement, scale=STEP_MM, offset=OFFSET_MM), "image/png")


def _resized(displacement: Float[np.ndarray, "H W"], size: int) -> Float[np.ndarray, "size size"]:
    if displacement.shape == (size, size):
        return displacement
    image = torch.from_numpy(np.ascontiguousarray(displacement, np.float32))[None, None]
    return functional.interpolate(image, (size, size), mode="bilinear", align_corners=False, antialias=True)[
        0, 0
    ].numpy()
