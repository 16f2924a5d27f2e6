"""The deforming maps of FaceScape's rig network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from likeness.errors import AssetError, LikenessError
from likeness.files.numpy_files import load_npz
from likeness.heads.facescape_expressions import KEY_EXPRESSIONS

_MAX_BYTES = 1 << 30


def read_deforming_maps(path: Path) -> Float[np.ndarray, "20 3 H W"]:
    """``posmaps.npz``: twenty maps of three channels, one after another under ``arr_0``; the same for everybody.

    Raises AssetError.
    """
    try:
        maps = load_npz(path, ["arr_0"], max_bytes=_MAX_BYTES).get("arr_0")
    except LikenessError as error:
        raise AssetError(str(error)) from error
    n_keys = len(KEY_EXPRESSIONS)
    if maps is None or maps.ndim != 3 or maps.shape[0] != 3 * n_keys or maps.dtype.kind not in "fiu":
        found = "nothing under 'arr_0'" if maps is None else f"{maps.dtype} of shape {maps.shape}"
        raise AssetError(f"{path}: holds {found}; expected {3 * n_keys} maps (three channels for each key expression).")
    if not np.isfinite(maps).all():
        raise AssetError(f"{path}: holds numbers that are not finite; take the file from FaceScape's release again.")
    return maps.astype(np.float32).reshape(n_keys, 3, *maps.shape[1:])
