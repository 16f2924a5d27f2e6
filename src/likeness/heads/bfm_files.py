"""The front face of the Basel Face Model 2009 that Deep3D works on: 35,709 vertices, decimetres.

Either assembled from the raw official files, or read from the ``BFM_model_front.mat`` that Deep3D's own scripts make of
them. Assembly keeps the order of operations and the precision of those scripts, so the numbers are the same to the bit.

BFM: Paysan et al. 2009; expressions: Guo et al. 2018; the cut: Deng et al. 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from likeness.errors import FileFormatError
from likeness.heads.bfm_expressions import read_deviations, read_expressions
from likeness.heads.bfm_mat import indices, numbers, read_mat
from likeness.heads.bfm_model import BfmModel, wound_outward

N_IDENTITY, N_EXPRESSION, N_ALBEDO = 80, 64, 80
RAW_FILES = (
    "01_MorphableModel.mat",
    "Exp_Pca.bin",
    "std_exp.txt",
    "BFM_exp_idx.mat",
    "BFM_front_idx.mat",
    "facemodel_info.mat",
)
_FIXED = ("tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx", "skinmask")
_ASSEMBLED = ("meanshape", "meantex", "idBase", "exBase", "texBase")
_RAW = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
_MICROMETRES_PER_DECIMETRE = 1e5


@dataclass(frozen=True, eq=False)
class FrontModel:
    """The front face and what Deep3D's decoder and losses need beside it. Indices are 0-based.

    ``incident`` (V, 8) are the triangles about each vertex, padded with T. ``photometric`` (P,) are the vertices of
    the region compared with the photo and ``photometric_triangles`` its triangles, whose corners count within
    ``photometric``. ``skin`` (V,) is the region whose albedo should be even.
    """

    model: BfmModel
    incident: Int[np.ndarray, "V 8"]
    photometric: Int[np.ndarray, " P"]
    photometric_triangles: Int[np.ndarray, "Q 3"]
    skin: Bool[np.ndarray, " V"]


def read_front(path: str | Path) -> FrontModel:
    """Read ``BFM_model_front.mat``. Raises FileFormatError."""
    return front_from_entries(read_mat(path, _ASSEMBLED + _FIXED), Path(path).name)


def assemble_front(paths: Mapping[str, Path]) -> FrontModel:
    """Assemble the front face from the raw files, each given by its path under its own name (`RAW_FILES`).

    Raises FileFormatError when one is unreadable or does not fit the others.
    """
    return front_from_entries(front_entries(paths), "the raw Basel files")


def front_entries(paths: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """What Deep3D's script saves as ``BFM_model_front.mat``: the same names, shapes, types and numbers."""
    raw, to_trimmed, to_front = _raw(paths)
    n_trimmed = len(to_trimmed)
    to_raw = to_trimmed[to_front]
    expressions = read_expressions(paths["Exp_Pca.bin"], n_trimmed, N_EXPRESSION)
    deviations = _first(paths["std_exp.txt"], read_deviations(paths["std_exp.txt"]), N_EXPRESSION)
    shape_deviations, albedo_deviations = (raw[key].reshape(-1)[:N_IDENTITY] for key in ("shapeEV", "texEV"))
    picked = {key: _pick(raw[key], to_raw) for key in ("shapeMU", "shapePC", "texMU", "texPC")}
    scale = _MICROMETRES_PER_DECIMETRE
    # Rows are independent, so picking them first gives the same bits as picking them last, in a fraction of the time.
    # NumPy keeps float32 arrays times Python floats in float32; `deviations` are float64 and make exBase so.
    entries = {
        "meanshape": (picked["shapeMU"] / scale).reshape(1, -1),
        "meantex": picked["texMU"].reshape(1, -1),
        "idBase": picked["shapePC"][:, :N_IDENTITY] * shape_deviations / scale,
        "exBase": expressions[to_front].reshape(-1, N_EXPRESSION) * deviations / scale,
        "texBase": picked["texPC"][:, :N_ALBEDO] * albedo_deviations,
    }
    return entries | read_mat(paths["facemodel_info.mat"], _FIXED)


def front_from_entries(entries: Mapping[str, np.ndarray], name: str) -> FrontModel:
    """The arrays of ``BFM_model_front.mat`` as a model: 0-based, float32, checked. ``name`` is for messages."""
    mean = numbers(name, "meanshape", entries["meanshape"]).reshape(-1, 3).astype(np.float32)
    n_vertices, n_triangles = len(mean), len(entries["tri"])
    bases = {key: _basis(name, key, entries[key], n_vertices) for key in ("idBase", "exBase", "texBase")}
    landmarks = indices(name, "keypoints", entries["keypoints"].reshape(-1), n_vertices)
    photometric = indices(name, "frontmask2_idx", entries["frontmask2_idx"].reshape(-1), n_vertices)
    skin = entries["skinmask"].reshape(-1) > 0
    incident = entries["point_buf"]
    albedo = numbers(name, "meantex", entries["meantex"]).reshape(-1, 3).astype(np.float32)
    found = {"keypoints": len(landmarks), "skinmask": len(skin), "point_buf": len(incident), "meantex": len(albedo)}
    expected = {"keypoints": 68, "skinmask": n_vertices, "point_buf": n_vertices, "meantex": n_vertices}
    for key, length in found.items():
        if length != expected[key]:
            raise FileFormatError(f"{name}: '{key}' has {length} entries, expected {expected[key]}.")
    model = BfmModel(
        name="bfm",
        mean=mean,
        identity_basis=bases["idBase"],
        expression_basis=bases["exBase"],
        mean_albedo=albedo,
        albedo_basis=bases["texBase"],
        triangles=indices(name, "tri", entries["tri"], n_vertices),
        millimetres=100.0,
        landmarks=landmarks,
        regions={"skin": skin, "photometric": np.isin(np.arange(n_vertices), photometric)},
    )
    return FrontModel(
        model=model,
        incident=indices(name, "point_buf", incident, n_triangles + 1),
        photometric=photometric,
        photometric_triangles=indices(name, "tri_mask2", entries["tri_mask2"], len(photometric)),
        skin=skin,
    )


