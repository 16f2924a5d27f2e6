"""How expressions are spread in moving faces, before one is seen: which shapes are common, and which move together."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# One standard deviation of a weight. Faces blink, look about and speak all the time; they seldom show their tongue.
_SPREAD = 0.2
_SPREADS = {
    "eyeBlink": 0.4,
    "eyeLook": 0.4,
    "jawOpen": 0.4,
    "jawForward": 0.1,
    # A head turned aside looks to a detector as if its mouth were drawn aside.
    "jawLeft": 0.15,
    "jawRight": 0.15,
    "mouthLeft": 0.1,
    "mouthRight": 0.1,
    "mouthClose": 0.1,
    "mouthDimple": 0.1,
    "mouthRoll": 0.1,
    "mouthShrug": 0.1,
    "noseSneer": 0.1,
    "tongueOut": 0.02,
}
# Correlation of a shape with its mirror image, of the two eyes' gaze, and of the inner brows with the outer ones.
_SIDES, _GAZE, _BROWS = 0.9, 0.9, 0.5
_ONE_SIDED = ("jawLeft", "mouthLeft")


def expression_precision(names: tuple[str, ...]) -> Float[Tensor, "E E"]:
    """The inverse covariance of ARKit's weights. Left and right move nearly alike, and the eyes look the same way."""
    spread = torch.tensor([_spread(name) for name in names], dtype=torch.float64)
    correlation = torch.eye(len(names), dtype=torch.float64)
    for first, second, value in _pairs(names):
        i, j = names.index(first), names.index(second)
        correlation[i, j] = correlation[j, i] = value
    return torch.linalg.inv(spread[:, None] * correlation * spread).float()


def _spread(name: str) -> float:
    return next((value for stem, value in _SPREADS.items() if name.startswith(stem)), _SPREAD)


def _pairs(names: tuple[str, ...]) -> list[tuple[str, str, float]]:
    pairs = []
    for name in names:
        if not name.endswith("Left") or name in _ONE_SIDED:
            continue
        across = name.removesuffix("Left") + "Right"
        if name.startswith("eyeLookIn"):
            across = "eyeLookOutRight"
        elif name.startswith("eyeLookOut"):
            across = "eyeLookInRight"
        pairs.append((name, across, _GAZE if name.startswith("eyeLook") else _SIDES))
    pairs += [("browInnerUp", f"browOuterUp{side}", _BROWS) for side in ("Left", "Right")]
    return [(a, b, value) for a, b, value in pairs if a in names and b in names]
