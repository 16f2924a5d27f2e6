"""How likely is it that the head's landmarks lie where the face's are?

Judged by how much the detector changes its mind when it looks again (`landmarks.second_look`) and by how far the fit
went from the average person, for which wrong landmarks are a frequent reason. The rule is a logistic regression on
spoilt renders and photographs, made by ``tools/calibrate_confidence.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.landmarks.base import Landmarks
from likeness.landmarks.second_look import disagreement
from likeness.landmarks.sessions import Device


@dataclass(frozen=True)
class Rule:
    """log p / (1 − p) = ``constant`` + ``doubt`` · d + ``strangeness`` · z, with d the logarithm of the doubt and z the
    root mean square of the identity, in standard deviations.
    """

    constant: float
    doubt: float
    strangeness: float

    def probability(self, doubt: float, strangeness: float) -> float:
        logit = self.constant + self.doubt * math.log(doubt) + self.strangeness * strangeness
        return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


# From 493 faces: 60 rendered people and 32 photographs, spoilt in several ways. d: disagreement of two looks, plus a
# thousandth.
BY_LOOKS = Rule(constant=-8.86, doubt=-4.34, strangeness=-4.37)
# d: root-mean-square residual at the face in mm, for landmarks that no network can look at again.
BY_RESIDUAL = Rule(constant=13.22, doubt=-3.81, strangeness=-9.62)


def landmark_confidence(
    pixels: UInt8[np.ndarray, "H W 3"],
    landmarks: Landmarks,
    *,
    identity: Float[Tensor, " I"],
    residual_mm: float,
    device: Device,
) -> float:
    """The probability that the 68 landmarks of the fitted head are right, to 5 % of the face box's side on average."""
    strangeness = strangeness_of(identity)
    if landmarks.convention == "mediapipe478":
        return BY_LOOKS.probability(looks_doubt(pixels, landmarks, device=device), strangeness)
    return BY_RESIDUAL.probability(max(residual_mm, 1e-3), strangeness)


def strangeness_of(identity: Float[Tensor, " I"]) -> float:
    """Root mean square of the identity, in standard deviations of people; no less than half a one.

    An average person speaks for a fit no more than a usual one: a fit that took nothing for true stays there too.
    """
    return max(float(identity.square().mean().sqrt()), 0.5)


def looks_doubt(pixels: UInt8[np.ndarray, "H W 3"], landmarks: Landmarks, *, device: Device) -> float:
    """The disagreement of two looks, kept off zero."""
    return disagreement(pixels, landmarks.points, device=device) + 1e-3
