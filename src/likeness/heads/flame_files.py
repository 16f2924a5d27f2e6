"""FLAME's official files as frozen arrays: the model (2020, 2023, pickle or npz) and its landmark embeddings.

Everything here is in FLAME's own frame and unit: metres, +x to the subject's left, +y up, +z out of the face. Positions
become millimetres in `likeness.heads.flame`, nowhere else.

FLAME: Li, Bolkart, Black, Li, Romero, *Learning a model of facial shape and expression from 4D scans*, 2017.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from likeness.errors import FileFormatError
from likeness.files.numpy_files import load_npy, load_npz
from likeness.files.safe_pickle import Record, load_pickle

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")
N_SHAPE = 300
N_VERTICES, N_TRIANGLES, N_JOINTS = 5023, 9976, len(JOINT_NAMES)
N_CONTOUR = 17
# Rows of the moving contour: yaw 0…39 degrees, then -1…-39.
N_CONTOUR_ROWS = 79

_KEYS = ("f", "v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
# What a model file may unpack to: FLAME is 55 MB; a file of this name and 20 times the size is not FLAME.
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class FlameModel:
    """The numbers of a FLAME file, float32 and int64, metres.

    ``shapedirs`` (V, 3, S + E): the first 300 are identity components, the rest expression. ``posedirs`` (V, 3, 36)
    are the pose correctives, per entry of R - I of the joints 1 to 4, row by row.
    """

    triangles: Int[np.ndarray, "T 3"]
    template: Float[np.ndarray, "V 3"]
    shapedirs: Float[np.ndarray, "V 3 K"]
    posedirs: Float[np.ndarray, "V 3 36"]
    joint_regressor: Float[np.ndarray, "J V"]
    skin_weights: Float[np.ndarray, "V J"]
    parents: tuple[int, ...]

    @property
    def n_expression(self) -> int:
        return self.shapedirs.shape[2] - N_SHAPE

    @cached_property
    def version(self) -> str:
        """A digest of the model's numbers."""
        digest = hashlib.sha256()
        for array in (self.triangles, self.template, self.shapedirs, self.posedirs, self.joint_regressor):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class FlameLandmarks:
    """``landmark_embedding.npy``: triangle index and barycentrics of landmarks in iBUG-68 order.

    ``full_*`` (68) are fixed points. ``static_*`` (51) are all but the face contour; ``contour_*`` (79, 17) are the
    contour as seen from the front, a row per degree of yaw.
    """

    full_triangles: Int[np.ndarray, "68"]
    full_barycentric: Float[np.ndarray, "68 3"]
    static_triangles: Int[np.ndarray, "51"]
    static_barycentric: Float[np.ndarray, "51 3"]
    contour_triangles: Int[np.ndarray, "79 17"]
    contour_barycentric: Float[np.ndarray, "79 17 3"]


@dataclass(frozen=True, eq=False)
class FlameMediapipe:
    """``mediapipe_landmark_embedding.npz``: those of MediaPipe's 478 points that have a fixed place on FLAME."""

    indices: Int[np.ndarray, " N"]
    triangles: Int[np.ndarray, " N"]
    barycentric: Float[np.ndarray, "N 3"]


@dataclass(frozen=True, eq=False)
class FlameChart:
    """``head_template.obj``: FLAME's triangles with their UV chart, (0, 0) bottom left."""

    triangles: Int[np.ndarray, "T 3"]
    uv: Float[np.ndarray, "U 2"]
    uv_triangles: Int[np.ndarray, "T 3"]