def assemble_full(paths: Mapping[str, Path]) -> BfmModel:
    """The whole face of the expression basis, 53,215 vertices, from the same raw files (`RAW_FILES`).

    Micrometres, the first components as in the front face. Triangles are the raw model's whose corners all remain.
    """
    raw, to_trimmed, to_front = _raw(paths)
    expressions = read_expressions(paths["Exp_Pca.bin"], len(to_trimmed), N_EXPRESSION)
    deviations = _first(paths["std_exp.txt"], read_deviations(paths["std_exp.txt"]), N_EXPRESSION).astype(np.float32)
    n_raw = raw["shapeMU"].size // 3
    mean = _pick(raw["shapeMU"], to_trimmed).reshape(-1, 3).astype(np.float32)
    name = "facemodel_info.mat"
    keypoints = indices(name, "keypoints", read_mat(paths[name], ["keypoints"])["keypoints"], len(to_front))

    def basis(components: str, scales: str) -> np.ndarray:
        picked = _pick(raw[components], to_trimmed)[:, :N_IDENTITY] * raw[scales].reshape(-1)[:N_IDENTITY]
        return picked.reshape(len(mean), 3, -1).astype(np.float32)

    return BfmModel(
        name="bfm_full",
        mean=mean,
        identity_basis=basis("shapePC", "shapeEV"),
        expression_basis=expressions * deviations,
        mean_albedo=_pick(raw["texMU"], to_trimmed).reshape(-1, 3).astype(np.float32),
        albedo_basis=basis("texPC", "texEV"),
        triangles=wound_outward(mean, _remaining(indices(RAW_FILES[0], "tl", raw["tl"], n_raw), to_trimmed, n_raw)),
        millimetres=1e-3,
        landmarks=to_front[keypoints.reshape(-1)],
    )


def _raw(paths: Mapping[str, Path]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The raw model's arrays; raw vertex of each trimmed vertex; trimmed vertex of each front vertex."""
    path = paths["01_MorphableModel.mat"]
    raw = {key: numbers(path, key, value) for key, value in read_mat(path, _RAW).items()}
    rows = raw["shapeMU"].size
    for key in ("shapePC", "texMU", "texPC"):
        if rows % 3 or len(raw[key]) != rows:
            raise FileFormatError(f"{path.name}: '{key}' has {len(raw[key])} rows, expected {rows} as 'shapeMU'.")
    for key in ("shapeEV", "texEV"):
        _first(path, raw[key].reshape(-1), N_IDENTITY)
    trim_path, front_path = paths["BFM_exp_idx.mat"], paths["BFM_front_idx.mat"]
    trimmed = read_mat(trim_path, ["trimIndex"])["trimIndex"].reshape(-1)
    to_trimmed = indices(trim_path, "trimIndex", trimmed, rows // 3)
    front = read_mat(front_path, ["idx"])["idx"].reshape(-1)
    return raw, to_trimmed, indices(front_path, "idx", front, len(to_trimmed))


def _first(path: Path, values: np.ndarray, n: int) -> np.ndarray:
    if len(values) < n:
        raise FileFormatError(f"{Path(path).name}: holds {len(values)} deviations, expected at least {n}.")
    return values[:n]


def _pick(array: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The rows of some vertices of a (3 V, K) array, x y z of a vertex in consecutive rows."""
    return array.reshape(-1, 3, array.shape[1])[vertices].reshape(3 * len(vertices), -1)


def _basis(name: str, key: str, array: np.ndarray, n_vertices: int) -> Float[np.ndarray, "V 3 K"]:
    if array.ndim != 2 or len(array) != 3 * n_vertices:
        raise FileFormatError(f"{name}: '{key}' has shape {array.shape}, expected ({3 * n_vertices}, n).")
    return numbers(name, key, array).astype(np.float32).reshape(n_vertices, 3, -1)


def _remaining(triangles: np.ndarray, kept: np.ndarray, n_vertices: int) -> Int[np.ndarray, "T 3"]:
    """Triangles whose corners are all kept, counted among the kept vertices."""
    new = np.full(n_vertices, -1)
    new[kept] = np.arange(len(kept))
    renumbered = new[triangles]
    return renumbered[(renumbered >= 0).all(1)]
