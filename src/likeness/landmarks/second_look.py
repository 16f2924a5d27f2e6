"""Does the landmark network say the same when it looks again, a little differently?

Where it sees the face, it does. Where it guesses (behind a hand, in a blur, beyond the picture's border) its answer
hangs on the window, and its own face presence does not tell: behind a medical mask and upside down it is still 1.00.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8

from likeness.landmarks.face_mesh import fit_mesh, window_of_points
from likeness.landmarks.sessions import Device

# A quarter wider than the network's usual window, and turned by 11°.
_WIDER, _TURNED = 1.25, 0.2


def disagreement(
    image: UInt8[np.ndarray, "H W 3"], points: Float[np.ndarray, "478 D"], *, device: Device = "auto"
) -> float:
    """Mean distance of MediaPipe's 478 ``points`` from what the network sees in another window, in parts of the face
    box's side (the geometric mean of its width and height).

    About 0.02 for a clear photo, 0.06 and more where the points are not to be trusted.
    """
    window = window_of_points(points)
    other = replace(window, side=_WIDER * window.side, angle=window.angle + _TURNED)
    again, _ = fit_mesh(image, [other], device=device)
    distance = np.linalg.norm(again[0, :, :2] - points[:, :2], axis=1).mean()
    return float(distance / max(np.sqrt(np.prod(np.ptp(points[:, :2], axis=0))), 1e-6))
