"""The measured landmarks as a file, and as tensors of the baked head."""

import hashlib
from pathlib import Path

import numpy as np

from likeness.landmarks.conventions import GROUPS, MEDIAPIPE_TO_IBUG68
from open_head.outline import outline_lines

LANDMARKS = Path(__file__).parent / "landmarks.npz"
FIELDS = ("triangle", "barycentric", "spread", "covariance", "modes", "remainder")


def write_landmarks(path: Path, placed, noise, triangles: np.ndarray) -> None:
    """Rounded to far below what is measured, with a checksum of the triangles that the numbers refer to."""
    np.savez_compressed(
        path,
        mesh=_checksum(triangles),
        triangle=placed.triangle.astype(np.int32),
        barycentric=_rounded_weights(placed.barycentric),
        spread=noise.spread.round(3).astype(np.float32),
        covariance=noise.covariance.round(3).astype(np.float32),
        modes=noise.modes.round(3).astype(np.float32),
        remainder=noise.remainder.round(3).astype(np.float32),
    )


def landmark_tensors(path: Path, mean: np.ndarray, triangles: np.ndarray, skin: np.ndarray) -> dict[str, np.ndarray]:
    """Embeddings of `mediapipe478` and `ibug68`, their noise, and the lines of their outlines.

    `skin` (T,) says which triangles the outline may slide over. Raises ValueError if the file was measured on another
    mesh.
    """
    with np.load(path) as file:
        if str(file["mesh"]) != _checksum(triangles):
            raise ValueError(f"{path} was measured on another mesh; run tools/measure_landmarks.py again")
        measured = {name: file[name] for name in FIELDS}
    tensors = {}
    for convention, members in (("mediapipe478", np.arange(478)), ("ibug68", MEDIAPIPE_TO_IBUG68)):
        for name in FIELDS:
            tensors[f"landmarks/{convention}/{name}"] = measured[name][members]
    outlines = {"mediapipe478": np.array(GROUPS["face_oval"]), "ibug68": np.arange(17)}
    for convention, chosen in outlines.items():
        triangle = tensors[f"landmarks/{convention}/triangle"][chosen]
        weights = tensors[f"landmarks/{convention}/barycentric"][chosen].astype(np.float64)
        points = np.einsum("lk,lkc->lc", weights, mean[triangles[triangle]])
        rows, line_weights = outline_lines(mean, triangles, skin, points)
        tensors |= {
            f"contour/{convention}/landmark": chosen.astype(np.int32),
            f"contour/{convention}/triangle": rows.astype(np.int32),
            f"contour/{convention}/barycentric": _rounded_weights(line_weights),
        }
    return tensors


def _rounded_weights(weights: np.ndarray) -> np.ndarray:
    """To 1e-4 (0.001 mm on the face), the last one so that they sum to one."""
    rounded = weights.round(4)
    rounded[..., 2] = (1 - rounded[..., 0] - rounded[..., 1]).round(4)
    return rounded.astype(np.float32)


def _checksum(triangles: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(triangles, dtype="<i4").tobytes()).hexdigest()[:16]
