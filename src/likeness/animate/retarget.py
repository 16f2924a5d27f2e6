"""Motion of one rig, for another: by name where both speak ARKit, else by what the surfaces do.

Only displacements from the driver's neutral face enter, at the target's size, so nothing of the driver's identity can
arrive: a driver who rests gives a target that rests, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from likeness.animate.expression_space import ExpressionSpace
from likeness.arkit import ARKIT_NAMES
from likeness.arkit_rig import JAW_NAMES
from likeness.errors import InputError
from likeness.motion import Motion
from likeness.rig import Rig

SMOOTHNESS = 0.01
"""How strongly neighbouring frames are held together: too little to dull a blink, so no filter either (measured by
benchmarks/eval_retarget.py)."""


def retarget(
    motion: Motion,
    source: Rig,
    target: Rig,
    *,
    rest: Mapping[str, float] | None = None,
    by: Literal["auto", "names", "surface"] = "auto",
    smoothness: float = SMOOTHNESS,
) -> Motion:
    """The motion of ``source`` in the blendshapes of ``target``.

    ``rest``: the driver's resting expression (`rest_expression`), which is taken off first. ``by`` "names" copies
    weights by name; "surface" carries what the shapes do to the source's surface over to the target's, and solves for
    the target's weights, in [0, 1] where they are ARKit's; "auto" takes names where both rigs have all that move.

    A rig whose jaw is a joint (FLAME's own space) takes and gives its rotation as the weights "jaw.x", "jaw.y",
    "jaw.z": the rotation vector in radians relative to the head, on top of the blendshapes. Head and eyes, as
    rotations, pass unchanged.

    Raises InputError when the motion is not the source's, or the rigs know no landmarks.
    """
    weights = _less_rest(motion, rest)
    moving = [name for k, name in enumerate(motion.names) if np.any(weights[:, k])]
    if by not in ("auto", "names", "surface"):
        raise InputError(f"unknown way to retarget '{by}'; choose from auto, names, surface.")
    same_words = set(moving) <= set(target.blendshape_names) and set(moving) <= set(ARKIT_NAMES)
    if by == "names" or (by == "auto" and same_words):
        return _by_names(motion, weights, moving, target)
    return _by_surface(motion, weights, source, target, smoothness)


def rest_expression(motion: Motion) -> dict[str, float]:
    """What a driver's face holds when it rests: the median of each weight over the calmer half of the frames.

    Calm is a frame that lies near the motion's own median. A talker rests between words; a face that never rests has
    no rest that could be told from its motion.
    """
    if len(motion) == 0:
        return {}
    trusted = np.ones(len(motion), bool) if motion.confidence is None else motion.confidence > 0
    weights = motion.weights[trusted] if trusted.any() else motion.weights
    distance = np.linalg.norm(weights - np.median(weights, 0), axis=1)
    calm = weights[distance <= np.median(distance)]
    return dict(zip(motion.names, np.median(calm, 0).tolist(), strict=True))


def _less_rest(motion: Motion, rest: Mapping[str, float] | None) -> Float[np.ndarray, "F N"]:
    if rest is None:
        return motion.weights.astype(np.float64)
    unknown = sorted(set(rest) - set(motion.names))
    if unknown:
        raise InputError(f"the motion has no blendshape named {', '.join(unknown)} to take its rest from.")
    return motion.weights - np.array([rest.get(name, 0.0) for name in motion.names])


def _by_names(motion: Motion, weights: Float[np.ndarray, "F N"], moving: list[str], target: Rig) -> Motion:
    missing = sorted(set(moving) - set(target.blendshape_names))
    if missing:
        raise InputError(f"the target rig has no blendshape named {', '.join(missing)}; retarget by surface instead.")
    found = np.zeros((len(motion), len(target.blendshape_names)), np.float32)
    for name in moving:
        column = weights[:, motion.names.index(name)]
        # ARKit's weights are never negative, not even for a driver who relaxes below his rest.
        found[:, target.blendshape_names.index(name)] = column.clip(0, None) if name in ARKIT_NAMES else column
    return replace(motion, names=target.blendshape_names, weights=found)


def _by_surface(
    motion: Motion, weights: Float[np.ndarray, "F N"], source: Rig, target: Rig, smoothness: float
) -> Motion:
    giver, taker = ExpressionSpace(source), ExpressionSpace(target)
    basis = giver.movement(motion.names, weights)
    names = target.blendshape_names + (JAW_NAMES if taker.opens_by_joint else ())
    if not len(basis.shapes):
        return replace(motion, names=names, weights=np.zeros((len(motion), len(names)), np.float32))
    shapes = taker.carried(giver, basis)
    found, jaw = taker.explained(shapes, basis.coefficients, smoothness=smoothness)
    if jaw is not None:
        found = np.concatenate([found, jaw], 1)
    return replace(motion, names=names, weights=found.astype(np.float32))
