"""The Basel Face Models of 2017 and 2019, ``.h5`` files in Statismo's layout.

Groups ``shape``, ``expression`` and ``color``, each with ``model/{mean, pcaBasis, pcaVariance}`` and
``representer/{points, cells}``; millimetres, colours in [0, 1], columns of unit norm with variances beside them. Named
landmarks are JSON under ``metadata/landmarks/json``.

Gerig et al., *Morphable Face Models – An Open Framework*, 2018.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from likeness.errors import AssetError, FileFormatError
from likeness.heads.bfm_mat import numbers
from likeness.heads.bfm_model import BfmModel, wound_outward

MAX_NUMBERS = 1 << 27
_GROUPS = ("shape", "expression", "color")
# Those of the file's named landmarks that are iBUG points; left and right are the subject's.
IBUG68_OF_NAMES = {
    "center.chin.tip": 8,
    "center.nose.tip": 30,
    "right.eye.corner_outer": 36,
    "right.eye.corner_inner": 39,
    "left.eye.corner_inner": 42,
    "left.eye.corner_outer": 45,
    "right.lips.corner": 48,
    "center.lips.upper.outer": 51,
    "left.lips.corner": 54,
    "center.lips.lower.outer": 57,
    "center.lips.upper.inner": 62,
    "center.lips.lower.inner": 66,
}


def read_h5(path: str | Path) -> BfmModel:
    """Read a 2017 or 2019 Basel model: all its components, in millimetres.

    Raises FileFormatError when it cannot be read or its parts do not fit, AssetError when h5py is not installed.
    """
    path = Path(path)
    with _opened(path) as file:
        means = {group: _vectors(path, file, group)[..., 0] for group in _GROUPS}
        bases = {group: _basis(path, file, group) for group in _GROUPS}
        triangles = _triangles(path, file, len(means["shape"]))
        named = _landmarks(file)
    for group in _GROUPS:
        if len(means[group]) != len(means["shape"]) or len(bases[group]) != len(means["shape"]):
            raise FileFormatError(f"{path.name}: '{group}' has another number of vertices than 'shape'.")
    # The neutral face is the mean shape with the mean expression, which this model does not put at zero.
    mean = means["shape"] + means["expression"]
    return BfmModel(
        name="bfm_h5",
        mean=mean,
        identity_basis=bases["shape"],
        expression_basis=bases["expression"],
        mean_albedo=means["color"] * np.float32(255),
        albedo_basis=bases["color"] * np.float32(255),
        triangles=wound_outward(mean, triangles),
        millimetres=1.0,
        anchors={
            IBUG68_OF_NAMES[name]: int(np.argmin(((means["shape"] - point) ** 2).sum(1)))
            for name, point in named.items()
            if name in IBUG68_OF_NAMES
        },
    )


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise AssetError(f"{path.name}: reading it needs h5py; run `pip install likeness[bfm]`.") from error
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{path.name}: not a readable HDF5 file ({error}). Was it cut short?") from error


def _read(path: Path, file: Any, name: str) -> np.ndarray:
    """A dataset by its path inside the file, its size bounded, links to other files not followed."""
    import h5py

    try:
        dataset = file[name]
        own = dataset.file.filename == file.filename
    except (KeyError, OSError, ValueError) as error:
        raise FileFormatError(f"{path.name}: lacks '{name}'; expected a 2017 or 2019 Basel model.") from error
    if not isinstance(dataset, h5py.Dataset) or not own or math.prod(dataset.shape) > MAX_NUMBERS or dataset.external:
        raise FileFormatError(f"{path.name}: '{name}' is no array of a sensible size in this file.")
    try:
        return numbers(path, name, dataset[()])
    except OSError as error:
        raise FileFormatError(f"{path.name}: '{name}' cannot be read ({error}). Was it cut short?") from error


def _vectors(path: Path, file: Any, group: str, name: str = "mean") -> Float[np.ndarray, "V 3 K"]:
    array = _read(path, file, f"{group}/model/{name}").astype(np.float32)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) % 3 or not len(array):
        raise FileFormatError(
            f"{path.name}: '{group}/model/{name}' has shape {array.shape}, expected (3 · vertices, n)."
        )
    return array.reshape(-1, 3, array.shape[1])


def _basis(path: Path, file: Any, group: str) -> Float[np.ndarray, "V 3 K"]:
    variance = _read(path, file, f"{group}/model/pcaVariance").reshape(-1)
    basis = _vectors(path, file, group, "pcaBasis")
    if basis.shape[2] != len(variance) or (variance < 0).any():
        raise FileFormatError(
            f"{path.name}: '{group}' has {basis.shape[2]} components and {len(variance)} variances, which must be the "
            "same number and not negative."
        )
    return basis * np.sqrt(variance).astype(np.float32)


def _triangles(path: Path, file: Any, n_vertices: int) -> Int[np.ndarray, "T 3"]:
    cells = _read(path, file, "shape/representer/cells").astype(np.int64)
    cells = cells.T if cells.ndim == 2 and len(cells) == 3 else cells
    if cells.ndim != 2 or cells.shape[1] != 3 or not len(cells) or not 0 <= cells.min() <= cells.max() < n_vertices:
        raise FileFormatError(f"{path.name}: 'shape/representer/cells' are no triangles of its {n_vertices} vertices.")
    return np.ascontiguousarray(cells)


def _landmarks(file: Any) -> dict[str, Float[np.ndarray, "3"]]:
    """Named points, mm. A file without them, or with others than expected, has none."""
    try:
        text = file["metadata/landmarks/json"][()]
        records = json.loads(text.item() if isinstance(text, np.ndarray) else text)
        return {str(record["id"]): np.array(record["coordinates"], np.float64).reshape(3) for record in records}
    except (KeyError, TypeError, ValueError, OSError):
        return {}