def read_flame(path: str | Path) -> FlameModel:
    """Read a FLAME model file of any year, ``.pkl`` or ``.npz``, by its content.

    Raises FileFormatError when it is none, or holds another number of vertices, joints or components than FLAME has.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        data: Any = load_npz(path, _KEYS, max_bytes=_MAX_BYTES)
    else:
        data = load_pickle(path, max_bytes=_MAX_BYTES)
    missing = [key for key in _KEYS if not isinstance(data, Mapping) or key not in data]
    if missing:
        raise FileFormatError(f"{path}: is no FLAME model; it lacks {', '.join(missing)}.")
    arrays = {key: _plain_array(data[key], f"{path}: {key}") for key in _KEYS}
    _check_shapes(path, arrays)
    parents = arrays["kintree_table"][0].astype(np.int64)
    return FlameModel(
        triangles=arrays["f"].astype(np.int64),
        template=arrays["v_template"].astype(np.float32),
        shapedirs=arrays["shapedirs"].astype(np.float32),
        posedirs=arrays["posedirs"].astype(np.float32),
        joint_regressor=arrays["J_regressor"].astype(np.float32),
        skin_weights=arrays["weights"].astype(np.float32),
        # The root's parent is 2**32 - 1 in the file.
        parents=(-1, *(int(parent) for parent in parents[1:])),
    )


def read_flame_landmarks(path: str | Path) -> FlameLandmarks:
    """Read ``landmark_embedding.npy``. Raises FileFormatError when it is none."""
    data = load_npy(path)
    data = data.item() if isinstance(data, np.ndarray) and data.dtype == object and data.ndim == 0 else data
    shapes = {
        "full_lmk_faces_idx": (1, 68),
        "full_lmk_bary_coords": (1, 68, 3),
        "static_lmk_faces_idx": (51,),
        "static_lmk_bary_coords": (51, 3),
        "dynamic_lmk_faces_idx": (N_CONTOUR_ROWS, N_CONTOUR),
        "dynamic_lmk_bary_coords": (N_CONTOUR_ROWS, N_CONTOUR, 3),
    }
    if not isinstance(data, Mapping) or any(np.shape(data.get(key, ())) != shape for key, shape in shapes.items()):
        raise FileFormatError(
            f"{path}: is no landmark embedding of FLAME; six tables of 68, 51 and 79 x 17 points are."
        )
    triangles = {key: np.asarray(data[key]) for key in shapes if key.endswith("faces_idx")}
    if any(values.min() < 0 or values.max() >= N_TRIANGLES for values in triangles.values()):
        raise FileFormatError(f"{path}: names triangles that FLAME does not have (0 to {N_TRIANGLES - 1}).")
    return FlameLandmarks(
        full_triangles=triangles["full_lmk_faces_idx"][0].astype(np.int64),
        full_barycentric=np.asarray(data["full_lmk_bary_coords"][0], np.float32),
        static_triangles=triangles["static_lmk_faces_idx"].astype(np.int64),
        static_barycentric=np.asarray(data["static_lmk_bary_coords"], np.float32),
        contour_triangles=triangles["dynamic_lmk_faces_idx"].astype(np.int64),
        contour_barycentric=np.asarray(data["dynamic_lmk_bary_coords"], np.float32),
    )


def read_flame_mediapipe(path: str | Path) -> FlameMediapipe:
    """Read ``mediapipe_landmark_embedding.npz``. Raises FileFormatError when it is none."""
    data = load_npz(path, ("landmark_indices", "lmk_face_idx", "lmk_b_coords"))
    arrays = [np.asarray(data.get(key, ())) for key in ("landmark_indices", "lmk_face_idx", "lmk_b_coords")]
    indices, triangles, barycentric = arrays
    n = indices.size
    if n == 0 or indices.shape != (n,) or triangles.shape != (n,) or barycentric.shape != (n, 3):
        raise FileFormatError(f"{path}: is no MediaPipe embedding of FLAME.")
    if indices.min() < 0 or indices.max() >= 478 or triangles.min() < 0 or triangles.max() >= N_TRIANGLES:
        raise FileFormatError(f"{path}: names MediaPipe points or triangles of FLAME that do not exist.")
    return FlameMediapipe(indices.astype(np.int64), triangles.astype(np.int64), barycentric.astype(np.float32))


def read_flame_chart(path: str | Path) -> FlameChart:
    """Read ``head_template.obj``. Raises FileFormatError unless it is FLAME's mesh with a UV chart."""
    n_vertices, uv, corners = 0, [], []
    try:
        with Path(path).open(encoding="latin1") as file:
            for line in file:
                key, *rest = line.split() or [""]
                if key == "v":
                    n_vertices += 1
                elif key == "vt":
                    uv.append((float(rest[0]), float(rest[1])))
                elif key == "f":
                    corners.append([[int(number) for number in corner.split("/")[:2]] for corner in rest])
        table = np.array(corners, np.int64) - 1
    except (OSError, ValueError, IndexError) as error:
        raise FileFormatError(f"{path}: not a readable OBJ with triangles and UV ({error}).") from error
    if n_vertices != N_VERTICES or table.shape != (N_TRIANGLES, 3, 2):
        raise FileFormatError(
            f"{path}: is not FLAME's mesh of {N_VERTICES} vertices and {N_TRIANGLES} triangles with UV."
        )
    if table.min() < 0 or table[..., 0].max() >= N_VERTICES or table[..., 1].max() >= len(uv):
        raise FileFormatError(f"{path}: names vertices or UV points that it does not have.")
    return FlameChart(table[..., 0].copy(), np.array(uv, np.float32), table[..., 1].copy())


