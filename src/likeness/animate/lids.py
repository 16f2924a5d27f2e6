"""Lids seen from aside: a detector takes an eye that is turned away for half shut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.ndimage import median_filter

# Of a pair that differs for longer than this, the eye that is more open is believed; a wink is over sooner.
WINK_S = 1.6
# An eye that usually looks more shut than 1 less this has too little range left to read a blink from.
_LEAST = 0.1
_LIDS = ("eyeBlink", "eyeSquint", "eyeWide")


def lid_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Where each left lid's shape and its namesake on the right are."""
    left = [name for name in names if name.startswith(_LIDS) and name.endswith("Left")]
    return [(names.index(name), names.index(f"{name[: -len('Left')]}Right")) for name in left]


def even_lids(values: Float[np.ndarray, "F N"], names: Sequence[str], *, fps: float) -> Float[np.ndarray, "F N"]:
    """Weights (F, N) without what stays uneven between the two eyes for longer than a wink.

    The running median of the difference is taken off the larger weight of the pair where that is usual, and less and
    less up to 1, which stays 1, so that blinks and winks are as deep as before.
    """
    evened = values.copy()
    width = 2 * (round(WINK_S * fps) // 2) + 1
    for left, right in lid_pairs(names):
        lasting = median_filter(values[:, left] - values[:, right], size=width, mode="nearest")
        for row, excess in ((left, lasting.clip(0)), (right, (-lasting).clip(0))):
            usual = median_filter(values[:, row], size=width, mode="nearest")
            share = (1 - values[:, row]) / (1 - usual).clip(_LEAST)
            evened[:, row] -= excess * share.clip(0, 1)
    return np.maximum(evened, 0)
