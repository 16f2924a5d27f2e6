"""People for portraits: heads of the open head's basis, with bumps that it does not have, and whom they count as.

Real faces are in no basis. A regression that has seen only the basis's own faces reads every other one wrongly, so each
drawn head gets smooth random bumps on top, and its label is the identity that explains the whole shape best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from likeness.heads.open_head import OpenHead

IDENTITY_STD = (0.5, 1.9)  # of one person's coefficients; drawn anew for each
N_BUMPS = (4, 14)
BUMP_MM = (12.0, 38.0)  # the standard deviation of a bump's bell
# mm²: what the square of a label costs beside the mean square of the distances it leaves.
LABEL_RIDGE = 0.02

# Small movements about rest, which portraits are full of: (shape, how often, at most).
JITTER = (
    *(("jawOpen", 0.3, 0.15), ("eyeSquint", 0.2, 0.4), ("browInnerUp", 0.2, 0.25), ("browDown", 0.2, 0.25)),
    *(("mouthSmile", 0.2, 0.25), ("mouthPress", 0.2, 0.25), ("mouthFrown", 0.2, 0.25)),
)


@dataclass(frozen=True)
class Person:
    """One head: ``offsets`` (V, 3) mm are added to the shape of ``coefficients`` (I); ``identity`` (I) is its label."""

    coefficients: np.ndarray
    offsets: np.ndarray
    identity: np.ndarray


class People:
    """Draws persons of one head model; built once."""

    def __init__(self, head: OpenHead) -> None:
        self.face = np.flatnonzero(head.topology.region("face"))
        self.mean, self.basis = _linear_model(head)
        self._to_identity = self._label_matrix()

    def draw(self, rng: np.random.Generator) -> Person:
        """A random person."""
        coefficients = rng.normal(0, rng.uniform(*IDENTITY_STD), len(self.basis))
        offsets = self.draw_bumps(rng)
        return Person(coefficients, offsets, coefficients + self.label(offsets))

    def draw_bumps(self, rng: np.random.Generator) -> np.ndarray:
        """(V, 3) mm: smooth displacements about random points of the face, mostly on both sides of it."""
        total = np.zeros_like(self.mean)
        for _ in range(rng.integers(*N_BUMPS)):
            centre, width = self.mean[rng.choice(self.face)], rng.uniform(*BUMP_MM)
            shift = rng.normal(0, 1, 3) * rng.uniform(0.3, 1.0) * np.clip(width / 10, 1.2, 3.0) * [0.6, 1, 1]
            total += bump(self.mean, centre, width, shift, both_sides=rng.random() < 0.85)
        return total

    def label(self, offsets: np.ndarray) -> np.ndarray:
        """(I): the identity whose shape is closest to the mean head with ``offsets`` (V, 3) mm, over the face alone.

        Least squares with a slight ridge; a shift, turn or scaling of the whole face is nobody's identity.
        """
        return self._to_identity @ offsets[self.face].ravel()

    def face_gram(self) -> np.ndarray:
        """(I, I), mm²: z · G · z is the mean square of how far identity z moves the face's points, similarity apart."""
        moves = self.basis[:, self.face].reshape(len(self.basis), -1)
        similarities, _ = np.linalg.qr(self._similarities())
        moves = moves - (moves @ similarities) @ similarities.T
        return moves @ moves.T / len(self.face)

    def _label_matrix(self) -> np.ndarray:
        """(I, 3 F) of the ridge regression of offsets on the basis and the seven similarities; these are free."""
        n = len(self.basis)
        design = np.concatenate([self.basis[:, self.face].reshape(n, -1).T, self._similarities()], axis=1)
        gram = design.T @ design
        gram[np.arange(n), np.arange(n)] += LABEL_RIDGE * len(self.face)
        return np.linalg.solve(gram, design.T)[:n]

    def _similarities(self) -> np.ndarray:
        """(3 F, 7): how small shifts, turns and a scaling move the mean face."""
        centred = self.mean[self.face] - self.mean[self.face].mean(axis=0)
        shifts = [np.tile(axis, (len(centred), 1)) for axis in np.eye(3)]
        turns = [np.cross(axis, centred) for axis in np.eye(3)]
        return np.stack([move.ravel() for move in (*shifts, *turns, centred)], axis=1)


def bump(mean: np.ndarray, centre: np.ndarray, width: float, shift: np.ndarray, *, both_sides: bool) -> np.ndarray:
    """(V, 3): points near ``centre`` moved by ``shift``, and across the face by its mirror image."""
    total = np.zeros_like(mean)
    # On the midline the two halves of a bump lie on each other.
    strength = 0.5 if abs(centre[0]) < 4 else 1.0
    for side in (1, -1) if both_sides else (1,):
        distance = np.linalg.norm(mean - centre * [side, 1, 1], axis=1)
        total += strength * np.exp(-((distance / width) ** 2) / 2)[:, None] * shift * [side, 1, 1]
    return total


def jitter_expression(weights: np.ndarray, names: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """ARKit weights (E) with a few small movements more; eyes wider or half closed, as between two blinks."""
    weights = weights.copy()
    eyes = rng.random()
    if eyes < 0.35 and weights[names.index("eyeBlinkLeft")] == 0:
        _raise_to(weights, names, "eyeWide", rng.uniform(0, 0.7), rng)
    elif 0.35 <= eyes < 0.6:
        _raise_to(weights, names, "eyeBlink", rng.uniform(0, 0.3), rng)
    for name, how_often, most in JITTER:
        if rng.random() < how_often:
            _raise_to(weights, names, name, rng.uniform(0, most), rng)
    return weights.clip(0, 1)


def _linear_model(head: OpenHead) -> tuple[np.ndarray, np.ndarray]:
    """Mean head (V, 3) and its moves by identity (I, V, 3), mm."""
    mean = head.vertices(torch.zeros(1, head.n_identity))[0].double().numpy()
    basis = head.vertices(torch.eye(head.n_identity)).double().numpy() - mean
    return mean, basis


def _raise_to(weights: np.ndarray, names: tuple[str, ...], name: str, value: float, rng: np.random.Generator) -> None:
    if name in names:
        weights[names.index(name)] = max(weights[names.index(name)], value)
    for side in ("Left", "Right"):
        if name + side in names:
            index = names.index(name + side)
            weights[index] = max(weights[index], value * rng.uniform(0.9, 1.1))
