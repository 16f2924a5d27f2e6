"""How far detections stray from the embedding, landmark by landmark and all together."""

from dataclasses import dataclass

import numpy as np

from likeness.landmarks.conventions import GROUPS

N_MODES = 16
CLIP_MM = 8.0  # a farther stray is an accident of the detector and counts as this much

REGIONS = {
    "lips": (*GROUPS["lips_outer"], *GROUPS["lips_inner"]),
    "eyes": (*GROUPS["left_eye"], *GROUPS["right_eye"]),
    "brows": (*GROUPS["left_brow"], *GROUPS["right_brow"]),
    "irises": (*GROUPS["left_iris"], *GROUPS["right_iris"]),
    "nose": (1, 2, 4, 5, 6, 19, 94, 97, 98, 168, 195, 197, 326, 327, 48, 278, 64, 294, 129, 358),
    "outline": GROUPS["face_oval"],
}


@dataclass(frozen=True)
class Noise:
    """In mm at the face, axes (right, up) of the upright head in the picture, shifts of the whole face taken out.

    `spread` (478,) is the standard deviation along one axis, `covariance` (478, 2, 2) along both. `modes`
    (478, 2, N_MODES) are the directions, scaled to one standard deviation, in which all landmarks stray together, and
    `remainder` (478,) is the standard deviation that is left beside them.
    """

    spread: np.ndarray
    covariance: np.ndarray
    modes: np.ndarray
    remainder: np.ndarray


def landmark_noise(residual: np.ndarray, facing: np.ndarray) -> Noise:
    """Statistics of residuals (N, 478, 2); those of landmarks turned away do not count."""
    aligned = np.stack([_without_shift(r, f) for r, f in zip(residual, facing, strict=True)])
    clipped = aligned * np.minimum(1, CLIP_MM / np.maximum(np.linalg.norm(aligned, axis=2, keepdims=True), 1e-9))
    weight = facing[..., None].astype(float)
    count = weight.sum(axis=0)
    covariance = np.einsum("nla,nlb->lab", clipped * weight, clipped) / count[:, :, None]
    spread = np.sqrt(np.trace(covariance, axis1=1, axis2=2) / 2)
    filled = (clipped * weight).reshape(len(clipped), -1)
    _, singular, vt = np.linalg.svd(filled / np.sqrt(len(filled)), full_matrices=False)
    modes = (vt[:N_MODES] * singular[:N_MODES, None]).T.reshape(len(spread), 2, N_MODES)
    left = (covariance[:, [0, 1], [0, 1]] - (modes**2).sum(axis=2)).clip(0.01)
    return Noise(spread, covariance, modes, np.sqrt(left.mean(axis=1)))


def report(spread: np.ndarray) -> str:
    """One line per region: median and largest spread."""
    rows = [f"all       median {np.median(spread):.2f} mm, largest {spread.max():.2f} mm"]
    for name, members in REGIONS.items():
        chosen = spread[list(members)]
        rows.append(f"{name:9s} median {np.median(chosen):.2f} mm, largest {chosen.max():.2f} mm")
    return "\n".join(rows)


def _without_shift(residual: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Take out the mean shift; a fit's camera takes it up, and it says nothing about the face."""
    return residual - np.median(residual[facing], axis=0)
