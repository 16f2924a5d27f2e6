"""How far a landmark detector strays from a head's landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LandmarkNoise:
    """Measured errors of L detected landmarks, mm at the face; axes (right, up) of the picture of the upright head.

    ``covariance`` (L, 2, 2) is each landmark's own. Errors of neighbours are not independent: ``modes`` (L, 2, M) are
    directions, at one standard deviation, in which all landmarks err together, and ``remainder`` (L,) is the standard
    deviation along one axis that is left of each landmark beside them. A shift of all landmarks together is taken out.
    """

    covariance: Float[Tensor, "L 2 2"]
    modes: Float[Tensor, "L 2 M"]
    remainder: Float[Tensor, " L"]

    def to(self, device: torch.device | str) -> LandmarkNoise:
        return LandmarkNoise(self.covariance.to(device), self.modes.to(device), self.remainder.to(device))
