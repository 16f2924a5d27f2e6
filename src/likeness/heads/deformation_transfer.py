"""Deformation transfer between two faces of one topology (Sumner and Popović 2004).

How each source triangle is turned and stretched by an expression is asked of the target's triangle, in the least
squares of Botsch et al. (2006, "Deformation transfer for detail-preserving surface editing"): the cotangent Laplacian
of the target on the left, divergences of the wanted gradients on the right. One factorisation serves all expressions.

Two things are added. Every vertex is also drawn, weakly, by the source's own displacement at the target's size, which
puts the result where it belongs and lets parts without counterpart follow. And where the source's lids or lips touch,
the target's are made to touch (`likeness.heads.contacts`), by Lagrange multipliers on the same factorisation; lids
stay as far in front of the eyeball as the source's do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu

from likeness.heads.contacts import TOUCH_MM, Contacts
from likeness.heads.surfaces import fit_sphere, similarity
from likeness.meshes import cotangent_laplacian

# Beyond this distance a wanted stretch counts more than the wanted place, mm.
_SCREEN_MM = 20.0
# Lips that stay together on the source move by so little against each other, mm.
_TOGETHER_MM = 0.6
# How nearly contacts are met: a fraction of the mean compliance of the pairs.
_SOFT = 1e-3
# What moves by less stands still, mm.
_STILL_MM = 1e-4
# Lids farther in front of the eyeball than this are free, mm.
_LID_MM = 3.0


@dataclass(frozen=True, eq=False)
class SourceShapes:
    """Expressions of one face: ``neutral`` (N, 3) and ``shapes`` (K, N, 3), displacements in mm.

    ``closes_with`` (K,) is the shape each is meant to be worn with, itself otherwise: mouthClose closes lips that
    jawOpen has opened.
    """

    neutral: Float[np.ndarray, "N 3"]
    shapes: Float[np.ndarray, "K N 3"]
    closes_with: Int[np.ndarray, " K"]


@dataclass(frozen=True, eq=False)
class FaceParts:
    """What of the shared topology touches what: ``contacts``; ``lids`` (2, N) and ``eyeballs`` (2, N), left and right;
    ``face`` (N,), by which the two faces' sizes are compared."""

    triangles: Int[np.ndarray, "T 3"]
    contacts: Contacts
    lids: Bool[np.ndarray, "2 N"]
    eyeballs: Bool[np.ndarray, "2 N"]
    face: Bool[np.ndarray, " N"]