def _plain_array(value: Any, name: str) -> np.ndarray:
    """An array, a `chumpy` object's array or a `scipy` sparse matrix made dense."""
    if isinstance(value, Record):
        value = _dense(value.attributes) if "indptr" in value.attributes else value.attributes.get("x")
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
        return _plain_array(value.item(), name)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise FileFormatError(f"{name} is no array of numbers.")
    return value


def _dense(state: Mapping[str, Any]) -> np.ndarray | None:
    """A compressed sparse matrix, by columns or by rows (the number of pointers tells); None if it is neither."""
    shape = state.get("_shape", state.get("shape"))
    if shape is None or tuple(shape) != (N_JOINTS, N_VERTICES):
        return None
    data, minor, pointers = (np.asarray(state.get(key, ())) for key in ("data", "indices", "indptr"))
    by_column = len(pointers) == N_VERTICES + 1
    n_major, n_minor = (N_VERTICES, N_JOINTS) if by_column else (N_JOINTS, N_VERTICES)
    lengths = np.diff(pointers)
    consistent = len(pointers) == n_major + 1 and (lengths >= 0).all() and lengths.sum() == len(data) == len(minor)
    if not consistent or (len(minor) and not 0 <= minor.min() <= minor.max() < n_minor):
        return None
    major = np.repeat(np.arange(n_major), lengths)
    dense = np.zeros((n_major, n_minor))
    np.add.at(dense, (major, minor), data)
    return dense.T if by_column else dense


def _check_shapes(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    components = arrays["shapedirs"].shape[-1] if arrays["shapedirs"].ndim == 3 else 0
    expected = {
        "f": (N_TRIANGLES, 3),
        "v_template": (N_VERTICES, 3),
        "shapedirs": (N_VERTICES, 3, components),
        "posedirs": (N_VERTICES, 3, 9 * (N_JOINTS - 1)),
        "J_regressor": (N_JOINTS, N_VERTICES),
        "weights": (N_VERTICES, N_JOINTS),
        "kintree_table": (2, N_JOINTS),
    }
    for key, shape in expected.items():
        if arrays[key].shape != shape:
            raise FileFormatError(f"{path}: {key} has shape {arrays[key].shape}; FLAME's has {shape}.")
    if components <= N_SHAPE:
        raise FileFormatError(f"{path}: has {components} components; FLAME has {N_SHAPE} of shape, then expression.")
    if int(arrays["f"].min()) < 0 or int(arrays["f"].max()) >= N_VERTICES:
        raise FileFormatError(f"{path}: names vertices that FLAME does not have.")
    parents = arrays["kintree_table"][0].astype(np.int64)[1:]
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents, start=1)):
        raise FileFormatError(f"{path}: its joints do not form a tree.")
