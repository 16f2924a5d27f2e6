"""A UV chart for face models that come without one: the face unrolled from a cylinder about the head's axis."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

# Empty rim on every side, so that filtering a texture never reaches over its edge.
_MARGIN = 0.02
# The cylinder's axis lies this far behind the face's centroid, in widths of the face: about the middle of a head.
_AXIS_BEHIND = 0.35


def cylindrical_uv(mean: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 2"]:
    """(u, v) in [0, 1]: u grows with the angle towards the subject's left, v with height.

    In any unit; +x to the subject's left, +y up, +z out of the face. Surfaces that the cylinder's axis sees one
    behind the other (nostrils) share texels.
    """
    points = mean.astype(np.float64) - mean.mean(0, dtype=np.float64)
    axis = points[:, 2].min() - _AXIS_BEHIND * np.ptp(points[:, 0])
    angle = np.arctan2(points[:, 0], points[:, 2] - axis)
    chart = np.stack([angle, points[:, 1]], 1)
    low, span = chart.min(0), np.ptp(chart, axis=0)
    return (_MARGIN + (1 - 2 * _MARGIN) * (chart - low) / span).astype(np.float32)
