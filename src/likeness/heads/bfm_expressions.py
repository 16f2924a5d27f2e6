"""The expression basis of Guo et al. for the Basel model: ``Exp_Pca.bin``, and its deviations, ``std_exp.txt``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from likeness.errors import FileFormatError

# The public file has 79 components.
MAX_COMPONENTS = 1024


def read_expressions(path: str | Path, n_vertices: int, n_components: int) -> Float[np.ndarray, "V 3 E"]:
    """The first components, columns of unit norm, micrometres, float32.

    The file is little-endian: int32 D, float32 mean (3 V), then D runs of float32 (3 V), x y z interleaved. The mean
    is not used: the neutral face stays the Basel mean.
    Raises FileFormatError when its length does not fit ``n_vertices`` or it has fewer components than asked for.
    """
    path = Path(path)
    with path.open("rb") as file:
        header = np.fromfile(file, "<i4", 1)
        count = int(header[0]) if len(header) else -1
        if not 0 < count <= MAX_COMPONENTS or path.stat().st_size != 4 + 12 * n_vertices * (count + 1):
            raise FileFormatError(
                f"{path.name}: its length does not fit {count} components on {n_vertices} vertices. Is it whole, and "
                "does it belong to this model?"
            )
        if count < n_components:
            raise FileFormatError(f"{path.name}: has {count} components, expected at least {n_components}.")
        file.seek(4 + 12 * n_vertices)
        basis = np.fromfile(file, "<f4", n_components * 3 * n_vertices).reshape(n_components, n_vertices, 3)
    if not np.isfinite(basis).all():
        raise FileFormatError(f"{path.name}: holds numbers that are not finite; the file is damaged.")
    return np.ascontiguousarray(basis.transpose(1, 2, 0), np.float32)


def read_deviations(path: str | Path) -> Float[np.ndarray, " D"]:
    """The standard deviations of the components, float64. Raises FileFormatError on anything but positive numbers."""
    path = Path(path)
    if path.stat().st_size > 1 << 20:
        raise FileFormatError(f"{path.name}: far too large for a list of deviations.")
    try:
        deviations = np.array(path.read_text(encoding="ascii").split(), np.float64)
    except ValueError as error:
        raise FileFormatError(f"{path.name}: should hold numbers separated by blanks ({error}).") from error
    if not deviations.size or not (np.isfinite(deviations) & (deviations > 0)).all():
        raise FileFormatError(f"{path.name}: should hold positive numbers separated by blanks.")
    return deviations
