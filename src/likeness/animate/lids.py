"""Lids seen from aside: a detector takes an eye that is turned away for half shut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.ndimage import median_filter

# Of a pair that differs for longer than this, the eye that is more open is believed; a wink is over sooner.
WINK_S = 1.6
# A difference beyond this leaves too little to read a blink from.
_MOST = 0.8
_LIDS = ("eyeBlink", "eyeSquint", "eyeWide")


def lid_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Where each left lid's shape and its namesake on the right are."""
    left = [name for name in names if name.startswith(_LIDS) and name.endswith("Left")]
    return [(names.index(name), names.index(f"{name[: -len('Left')]}Right")) for name in left]


def even_lids(values: Float[np.ndarray, "F N"], names: Sequence[str], *, fps: float) -> Float[np.ndarray, "F N"]:
    """Weights (F, N) without what stays uneven between the two eyes for longer than a wink.

    The running median of the difference is where the larger weight of the pair begins; 1 stays 1, so that blinks and
    winks are as deep as before.
    """
    evened = values.copy()
    width = 2 * (round(WINK_S * fps) // 2) + 1
    for left, right in lid_pairs(names):
        lasting = median_filter(values[:, left] - values[:, right], size=width, mode="nearest")
        for row, begins in ((left, lasting.clip(0, _MOST)), (right, (-lasting).clip(0, _MOST))):
            evened[:, row] = (evened[:, row] - begins) / (1 - begins)
    return np.maximum(evened, 0)
