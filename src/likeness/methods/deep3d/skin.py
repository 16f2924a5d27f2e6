"""Which pixels are skin: two mixtures of Gaussians over Y, Cb, Cr, as Deep3D's training data was masked.

The tables and their determinants are the original's; the determinants are used as tabulated.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

_PRIOR = 0.8
# Weight, mean (Y, Cb, Cr), determinant, inverse covariance (xx, xy, xz, yy, yz, zz).
_SKIN = (
    (0.24063933, (113.71862, 103.39613, 164.08226), 5692842.5,
     (0.0019472069, 0.0020450759, -0.00060243998, 0.017700525, 0.0051420014, 0.0081308950)),
    (0.16365987, (150.19858, 105.18467, 155.51428), 5851930.5,
     (0.0027110141, 0.0011036990, 0.0023122299, 0.010707724, 0.010742856, 0.017481629)),
    (0.26034665, (183.92976, 107.62468, 152.71820), 2329131.0,
     (0.0048026871, 0.00022935172, 0.0077668377, 0.011729696, 0.0081661865, 0.025374353)),
    (0.33535415, (114.90524, 113.59782, 151.38217), 1585971.0,
     (0.0011989699, 0.0022453172, -0.0010748957, 0.047758564, 0.020332102, 0.024502251)),
)  # fmt: skip
_OTHER = (
    (0.12791070, (99.200851, 112.07533, 140.20602), 458703648.0,
     (0.00085371657, 0.00071197288, 0.00023958916, 0.0025935620, 0.00076557708, 0.0015042332)),
    (0.31130761, (110.91392, 125.52969, 130.19237), 6466488.0,
     (0.00024650150, 0.00045542428, 0.00015019422, 0.026412144, 0.018419769, 0.037497383)),
    (0.34245777, (129.75864, 129.96107, 126.96808), 90611376.0,
     (0.00037054974, 0.00038146760, 0.00040408765, 0.0085505722, 0.0079136286, 0.010982352)),
    (0.21832393, (112.29587, 128.85121, 129.05431), 133097.63,
     (0.00013709733, 0.00051228428, 0.00012777430, 0.28237113, 0.10528370, 0.23468947)),
)  # fmt: skip
_TO_YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255


def skin_mask(rgb: Float[np.ndarray, "H W 3"] | UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    """Probability of skin of each pixel of a picture of 0 to 255, as a byte."""
    ycbcr = rgb_to_ycbcr(rgb)
    skin, other = skin_likelihood(ycbcr), other_likelihood(ycbcr)
    posterior = _PRIOR * skin / (_PRIOR * skin + (1 - _PRIOR) * other)
    return np.round(255 * posterior).astype(np.uint8)


def rgb_to_ycbcr(rgb: np.ndarray) -> Float[np.ndarray, "*N 3"]:
    """RGB of 0 to 255 → Y, Cb, Cr in ITU-R BT.601's narrow ranges."""
    return rgb.astype(np.float64) @ _TO_YCBCR.T + [16.0, 128.0, 128.0]


def skin_likelihood(ycbcr: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N"]:
    return _mixture(ycbcr, _SKIN)


def other_likelihood(ycbcr: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N"]:
    return _mixture(ycbcr, _OTHER)


def _mixture(points: np.ndarray, components: tuple) -> np.ndarray:
    density = np.zeros(points.shape[:-1])
    for weight, mean, determinant, (xx, xy, xz, yy, yz, zz) in components:
        inverse = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        offset = points - np.array(mean)
        exponent = np.einsum("...i,ij,...j->...", offset, inverse, offset)
        density += weight * np.exp(-0.5 * exponent) / ((2 * np.pi) ** 1.5 * np.sqrt(determinant))
    return density
