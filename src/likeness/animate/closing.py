"""Blinks that close these eyes: shapes made for the average head scaled to a person's own.

The open head's blinks are the same millimetres for everyone. Narrow eyes are shut at weight 0.6, where lids go on
through each other, and wide eyes never. Motion means by eyeBlink 1 that the eye is shut, whoever wears it; so a rig's
blinks are scaled by the weight at which its lids meet, and weights measured on the head are divided by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float

from likeness.heads import load_head
from likeness.rig import Rig

# MediaPipe's landmarks at the middle of the lids: upper and lower ones.
_LIDS = {"Left": ((386, 385, 387), (374, 380, 373)), "Right": ((159, 158, 160), (145, 153, 144))}
_LIPS = (13, 82, 312, 81, 311), (14, 87, 317, 178, 402)
# Beyond these it is not the eye but the fit that is unusual.
_LEAST, _MOST = 0.45, 1.4


@lru_cache(maxsize=4)
def closing_weights(rig: Rig) -> Mapping[str, float]:
    """For each eyeBlink shape the weight at which the lids meet; nothing for rigs of other topologies than the open
    head's, which do not tell where their lids are."""
    if not _is_open(rig):
        return MappingProxyType({})
    found = {}
    for side, (upper, lower) in _LIDS.items():
        name = f"eyeBlink{side}"
        if name not in rig.blendshape_names:
            continue
        gap = _gap(rig.neutral, upper, lower)
        closed_by = -_gap(rig.blendshapes[rig.blendshape_names.index(name)], upper, lower)
        if closed_by > 1e-3:
            found[name] = float(np.clip(gap / closed_by, _LEAST, _MOST))
    return MappingProxyType(found)


def with_closing_blinks(rig: Rig) -> Rig:
    """The Rig with blinks that just close at weight 1; its own weights changed so that the face stays as it is."""
    found = closing_weights(rig)
    if not found:
        return rig
    shapes, weights = rig.blendshapes.copy(), rig.weights.copy()
    for name, weight in found.items():
        k = rig.blendshape_names.index(name)
        shapes[k] *= weight
        weights[k] /= weight
    return replace(rig, blendshapes=shapes, weights=weights)


def to_closing(
    weights: Float[np.ndarray, "F N"], names: tuple[str, ...], closing: Mapping[str, float]
) -> Float[np.ndarray, "F N"]:
    """Weights of the head's own shapes as weights of `with_closing_blinks`."""
    return weights / np.array([closing.get(name, 1.0) for name in names], weights.dtype)


@lru_cache(maxsize=8)
def closure_gradients(names: tuple[str, ...]) -> Float[np.ndarray, "3 N"]:
    """By how many mm each blendshape opens the lips, the left and the right lids, on the open head's average person.

    Zero for names that are none of ARKit's.
    """
    head = load_head("open")
    shapes = head.vertices(torch.zeros(head.n_expression, head.n_identity), torch.eye(head.n_expression))
    shapes = (shapes - head.vertices(torch.zeros(1, head.n_identity))).numpy()
    gradients = np.zeros((3, len(names)))
    for k, name in enumerate(names):
        if name in head.expression_names:
            moved = shapes[head.expression_names.index(name)]
            gradients[:, k] = [_gap(moved, *pair) for pair in (_LIPS, _LIDS["Left"], _LIDS["Right"])]
    gradients.flags.writeable = False
    return gradients


def _is_open(rig: Rig) -> bool:
    triangles = load_head("open").topology.triangles
    return rig.topology.triangles.shape == triangles.shape and np.array_equal(rig.topology.triangles, triangles)


def _gap(vertices: Float[np.ndarray, "V 3"], upper: tuple[int, ...], lower: tuple[int, ...]) -> float:
    points = load_head("open").embeddings["mediapipe478"].points(torch.from_numpy(vertices))
    return float((points[list(upper), 1] - points[list(lower), 1]).mean())