class DeformationTransfer:
    """Prepared for one source and any number of targets."""

    def __init__(self, source: SourceShapes, parts: FaceParts) -> None:
        self.source, self.parts = source, parts

    def onto(self, neutral: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "K N 3"]:
        """The source's shapes on another neutral face of the same topology: displacements in mm."""
        source, triangles = self.source, self.parts.triangles
        face = self.parts.face.astype(float)
        scale, turn, _ = similarity(source.neutral, neutral, face)
        system, weights = self._system(neutral)
        solve = splu(sparse.csc_array(system), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0).solve
        n, k = len(neutral), len(source.shapes)
        corners = neutral[triangles]
        # Edge from corner to next corner carries the cotangent of the angle opposite to it.
        half = np.stack([_half_cotangent(corners, edge) for edge in range(3)], 1)
        wanted = self._divergence(corners, half, turn)
        anchor = scale * np.einsum("ij,kvj->kvi", turn, source.shapes)
        right = wanted + weights[:, None] * anchor
        moved = solve(right.transpose(1, 0, 2).reshape(n, -1)).reshape(n, k, 3).transpose(1, 0, 2)
        moved = self._touching(np.ascontiguousarray(moved), neutral, solve, scale * turn)
        return self._before_eyeballs(moved, neutral, scale)

    def _system(self, neutral: Float[np.ndarray, "N 3"]) -> tuple[sparse.csr_array, Float[np.ndarray, " N"]]:
        """The screened Laplacian, and the weight of each vertex's anchor."""
        tensor = torch.from_numpy(np.ascontiguousarray(self.parts.triangles))
        laplacian = cotangent_laplacian(torch.from_numpy(neutral), tensor)
        index, values = laplacian.indices().numpy(), laplacian.values().numpy()
        n = len(neutral)
        corners = neutral[self.parts.triangles]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
        about = np.bincount(self.parts.triangles.ravel(), np.repeat(area, 3), n)
        # A vertex without area must still be held by something.
        weights = np.maximum(about, 1e-3) / _SCREEN_MM**2
        return sparse.csr_array((values, index), shape=(n, n)) + sparse.diags_array(weights), weights

    def _divergence(
        self, corners: Float[np.ndarray, "T 3 3"], half: Float[np.ndarray, "T 3"], turn: Float[np.ndarray, "3 3"]
    ) -> Float[np.ndarray, "K N 3"]:
        """Divergence, at the target's vertices, of what each source triangle's change does to the target's edges."""
        triangles, n = self.parts.triangles, len(self.source.neutral)
        edges = np.roll(corners, -1, 1) - corners
        # In the source's axes, where the change is known.
        local = (edges @ turn).transpose(0, 2, 1)
        found = np.zeros((len(self.source.shapes), n, 3))
        incidence = _incidence(triangles, half, n)
        for number, (moving, change) in enumerate(self._changes):
            flow = (change @ local[moving]).transpose(0, 2, 1) @ turn.T
            found[number] = incidence[:, _edge_columns(moving)] @ flow.reshape(-1, 3)
        return found

    @cached_property
    def _changes(self) -> list[tuple[Int[np.ndarray, " M"], Float[np.ndarray, "M 3 3"]]]:
        """For each shape the triangles it moves, and their deformation gradients less one."""
        triangles, rest = self.parts.triangles, self.source.neutral[self.parts.triangles]
        inverse = np.linalg.inv(_frames(rest))
        changes = []
        for shape in self.source.shapes:
            moving = np.flatnonzero(np.abs(shape[triangles]).max((1, 2)) > _STILL_MM)
            moved = _frames(rest[moving] + shape[triangles[moving]])
            changes.append((moving, moved @ inverse[moving] - np.eye(3)))
        return changes

    def _touching(
        self, moved: Float[np.ndarray, "K N 3"], neutral: np.ndarray, solve, similar: np.ndarray
    ) -> np.ndarray:
        """With lids and lips together where the source's are."""
        rows = self.parts.contacts.rows(len(neutral))
        reach = solve(rows.T.toarray())
        compliance = rows @ reach
        compliance[np.diag_indices_from(compliance)] += _SOFT * np.trace(compliance) / len(compliance)
        reached = abs(rows)
        rest, rest_source = rows @ neutral, rows @ self.source.neutral
        # Those worn with another shape come last: they close what the others left open.
        order = np.argsort(self.source.closes_with != np.arange(len(moved)), kind="stable")
        for k in order:
            partner = self.source.closes_with[k]
            with_partner = partner != k
            shape = self.source.shapes[k] + (self.source.shapes[partner] if with_partner else 0)
            change = rows @ shape
            gap = np.linalg.norm(rest_source + change, axis=1)
            apart = np.linalg.norm(rest_source, axis=1) > TOUCH_MM
            closed = apart & (gap < TOUCH_MM) & (np.abs(change).max(1) > _STILL_MM)
            together = (
                ~apart
                & (np.linalg.norm(change, axis=1) < _TOGETHER_MM)
                & ((reached @ np.abs(shape)).max(1) > _STILL_MM)
            )
            active = np.flatnonzero(closed | together)
            if not len(active):
                continue
            goal = np.where(closed[:, None], (rest_source + change) @ similar.T - rest, change @ similar.T)
            goal = goal - (rows @ moved[partner] if with_partner else 0)
            missing = (goal - rows @ moved[k])[active]
            moved[k] += reach[:, active] @ np.linalg.solve(compliance[np.ix_(active, active)], missing)
        return moved

    def _before_eyeballs(self, moved: Float[np.ndarray, "K N 3"], neutral: np.ndarray, scale: float) -> np.ndarray:
        """With lids no nearer to the eyeball's surface than the source's, or than they rest."""
        for lids, ball in zip(self.parts.lids, self.parts.eyeballs, strict=True):
            own = np.flatnonzero(lids)
            centre_source, radius_source = fit_sphere(self.source.neutral[ball])
            centre, radius = fit_sphere(neutral[ball])
            resting = np.linalg.norm(neutral[own] - centre, axis=1) - radius
            for k, shape in enumerate(self.source.shapes):
                if np.abs(shape[own]).max() < _STILL_MM:
                    continue
                wanted = np.linalg.norm(self.source.neutral[own] + shape[own] - centre_source, axis=1) - radius_source
                place = neutral[own] + moved[k][own] - centre
                distance = np.linalg.norm(place, axis=1)
                short = np.clip(scale * np.minimum(wanted, _LID_MM) + radius - distance, 0, None)
                # Only what the expression takes is given back: a lid may rest where it likes.
                short = np.minimum(short, np.clip(resting - (distance - radius), 0, None))
                moved[k][own] += place / np.maximum(distance, 1e-6)[:, None] * short[:, None]
        return moved


def _frames(corners: Float[np.ndarray, "T 3 3"]) -> Float[np.ndarray, "T 3 3"]:
    """Columns: two edges and the normal, as long as the root of its area vector (Sumner and Popović, eq. 1)."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(first, second)
    length = np.sqrt(np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))
    return np.stack([first, second, normal / length], -1)


def _half_cotangent(corners: Float[np.ndarray, "T 3 3"], edge: int) -> Float[np.ndarray, " T"]:
    """Half the cotangent of the angle opposite to an edge; zero for a triangle without area."""
    apex = corners[:, (edge + 2) % 3]
    first, second = corners[:, edge] - apex, corners[:, (edge + 1) % 3] - apex
    sine = np.linalg.norm(np.cross(first, second), axis=1)
    return np.where(sine > 0, 0.5 * (first * second).sum(1) / np.where(sine > 0, sine, 1), 0)


def _incidence(triangles: Int[np.ndarray, "T 3"], half: Float[np.ndarray, "T 3"], n: int) -> sparse.csc_array:
    """(N, 3 T): sums at vertices of weighted vectors along the triangles' edges; they leave the edge's first end."""
    columns = np.arange(3 * len(triangles))
    start, end = triangles.ravel(), np.roll(triangles, -1, 1).ravel()
    weights = half.ravel()
    values, rows = np.concatenate([weights, -weights]), np.concatenate([end, start])
    return sparse.csc_array((values, (rows, np.tile(columns, 2))), shape=(n, 3 * len(triangles)))


def _edge_columns(triangles: Int[np.ndarray, " M"]) -> Int[np.ndarray, " 3M"]:
    return (3 * triangles[:, None] + np.arange(3)).ravel()
