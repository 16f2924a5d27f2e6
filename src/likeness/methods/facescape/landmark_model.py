"""The few vertices of the bilinear model that a fit looks at: landmarks, and the lines that contour landmarks slide
along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int

from likeness.heads.facescape import FaceScapeHead, slot_weights
from likeness.methods.facescape.expression_prior import ExpressionPrior

# Landmark 8 is the lowest on the face of these (the release's constant).
CHIN_LINE = (11789, 1804, 11792, 5007, 11421, 1681, 11410, 5000, 11423, 3248, 11427, 1687, 15212, 6204, 15216, 2851)

LandmarkBasis = Float[np.ndarray, "K 52 68 3"]


@dataclass(frozen=True, eq=False)
class LandmarkModel:
    """Slices of a head: ``basis`` (K, 52, S, 3) of the S ``candidates`` (vertex numbers, sorted).

    ``chin`` is what landmark 8 may slide along. Identity statistics and the expression prior come along, so that a
    fit needs nothing else.
    """

    candidates: Int[np.ndarray, " S"]
    basis: Float[np.ndarray, "K 52 S 3"]
    start_landmarks: Int[np.ndarray, " 68"]
    contour_right: tuple[Int[np.ndarray, " N"], ...]
    contour_left: tuple[Int[np.ndarray, " N"], ...]
    chin: Int[np.ndarray, " N"]
    identity_mean: Float[np.ndarray, " K"]
    identity_variance: Float[np.ndarray, " K"]
    start_factors: Float[np.ndarray, " K"]
    prior: ExpressionPrior

    @classmethod
    def from_head(cls, head: FaceScapeHead) -> LandmarkModel:
        tables = head.tables
        chin = np.array([vertex for vertex in CHIN_LINE if vertex < head.n_vertices], np.int64)
        lines = [tables.landmarks, *tables.contour_right, *tables.contour_left, chin]
        candidates = np.unique(np.concatenate(lines))
        return cls(
            candidates=candidates,
            basis=head.basis_of(torch.from_numpy(candidates)).to(torch.float32).numpy(),
            start_landmarks=tables.landmarks,
            contour_right=tables.contour_right,
            contour_left=tables.contour_left,
            chin=chin,
            identity_mean=tables.identity_mean,
            identity_variance=tables.identity_variance,
            start_factors=head.factors[0].numpy(),
            prior=ExpressionPrior.from_tables(tables),
        )

    def landmark_basis(self, vertices: Int[np.ndarray, " 68"]) -> LandmarkBasis:
        """The core at 68 of the candidates, in float64."""
        return self.basis[:, :, np.searchsorted(self.candidates, vertices)].astype(np.float64)

    def positions(
        self, factors: Float[np.ndarray, " K"], expression: Float[np.ndarray, " 51"]
    ) -> Float[np.ndarray, "S 3"]:
        """Where the candidates are, model frame, mm."""
        pairs = np.outer(factors, slots_of(expression)).astype(np.float32)
        return (pairs.reshape(1, -1) @ self._flat_basis).reshape(-1, 3).astype(np.float64)

    def slide_contour(
        self, vertices: Int[np.ndarray, " 68"], project: Callable[[np.ndarray], np.ndarray], positions: np.ndarray
    ) -> Int[np.ndarray, " 68"]:
        """The landmark vertices after the contour has moved to the silhouette of a view.

        Landmark 9 + i goes to the rightmost vertex of its line, landmark i (0 … 7) to the leftmost, landmark 8 to the
        lowest; the first wins a tie. Landmarks from 17 on stay. ``positions`` are the candidates', ``project`` maps
        them to fit image space.
        """
        projected = project(positions)
        moved = vertices.copy()
        for i, line in enumerate(self.contour_right):
            self._extreme(moved, 9 + i, line, -projected[:, 0])
        for i, line in enumerate(self.contour_left):
            self._extreme(moved, i, line, projected[:, 0])
        self._extreme(moved, 8, self.chin, projected[:, 1])
        return moved

    def _extreme(self, vertices: np.ndarray, landmark: int, line: np.ndarray, values: np.ndarray) -> None:
        if len(line):
            vertices[landmark] = line[np.argmin(values[np.searchsorted(self.candidates, line)])]

    @cached_property
    def _flat_basis(self) -> np.ndarray:
        return self.basis.reshape(self.basis.shape[0] * self.basis.shape[1], -1)


def slots_of(expression: Float[np.ndarray, " 51"]) -> Float[np.ndarray, " 52"]:
    """Weights of the stored absolute shapes, neutral first."""
    return slot_weights(torch.from_numpy(np.asarray(expression, np.float64))[None])[0].numpy()
