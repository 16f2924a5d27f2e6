"""The twenty key expressions as blendshape weights: α̂ of the paper's blending rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from likeness.errors import AssetError
from likeness.heads.facescape_expressions import ARKIT_NAMES, KEY_EXPRESSIONS

_MAX_BYTES = 16 << 20

# The release has no α̂. These are ours, by what the names of the key expressions and of the blendshapes say; "X" after a
# name stands for its Left and its Right.
_AUTHORED: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmileX": 1.0, "cheekSquintX": 0.5, "eyeSquintX": 0.3},
    "mouth_stretch": {"jawOpen": 1.0, "mouthStretchX": 0.4, "mouthLowerDownX": 0.3},
    "anger": {"browDownX": 1.0, "noseSneerX": 0.6, "eyeSquintX": 0.4, "mouthPressX": 0.5, "jawForward": 0.2},
    "jaw_left": {"jawLeft": 1.0},
    "jaw_right": {"jawRight": 1.0},
    "jaw_forward": {"jawForward": 1.0},
    "mouth_left": {"mouthLeft": 1.0},
    "mouth_right": {"mouthRight": 1.0},
    "dimpler": {"mouthDimpleX": 1.0, "mouthPressX": 0.3},
    "chin_raiser": {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.6},
    "lip_puckerer": {"mouthPucker": 1.0},
    "lip_funneler": {"mouthFunnel": 1.0, "jawOpen": 0.2},
    "sadness": {"mouthFrownX": 1.0, "browInnerUp": 0.7, "mouthShrugLower": 0.3},
    "lip_roll": {"mouthRollUpper": 1.0, "mouthRollLower": 1.0},
    "grin": {"mouthUpperUpX": 0.7, "mouthLowerDownX": 0.7, "mouthStretchX": 0.7, "mouthSmileX": 0.4},
    "cheek_blowing": {"cheekPuff": 1.0},
    "eye_closed": {"eyeBlinkX": 1.0},
    "brow_raiser": {"browInnerUp": 1.0, "browOuterUpX": 1.0, "eyeWideX": 0.3},
    "brow_lower": {"browDownX": 1.0, "eyeSquintX": 0.3},
}


def authored_weights() -> Float[np.ndarray, "20 51"]:
    """Our own table, rows as `KEY_EXPRESSIONS`, columns as `ARKIT_NAMES`."""
    weights = np.zeros((len(KEY_EXPRESSIONS), len(ARKIT_NAMES)), np.float32)
    for row, key in enumerate(KEY_EXPRESSIONS):
        for name, value in _AUTHORED[key].items():
            for side in ("Left", "Right") if name.endswith("X") else ("",):
                weights[row, ARKIT_NAMES.index(name.removesuffix("X") + side)] = value
    return weights


def read_weights(path: Path) -> Float[np.ndarray, "20 51"]:
    """``rig_params.json`` of FaceScape's toolkit: weights under ``bs_weight``, a row a key expression, with or
    without the neutral slot in front. Raises AssetError.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        weights = np.array(json.loads(path.read_text("utf-8"))["bs_weight"], np.float32)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise AssetError(
            f"{path}: holds no weights under 'bs_weight' ({error}); take the file from FaceScape again."
        ) from error
    n_keys, n_weights = len(KEY_EXPRESSIONS), len(ARKIT_NAMES)
    if weights.shape == (n_keys, n_weights + 1):
        weights = weights[:, 1:]
    if weights.shape != (n_keys, n_weights) or not ((weights >= 0) & (weights <= 1)).all():
        raise AssetError(
            f"{path}: its weights have shape {weights.shape}; expected {n_keys} rows of {n_weights} or {n_weights + 1} "
            "values from 0 to 1."
        )
    return weights
