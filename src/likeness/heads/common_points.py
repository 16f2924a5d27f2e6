"""Points that all heads share, by one numbering: the open head's vertices, and how much each matters to an expression.

Displacements of any two heads are compared at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from likeness.heads.contacts import open_contacts
from likeness.heads.open_head import load_open_head
from likeness.heads.registration import Registration
from likeness.heads.surfaces import Template

# How much more a square millimetre counts than one of the cheeks. Lids and lips are small, and everybody looks there.
_EMPHASIS = {
    "eyelid_upper_left": 8.0, "eyelid_upper_right": 8.0, "eyelid_lower_left": 8.0, "eyelid_lower_right": 8.0,
    "lip_upper": 6.0, "lip_lower": 6.0, "brow_left": 3.0, "brow_right": 3.0, "nose": 1.5,
    "ears": 0.05, "scalp": 0.05, "neck": 0.1,
}  # fmt: skip


# What the heights of the openings between lids and between lips weigh together, beside the points' one. Two heads'
# shapes never agree everywhere; without these, a blink that fits the lids' skin best leaves the eyes half open.
_OPENINGS = 1.0
# Lids that meet from nearer than this say little of how far an eye is open, mm.
_LEAST_OPENING_MM = 4.0


@dataclass(frozen=True, eq=False)
class CommonPoints:
    """The M common points that a head has.

    ``chosen`` (M,) are their numbers, the open head's vertices; ``weights`` (M,) add up to one. ``openings`` (P, 3N)
    takes the heights of P openings between lids and lips, weighted, from values at the open head's vertices, one
    coordinate after the other.
    """

    chosen: Int[np.ndarray, " M"]
    weights: Float[np.ndarray, " M"]
    openings: sparse.csr_array
    registration: Registration
    triangles: Int[np.ndarray, "T 3"]

    def sampled(self, fields: Float[np.ndarray, "*B V 3"]) -> Float[np.ndarray, "*B M 3"]:
        """Values given at the head's vertices, at the points."""
        return self.registration.open_to_head[self.chosen].of(fields, self.triangles)

    def features(self, fields: Float[np.ndarray, "K V 3"]) -> Float[np.ndarray, "K 3M+P"]:
        """What is compared of displacements given at the head's vertices: weighted so that squares just add up, mm²."""
        everywhere = self.registration.open_to_head.of(fields.astype(np.float64), self.triangles)
        return self.features_of_open(everywhere)

    def features_of_open(self, fields: Float[np.ndarray, "K N 3"]) -> Float[np.ndarray, "K 3M+P"]:
        """The same of displacements given at all of the open head's vertices."""
        points = fields[:, self.chosen] * np.sqrt(self.weights)[:, None]
        heights = self.openings @ fields.transpose(2, 1, 0).reshape(-1, len(fields))
        return np.concatenate([points.reshape(len(fields), -1), heights.T], 1)


def common_points(registration: Registration, triangles: Int[np.ndarray, "T 3"]) -> CommonPoints:
    """Those of a registered head that have skin on it, and the openings both of whose sides have."""
    weights = importance() * registration.open_covered
    chosen = np.flatnonzero(weights > 0)
    openings = _openings(registration)
    return CommonPoints(chosen, weights[chosen] / weights[chosen].sum(), openings, registration, triangles)


def _openings(registration: Registration) -> sparse.csr_array:
    """Rows of the openings both of whose sides the head has: along the resting gap for lids, upward for lips."""
    contacts = open_contacts()
    rows = contacts.rows(len(registration.template))
    both = np.asarray(abs(rows) @ (~registration.open_covered).astype(float)) < 1e-9
    lips = load_open_head().topology.region("lips")[contacts.upper]
    gap = rows @ registration.template
    apart = np.linalg.norm(gap, axis=1)
    kept = both & (lips | (apart > _LEAST_OPENING_MM))
    upward = np.where(lips[:, None], [0.0, 1.0, 0.0], gap / np.maximum(apart, 1e-6)[:, None])
    n_of_kind = np.where(lips, (kept & lips).sum(), (kept & ~lips).sum())
    share = np.sqrt(_OPENINGS / 2 / np.maximum(n_of_kind, 1))
    weighted = [sparse.diags_array(share * upward[:, axis]) @ rows for axis in range(3)]
    return sparse.csr_array(sparse.hstack(weighted))[kept]


@cache
def importance() -> Float[np.ndarray, " N"]:
    """The weight of each of the open head's vertices: its share of the skin, times the emphasis of its region."""
    template, regions = Template.of_open_head(), load_open_head().topology.regions
    corners = template.vertices[template.triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    weights = np.bincount(template.triangles.ravel(), np.repeat(area, 3), len(template.vertices))
    for name, factor in _EMPHASIS.items():
        weights[regions[name]] *= factor
    weights[template.hidden | template.loose | template.eyeball] = 0
    return weights
