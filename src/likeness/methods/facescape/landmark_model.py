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
from likeness.methods.facescape.silhouette import Silhouette, contour_lines

# Landmark 8 is the lowest on the face of these (the release's constant).
CHIN_LINE = (11789, 1804, 11792, 5007, 11421, 1681, 11410, 5000, 11423, 3248, 11427, 1687, 15212, 6204, 15216, 2851)

LandmarkBasis = Float[np.ndarray, "K 52 N 3"]


@dataclass(frozen=True, eq=False)
class LandmarkModel:
    """Slices of a head: ``basis`` (S, 3, K, 52) of the S ``candidates`` (vertex numbers, sorted), a vertex in one piece
    of memory, so that a few of them are quickly fetched.

    ``chin`` is what landmark 8 may slide along. Identity statistics and the expression prior come along, so that a
    fit needs nothing else.
    """

    candidates: Int[np.ndarray, " S"]
    basis: Float[np.ndarray, "S 3 K 52"]
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
        basis = head.basis_of(torch.from_numpy(candidates)).to(torch.float32)
        return cls(
            candidates=candidates,
            basis=basis.permute(2, 3, 0, 1).contiguous().numpy(),
            start_landmarks=tables.landmarks,
            contour_right=tables.contour_right,
            contour_left=tables.contour_left,
            chin=chin,
            identity_mean=tables.identity_mean,
            identity_variance=tables.identity_variance,
            start_factors=head.factors[0].numpy(),
            prior=ExpressionPrior.from_tables(tables),
        )

    def landmark_basis(self, vertices: Int[np.ndarray, " N"]) -> LandmarkBasis:
        """The core at some of the candidates, in float64."""
        return self.basis_rows(vertices).astype(np.float64).transpose(2, 3, 0, 1)

    def basis_rows(self, vertices: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N 3 K 52"]:
        """Part of ``basis``: some of the candidates."""
        return self.basis[self._rows(vertices)]

    def positions(
        self, factors: Float[np.ndarray, " K"], expression: Float[np.ndarray, " 51"]
    ) -> Float[np.ndarray, "S 3"]:
        """Where the candidates are, model frame, mm."""
        return self._contracted(self.basis, factors, expression)

    def positions_of(
        self, vertices: Int[np.ndarray, " N"], factors: Float[np.ndarray, " K"], expression: Float[np.ndarray, " 51"]
    ) -> Float[np.ndarray, "N 3"]:
        """Where some of the candidates are: `positions` without the others."""
        return self._contracted(self.basis_rows(vertices), factors, expression)

    @staticmethod
    def _contracted(basis: np.ndarray, factors: np.ndarray, expression: np.ndarray) -> np.ndarray:
        pairs = np.outer(factors, slots_of(expression)).astype(np.float32).ravel()
        return (basis.reshape(-1, len(pairs)) @ pairs).reshape(-1, 3).astype(np.float64)

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
        for line in self.silhouette.lines:
            moved[line.landmark] = line.vertices[np.argmin(line.order(projected[self._rows(line.vertices)]))]
        return moved

    @cached_property
    def silhouette(self) -> Silhouette:
        """The lines as objects, for sliding quickly."""
        return Silhouette(self, contour_lines(self))

    def _rows(self, vertices: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.candidates, vertices)


def slots_of(expression: Float[np.ndarray, " 51"]) -> Float[np.ndarray, " 52"]:
    """Weights of the stored absolute shapes, neutral first."""
    return slot_weights(torch.from_numpy(np.asarray(expression, np.float64))[None])[0].numpy()
