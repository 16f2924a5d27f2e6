"""The landmark conventions: names, sizes, which index means what, and how to get from one to another.

*Left* and *right* in the names of groups are the subject's, as in ARKit: the subject's left eye is on the right of a
frontal photo.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from likeness.errors import InputError

Convention = Literal["mediapipe478", "ibug68", "five"]

N_POINTS: dict[Convention, int] = {"mediapipe478": 478, "ibug68": 68, "five": 5}

# Groups of mediapipe478 (MediaPipe's face mesh topology). Closed curves run once around; mirrored pairs of groups
# correspond point by point.
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
RIGHT_IRIS = (468, 469, 470, 471, 472)  # the centre, then around
LEFT_IRIS = (473, 476, 475, 474, 477)
# Lips: from the subject's right corner along the upper edge to the left corner and back along the lower edge.
LIPS_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
LIPS_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
# From the middle of the forehead over the subject's left cheek and the chin (152), and back.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
GROUPS: dict[str, tuple[int, ...]] = {
    "right_eye": RIGHT_EYE,
    "left_eye": LEFT_EYE,
    "right_brow": RIGHT_BROW,
    "left_brow": LEFT_BROW,
    "right_iris": RIGHT_IRIS,
    "left_iris": LEFT_IRIS,
    "lips_outer": LIPS_OUTER,
    "lips_inner": LIPS_INNER,
    "face_oval": FACE_OVAL,
}
MIDLINE = (
    *(0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19),
    *(94, 151, 152, 164, 168, 175, 195, 197, 199, 200),
)


def _mediapipe_mirror() -> np.ndarray:
    """The topology numbers the subject's right half first (to 247), the left half in the same order after it."""
    mirror = np.arange(478)
    right = np.setdiff1d(np.arange(248), MIDLINE)
    mirror[right] = np.arange(248, 468)
    mirror[248:468] = right
    mirror[list(RIGHT_IRIS)] = LEFT_IRIS
    mirror[list(LEFT_IRIS)] = RIGHT_IRIS
    return mirror


def _ibug_mirror() -> np.ndarray:
    runs = (range(17), range(17, 27), [27], [28], [29], [30], range(31, 36), range(48, 55), range(60, 65))
    mirror = np.arange(68)
    for run in runs:
        mirror[list(run)] = list(run)[::-1]
    mirror[[36, 37, 38, 39, 40, 41]] = [45, 44, 43, 42, 47, 46]
    mirror[[42, 43, 44, 45, 46, 47]] = [39, 38, 37, 36, 41, 40]
    mirror[55:60] = np.arange(59, 54, -1)
    mirror[65:68] = np.arange(67, 64, -1)
    return mirror


# points[MIRROR[convention]], with x negated, are the landmarks of the mirrored face.
MIRROR: dict[Convention, np.ndarray] = {
    "mediapipe478": _mediapipe_mirror(),
    "ibug68": _ibug_mirror(),
    "five": np.array([1, 0, 2, 4, 3]),
}

# The mediapipe478 point nearest to each ibug68 point, symmetric; found on rendered heads with known ibug68 points. The
# 17 of the jaw are approximate: iBUG's slide along the silhouette when the head turns, MediaPipe's keep to the skin.
MEDIAPIPE_TO_IBUG68 = np.array(
    [
        *(162, 234, 93, 132, 172, 150, 149, 148, 152, 377, 378, 379, 397, 361, 323, 454, 389),  # jaw
        *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
        *(168, 197, 195, 4, 98, 97, 2, 326, 327),  # nose
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
        *(61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91),  # outer lips
        *(78, 81, 13, 311, 308, 402, 14, 178),  # inner lips
    ]
)


def to_ibug68(points: Float[np.ndarray, "... N D"], convention: Convention) -> Float[np.ndarray, "... 68 D"]:
    """Landmarks in iBUG's order; those of the jaw are approximate when they come from mediapipe478.

    Raises `InputError` from "five", which does not hold them.
    """
    check_points(points, convention)
    if convention == "five":
        raise InputError("Five points do not determine the 68 of iBUG; give landmarks of mediapipe478 or ibug68.")
    return points[..., MEDIAPIPE_TO_IBUG68, :] if convention == "mediapipe478" else points


def to_five(points: Float[np.ndarray, "... N D"], convention: Convention) -> Float[np.ndarray, "... 5 D"]:
    """Eye centres (means of iBUG's six points), nose tip and mouth corners; image-left first in a frontal photo."""
    check_points(points, convention)
    if convention == "five":
        return points
    ibug = to_ibug68(points, convention)
    eyes = [ibug[..., begin : begin + 6, :].mean(axis=-2) for begin in (36, 42)]
    return np.stack([*eyes, ibug[..., 30, :], ibug[..., 48, :], ibug[..., 54, :]], axis=-2)


def check_points(points: np.ndarray, convention: str) -> None:
    """Raise `InputError` unless `points` is `(..., N, 2 or 3)` with the N of the convention."""
    if convention not in N_POINTS:
        raise InputError(f"The landmark convention is {convention!r}; expected one of {', '.join(N_POINTS)}.")
    n_points = N_POINTS[convention]
    shape = np.shape(points)
    if len(shape) < 2 or shape[-2] != n_points or shape[-1] not in (2, 3):
        raise InputError(
            f"The landmarks have shape {shape}; {convention} needs (…, {n_points}, 2) or (…, {n_points}, 3)."
        )
