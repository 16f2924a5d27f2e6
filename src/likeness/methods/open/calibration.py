"""What is known about the landmark detector on the open head: how far each landmark strays, and how together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.heads.protocol import Head
from likeness.methods.open.landmark_model import LandmarkModel, landmark_model
from likeness.methods.open.objective import Start

CONVENTION = "mediapipe478"


@dataclass(frozen=True, eq=False)
class Calibration:
    """The landmark model and its noise.

    ``spread`` (L) is each landmark's standard deviation in mm at the face; ``modes`` (L, 2, M) are directions in which
    all landmarks err together, mm, in axes that turn with the head's roll. ``identity_mean`` and ``identity_precision``
    (I) are the prior of people.
    """

    model: LandmarkModel
    spread: Float[Tensor, " L"]
    modes: Float[Tensor, "L 2 M"]
    identity_mean: Float[Tensor, " I"]
    identity_precision: Float[Tensor, " I"]

    @property
    def pose_weights(self) -> Float[Tensor, " L"]:
        """Trust in each landmark for the first pose: the sure ones count."""
        return 1 / self.spread

    def noise(self, start: Start, points: Float[Tensor, "n L 2"]) -> tuple[Float[Tensor, "n L 2 2"], Tensor]:
        """Square-root information (n, L, 2, 2) and modes (n, L, 2, M) in each photo's axes."""
        n = len(points)
        information = torch.eye(2).expand(n, len(self.spread), 2, 2) / self.spread[:, None, None]
        # The head's up direction (+y) in the picture says how far it is rolled.
        down = -start.rotation[:, :2, 1]
        down = down / down.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        roll = torch.stack([torch.stack([down[:, 1], down[:, 0]], -1), torch.stack([-down[:, 0], down[:, 1]], -1)], 1)
        return information, torch.einsum("nij,ljm->nlim", roll, self.modes)


def calibrate(head: Head) -> Calibration:
    """The calibration of a head that carries measured landmark noise."""
    embedding = head.embeddings[CONVENTION]
    model = landmark_model(head, embedding)
    spread = torch.full((len(model.mean),), 2.0) if embedding.spread is None else embedding.spread.clamp_min(0.5)
    return Calibration(
        model=model,
        spread=spread * 3.0,
        modes=torch.zeros(len(model.mean), 2, 0),
        identity_mean=torch.zeros(model.n_identity),
        identity_precision=torch.ones(model.n_identity),
    )
