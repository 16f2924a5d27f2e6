"""The Basel model as face3d's ``generate.m`` writes it: the 53,215-vertex face with a UV chart.

Five files in one folder: ``BFM.mat`` (struct ``model``), ``BFM_info.mat``, ``BFM_UV.mat``, and the expression basis of
Guo et al., ``Exp_Pca.bin`` with ``std_exp.txt``. Micrometres; indices are 1-based in the files and 0-based here.

INORig's fork of face3d leaves the expression mean apart, while face3d itself adds ``shapeMU`` to it; here it is
dropped, so that the neutral face is the Basel mean, as in Deep3D and INORig.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from likeness.errors import FileFormatError
from likeness.heads.bfm_expressions import read_deviations, read_expressions
from likeness.heads.bfm_mat import indices, numbers, read_mat, read_struct
from likeness.heads.bfm_model import BfmModel, wound_outward

N_IDENTITY = 80
N_EXPRESSION = 64
FILES = ("BFM.mat", "BFM_info.mat", "BFM_UV.mat", "Exp_Pca.bin", "std_exp.txt")
_MODEL_FIELDS = ("shapeMU", "shapePC", "shapeEV", "texMU", "tri", "kpt_ind")


@dataclass(frozen=True, eq=False)
class Face3dModel:
    """The arrays as the files have them, float32 (the chart in double), micrometres.

    The bases have columns of unit norm; a coefficient of 1 times its deviation is one standard deviation.
    ``triangles`` keep the winding of the file, whose normals point into the head. ``albedo`` is RGB, 0 to 255.
    ``regions`` (4, V) are the file's nose, eyes, mouth and rest.
    """

    mean: Float[np.ndarray, "V 3"]
    shape_basis: Float[np.ndarray, "V 3 80"]
    shape_deviation: Float[np.ndarray, " 80"]
    expression_basis: Float[np.ndarray, "V 3 64"]
    expression_deviation: Float[np.ndarray, " 64"]
    albedo: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "T 3"]
    landmarks: Int[np.ndarray, " 68"]
    uv: Float[np.ndarray, "V 2"]
    regions: Int[np.ndarray, "4 V"]

    def model(self) -> BfmModel:
        """The same numbers as every other Basel model: bases per standard deviation, triangles wound outward."""
        names = ("nose", "eyes", "mouth", "rest")
        return BfmModel(
            name="bfm_full",
            mean=self.mean,
            identity_basis=self.shape_basis * self.shape_deviation,
            expression_basis=self.expression_basis * self.expression_deviation,
            mean_albedo=self.albedo,
            albedo_basis=np.zeros((len(self.mean), 3, 0), np.float32),
            triangles=wound_outward(self.mean, self.triangles),
            millimetres=1e-3,
            landmarks=self.landmarks,
            uv=self.uv.astype(np.float32),
            regions={name: row.astype(bool) for name, row in zip(names, self.regions, strict=True)},
        )


def read_face3d(folder: str | Path) -> Face3dModel:
    """Read the five files of a folder (or of its subfolder ``Out``).

    Raises FileFormatError when one is missing, unreadable or does not fit the others.
    """
    folder = Path(folder)
    folder = folder if (folder / "BFM.mat").is_file() else folder / "Out"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise FileFormatError(f"{folder.parent}: lacks {', '.join(missing)}, which face3d's generate.m makes.")
    return read_face3d_files({name: folder / name for name in FILES})


def read_face3d_files(paths: dict[str, Path]) -> Face3dModel:
    """Read the five files, each given by its path under its own name (`FILES`). Raises FileFormatError."""
    path = paths["BFM.mat"]
    fields = read_struct(path, "model", _MODEL_FIELDS)
    mean = _vectors(path, "shapeMU", fields["shapeMU"])[..., 0]
    n_vertices = len(mean)
    landmarks = indices(path, "kpt_ind", fields["kpt_ind"].reshape(-1), n_vertices)
    if len(landmarks) != 68:
        raise FileFormatError(f"{path.name}: 'kpt_ind' holds {len(landmarks)} landmarks, expected 68.")
    expressions = read_expressions(paths["Exp_Pca.bin"], n_vertices, N_EXPRESSION)
    deviations = read_deviations(paths["std_exp.txt"])[:N_EXPRESSION]
    basis = _vectors(path, "shapePC", fields["shapePC"])[..., :N_IDENTITY]
    return Face3dModel(
        mean=mean,
        shape_basis=basis,
        shape_deviation=fields["shapeEV"].reshape(-1)[:N_IDENTITY].astype(np.float32),
        expression_basis=expressions,
        expression_deviation=deviations.astype(np.float32),
        albedo=_vectors(path, "texMU", fields["texMU"])[..., 0],
        triangles=indices(path, "tri", fields["tri"].T, n_vertices),
        landmarks=landmarks,
        uv=_uv(paths["BFM_UV.mat"], n_vertices),
        regions=_regions(paths["BFM_info.mat"], n_vertices),
    )


def _vectors(path: Path, name: str, array: np.ndarray) -> Float[np.ndarray, "V 3 K"]:
    """(3 V, K) with x, y, z of a vertex in consecutive rows → (V, 3, K) float32."""
    if array.ndim != 2 or len(array) % 3:
        raise FileFormatError(f"{path.name}: '{name}' has shape {array.shape}, expected (3 · vertices, n).")
    return array.astype(np.float32).reshape(-1, 3, array.shape[1])


def _uv(path: Path, n_vertices: int) -> Float[np.ndarray, "V 2"]:
    uv = numbers(path, "UV", read_mat(path, ["UV"])["UV"])
    if uv.shape != (n_vertices, 2):
        raise FileFormatError(f"{path.name}: 'UV' has shape {uv.shape}, expected ({n_vertices}, 2) like BFM.mat.")
    return uv.astype(np.float64)


def _regions(path: Path, n_vertices: int) -> Int[np.ndarray, "4 V"]:
    regions = read_struct(path, "model_info", ("segbin",))["segbin"]
    if regions.shape != (4, n_vertices):
        raise FileFormatError(f"{path.name}: 'segbin' has shape {regions.shape}, expected (4, {n_vertices}).")
    return regions.astype(np.uint8)
