"""Nostrils as deep as people's: MakeHuman's are dents of a millimetre, a nasal vestibule is over a centimetre deep.

A surface that closes the nose draws the whole head backwards when it is laid over a scan that has the hollow, and shows
skin where every photo shows a dark hole. The dent's own few vertices are moved: walls a little, the roof up and back.
"""

import numpy as np

from open_head.source import Array, Index
from open_head.topology import Topology

# A nostril's dent from the nose tip of the mean head, mm: (outwards, up, forwards), and its half axes.
NOSTRIL = np.array([9.9, -2.8, -13.5])
NOSTRIL_RADII = np.array([3.4, 2.0, 4.2])

# Vertices of the dent that stand higher above its middle than this are its roof, mm; the inmost lie this near its axis.
_ROOF = 0.2
_INMOST = 1.1
# How far walls, roof and its inmost vertices move, mm (outwards, up, forwards), and by what they widen about the axis:
# a hollow 9 mm wide, 16 long and 14 high that leans back with the nose.
_WALLS = np.array([-0.3, 3.0, -2.0]), np.array([1.5, 1.0, 1.4])
_VAULT = np.array([-1.5, 8.0, -8.0]), np.array([2.6, 1.0, 4.5])
_INNERMOST = np.array([-1.5, 13.0, -9.0]), np.array([2.0, 1.0, 2.5])


def from_nose(points: Array, nose_tip: Array) -> Array:
    """Mean-head points (..., 3) seen from the nose tip, mm: (outwards from the midline, up, forwards)."""
    return np.concatenate([np.abs(points[..., :1]), points[..., 1:] - nose_tip[1:]], axis=-1)


def from_nostril(points: Array, nose_tip: Array) -> Array:
    """`from_nose`, seen from the middle of the points' own side's dent."""
    return from_nose(points, nose_tip) - NOSTRIL


def in_dent(points: Array, nose_tip: Array) -> np.ndarray:
    """Which (...,) of the mean head's points lie in a dent."""
    return np.linalg.norm(from_nostril(points, nose_tip) / NOSTRIL_RADII, axis=-1) < 1


def nose_tip_of(mean: Array, skin: np.ndarray) -> Array:
    """(3,) the foremost point of the skin."""
    return mean[skin][mean[skin, 2].argmax()]


def deep_nostrils(mean: Array, topology: Topology, dent: np.ndarray, skin: np.ndarray) -> Array:
    """The mean head (V, 3) with hollows in place of the dents, symmetric; ``dent`` and ``skin`` are (V,) masks."""
    place = from_nostril(mean, nose_tip_of(mean, skin))
    roof = dent & (place[:, 1] > _ROOF)
    inmost = roof & (np.hypot(place[:, 0], place[:, 2]) < _INMOST)
    walls = dent & ~roof & _neighbours(topology.quads, roof)
    middle = place[roof | walls].mean(axis=0)
    moved = mean.copy()
    for part, (shift, widening) in ((walls, _WALLS), (roof & ~inmost, _VAULT), (inmost, _INNERMOST)):
        step = shift + (place[part] - middle) * (widening - 1)
        moved[part] += step * np.stack([np.sign(mean[part, 0]), np.ones(part.sum()), np.ones(part.sum())], axis=1)
    return moved


def _neighbours(quads: Index, vertices: np.ndarray) -> np.ndarray:
    """(V,) the vertices that an edge joins to one of these."""
    found = np.zeros(len(vertices), dtype=bool)
    for k in range(4):
        a, b = quads[:, k], quads[:, (k + 1) % 4]
        found[a[vertices[b]]] = True
        found[b[vertices[a]]] = True
    return found & ~vertices
