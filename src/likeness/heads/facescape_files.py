"""FaceScape's official files (bilinear model 1.3 and the tables beside it) as plain arrays.

Every pickle goes through the restricted reader. Indices leave this file 0-based. What the files must agree on is
checked here, so that the head and the fit need not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from likeness.errors import AssetError, LikenessError
from likeness.files.safe_pickle import Record, load_pickle
from likeness.files.tensors import read_tensors, write_tensors
from likeness.heads.facescape_expressions import FACESCAPE_NAMES

N_SLOTS = len(FACESCAPE_NAMES)
MASK_SIZE = 1024

_KIND, _VERSION = "facescape_tables", 1
_MAX_TABLE_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class FaceScapeTables:
    """Connectivity, landmarks and statistics of the model.

    ``triangles`` with ``uv_triangles`` into ``uv``: the whole head. ``front_vertices`` are the vertices of the
    exported front surface; ``front_triangles`` index into *those*, ``front_uv_triangles`` into ``front_uv``.
    ``texture_triangles`` are the rows of ``triangles`` that receive texture, a slightly larger set.
    ``contour_right[i]`` are the vertices that landmark 9 + i may slide along, ``contour_left[i]`` those of landmark
    i. The identity factors are distributed with ``identity_mean`` and ``identity_variance``; the 51 expression
    weights follow a Gaussian mixture with ``mixture_weights``, ``mixture_means`` and, so that precision = L Lᵀ,
    ``mixture_cholesky``. ``face_mask`` is true where the network's input shows skin.
    """

    triangles: Int[np.ndarray, "T 3"]
    uv: Float[np.ndarray, "U 2"]
    uv_triangles: Int[np.ndarray, "T 3"]
    front_vertices: Int[np.ndarray, " F"]
    front_triangles: Int[np.ndarray, "G 3"]
    front_uv: Float[np.ndarray, "W 2"]
    front_uv_triangles: Int[np.ndarray, "G 3"]
    texture_triangles: Int[np.ndarray, " S"]
    landmarks: Int[np.ndarray, " 68"]
    contour_right: tuple[Int[np.ndarray, " N"], ...]
    contour_left: tuple[Int[np.ndarray, " N"], ...]
    identity_mean: Float[np.ndarray, " K"]
    identity_variance: Float[np.ndarray, " K"]
    mixture_weights: Float[np.ndarray, " M"]
    mixture_means: Float[np.ndarray, "M 51"]
    mixture_cholesky: Float[np.ndarray, "M 51 51"]
    face_mask: Bool[np.ndarray, "H W"]

    @property
    def n_vertices(self) -> int:
        return int(self.triangles.max()) + 1


def read_core(path: Path) -> np.ndarray:
    """The bilinear core as stored, (identity, expression, 3 V), left on disk and mapped into memory page by page.

    The mapping is private (copy on write): nothing can change the file. Raises AssetError.
    """
    core = _read_npy(path, mapped=True)
    if core.ndim != 3 or core.shape[1] != N_SLOTS or core.shape[2] % 3 or core.dtype not in (np.float32, np.float64):
        raise AssetError(
            f"{path}: holds {core.dtype} of shape {core.shape}; the bilinear model is float of shape "
            f"(identities, {N_SLOTS}, 3 × vertices). Version 1.3 of FaceScape's model is needed."
        )
    return core


def read_factors(path: Path) -> Float[np.ndarray, "S K"]:
    """The training subjects' identity factors. Raises AssetError."""
    factors = _read_npy(path, mapped=False)
    if factors.ndim != 2 or not np.issubdtype(factors.dtype, np.floating) or not np.isfinite(factors).all():
        raise AssetError(
            f"{path}: holds {factors.dtype} of shape {factors.shape}; expected (subjects, identity factors)."
        )
    return factors.astype(np.float64)


def read_tables(paths: Mapping[str, Path], cache: Path | None = None) -> FaceScapeTables:
    """The tables from their files; the keys of ``paths`` are those of `TABLE_FILES`.

    Reading the pickles safely takes seconds, so what was read is kept in the file ``cache``, under the digest of its
    sources, and used again while they stay the same. Raises AssetError for a file that is not what its name says.
    """
    digest = _digest([paths[name] for name in TABLE_FILES])
    if cache is not None and (kept := _read_cache(cache, digest)) is not None:
        return kept
    tables = _parse_tables(paths)
    if cache is not None:
        _write_cache(cache, digest, tables)
    return tables


# ---------------------------------------------------------------------------------------------- one file each


def read_faces(path: Path) -> dict[str, np.ndarray]:
    """``faces.pkl``: (texcoords, faces of 1-based indices)."""
    loaded = load_pickle(path, max_bytes=_MAX_TABLE_BYTES)
    try:
        uv, faces = loaded
        triangles, uv_triangles = _corners(faces)
        return {"uv": _uv(uv), "triangles": triangles, "uv_triangles": uv_triangles}
    except (TypeError, ValueError, IndexError) as error:
        raise _unexpected(path, "texture coordinates and faces of the whole head") from error


def read_front_faces(path: Path) -> dict[str, np.ndarray]:
    """``front_faces.pkl``: faces of 1-based indices into the front's own lists."""
    try:
        triangles, uv_triangles = _corners(load_pickle(path, max_bytes=_MAX_TABLE_BYTES))
        return {"front_triangles": triangles, "front_uv_triangles": uv_triangles}
    except (TypeError, ValueError, IndexError) as error:
        raise _unexpected(path, "the faces of the front surface") from error


def read_front_uv(path: Path) -> dict[str, np.ndarray]:
    """``front_texcoords.pkl``."""
    try:
        return {"front_uv": _uv(load_pickle(path, max_bytes=_MAX_TABLE_BYTES))}
    except (TypeError, ValueError, IndexError) as error:
        raise _unexpected(path, "the front surface's texture coordinates") from error


def read_front_vertices(path: Path) -> dict[str, np.ndarray]:
    """``front_verts_indices.pkl``: 0-based."""
    return {"front_vertices": _indices(path)}


def read_texture_triangles(path: Path) -> dict[str, np.ndarray]:
    """``front_face_indices.pkl``: 0-based rows of the faces."""
    return {"texture_triangles": _indices(path)}


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """``index_68.txt``: one 0-based vertex a line."""
    try:
        values = [int(line) for line in path.read_text("ascii").split()]
    except (OSError, ValueError) as error:
        raise _unexpected(path, "68 vertex numbers, one a line") from error
    if len(values) != 68:
        raise _unexpected(path, "68 vertex numbers, one a line")
    return {"landmarks": np.array(values, np.int64)}


def read_contour(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    """``contour_line_68.pkl``: (right, left), eight lists of 0-based vertices each."""
    try:
        right, left = load_pickle(path, max_bytes=_MAX_TABLE_BYTES)
        lines = {
            name: tuple(np.array(line, np.int64).reshape(-1) for line in side)
            for name, side in (("contour_right", right), ("contour_left", left))
        }
    except (TypeError, ValueError) as error:
        raise _unexpected(path, "two times eight lists of vertices") from error
    if any(len(side) != 8 for side in lines.values()):
        raise _unexpected(path, "two times eight lists of vertices")
    return lines


def read_identity_statistic(path: Path, name: str) -> dict[str, np.ndarray]:
    """``id_mean.pkl`` or ``id_var.pkl``."""
    values = load_pickle(path, max_bytes=_MAX_TABLE_BYTES)
    if (
        not isinstance(values, np.ndarray)
        or values.ndim != 1
        or values.dtype.kind != "f"
        or not np.isfinite(values).all()
    ):
        raise _unexpected(path, "one number for each identity factor")
    if name == "identity_variance" and not (values > 0).all():
        raise _unexpected(path, "a positive variance for each identity factor")
    return {name: values.astype(np.float64)}


def read_mixture(path: Path) -> dict[str, np.ndarray]:
    """``exp_GMM.pkl``: scikit-learn's GaussianMixture over the 51 weights, as the plain record it was saved with."""
    record = load_pickle(path, max_bytes=_MAX_TABLE_BYTES)
    n = N_SLOTS - 1
    try:
        if not isinstance(record, Record) or not record.kind.endswith("GaussianMixture"):
            raise TypeError(record)
        weights, means, cholesky = (
            np.asarray(record.attributes[key], np.float64) for key in ("weights_", "means_", "precisions_cholesky_")
        )
        if means.shape != (len(weights), n) or cholesky.shape != (len(weights), n, n) or not (weights > 0).all():
            raise ValueError(means.shape)
        if not ((np.diagonal(cholesky, axis1=1, axis2=2) > 0).all() and np.isfinite(cholesky).all()):
            raise ValueError(cholesky.shape)
    except (TypeError, ValueError, KeyError) as error:
        raise _unexpected(path, f"a full Gaussian mixture over {n} weights") from error
    return {"mixture_weights": weights, "mixture_means": means, "mixture_cholesky": cholesky}


def read_face_mask(path: Path) -> dict[str, np.ndarray]:
    """``front_mask.png``: 0 is face; true means face here."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.size != (MASK_SIZE, MASK_SIZE) or image.mode not in ("L", "1"):
                raise ValueError(image.size)
            return {"face_mask": np.asarray(image.convert("L")) != 255}
    except (OSError, ValueError, SyntaxError) as error:
        raise _unexpected(path, f"a grey {MASK_SIZE}×{MASK_SIZE} PNG") from error


TABLE_FILES = {
    "facescape_faces": ("faces.pkl", read_faces),
    "facescape_front_vertices": ("front_verts_indices.pkl", read_front_vertices),
    "facescape_front_faces": ("front_faces.pkl", read_front_faces),
    "facescape_front_uv": ("front_texcoords.pkl", read_front_uv),
    "facescape_texture_faces": ("front_face_indices.pkl", read_texture_triangles),
    "facescape_landmarks": ("index_68.txt", read_landmarks),
    "facescape_contour": ("contour_line_68.pkl", read_contour),
    "facescape_identity_mean": ("id_mean.pkl", lambda path: read_identity_statistic(path, "identity_mean")),
    "facescape_identity_variance": ("id_var.pkl", lambda path: read_identity_statistic(path, "identity_variance")),
    "facescape_mixture": ("exp_GMM.pkl", read_mixture),
    "facescape_mask": ("front_mask.png", read_face_mask),
}
"""Asset name -> (official file name, its reader)."""


def _parse_tables(paths: Mapping[str, Path]) -> FaceScapeTables:
    parts: dict[str, Any] = {}
    for name, (_, read) in TABLE_FILES.items():
        try:
            parts |= read(paths[name])
        except AssetError:
            raise
        except LikenessError as error:
            raise AssetError(str(error)) from error
    tables = FaceScapeTables(**parts)
    _check(tables, paths)
    return tables


def _check(tables: FaceScapeTables, paths: Mapping[str, Path]) -> None:
    """Every index must exist in what it points into."""
    n, front = tables.n_vertices, len(tables.front_vertices)
    claims = [
        ("facescape_faces", tables.uv_triangles, len(tables.uv)),
        ("facescape_front_vertices", tables.front_vertices, n),
        ("facescape_front_faces", tables.front_triangles, front),
        ("facescape_front_uv", tables.front_uv_triangles, len(tables.front_uv)),
        ("facescape_texture_faces", tables.texture_triangles, len(tables.triangles)),
        ("facescape_landmarks", tables.landmarks, n),
    ]
    claims += [("facescape_contour", line, n) for line in tables.contour_right + tables.contour_left]
    for name, indices, limit in claims:
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < limit:
            raise AssetError(
                f"{paths[name]}: names entry {int(indices.max())} where there are {limit}; the files do not belong "
                "together. Take all of them from one release of FaceScape (model 1.3)."
            )
    if len(tables.identity_mean) != len(tables.identity_variance):
        raise AssetError(
            f"{paths['facescape_identity_mean']}: has {len(tables.identity_mean)} factors, its variance "
            f"{len(tables.identity_variance)}; take both from one release."
        )


def _corners(faces: list) -> tuple[np.ndarray, np.ndarray]:
    """0-based vertex and texture triangles of (vertices, normals, texcoords, material) faces."""
    triangles = np.array([face[0] for face in faces], np.int64) - 1
    uv_triangles = np.array([face[2] for face in faces], np.int64) - 1
    if triangles.ndim != 2 or triangles.shape[1] != 3 or uv_triangles.shape != triangles.shape:
        raise ValueError(triangles.shape)
    return triangles, uv_triangles


def _uv(values: list) -> np.ndarray:
    uv = np.array(values, np.float64)
    if uv.ndim != 2 or uv.shape[1] != 2 or not ((uv >= 0) & (uv <= 1)).all():
        raise ValueError(uv.shape)
    return uv


def _indices(path: Path) -> np.ndarray:
    try:
        values = np.array(load_pickle(path, max_bytes=_MAX_TABLE_BYTES))
    except ValueError as error:
        raise _unexpected(path, "a list of numbers") from error
    if values.ndim != 1 or values.dtype.kind != "i":
        raise _unexpected(path, "a list of whole numbers")
    return values.astype(np.int64)


def _unexpected(path: Path, expected: str) -> AssetError:
    return AssetError(f"{path}: does not hold {expected}; take the file from FaceScape's release again.")


def _read_npy(path: Path, *, mapped: bool) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AssetError(f"{path}: not a readable .npy array ({error}); was the download cut short?") from error


# ---------------------------------------------------------------------------------------------- what was read, kept


def _digest(paths: list[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        try:
            total.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise AssetError(f"{path}: cannot be read ({error.strerror or error}).") from error
    return total.hexdigest()


def _read_cache(cache: Path, digest: str) -> FaceScapeTables | None:
    """What was kept, or None when there is nothing, it is of other sources, or it cannot be read: then it is made
    anew.
    """
    try:
        header, read = read_tensors(cache, _KIND, _VERSION)
        if header["digest"] != digest:
            return None
        arrays: dict[str, Any] = dict(read)
        for name in ("contour_right", "contour_left"):
            arrays[name] = tuple(np.split(read[name], np.cumsum(header[name])[:-1]))
        arrays["face_mask"] = read["face_mask"].astype(bool)
        return FaceScapeTables(**arrays)
    except (LikenessError, OSError, KeyError, TypeError, ValueError):
        return None


def _write_cache(cache: Path, digest: str, tables: FaceScapeTables) -> None:
    arrays = {field.name: getattr(tables, field.name) for field in fields(tables)}
    header: dict[str, Any] = {"digest": digest}
    for name in ("contour_right", "contour_left"):
        header[name] = [len(line) for line in arrays[name]]
        arrays[name] = np.concatenate(arrays[name])
    arrays["face_mask"] = arrays["face_mask"].astype(np.uint8)
    try:
        write_tensors(cache, _KIND, _VERSION, header, arrays)
    except LikenessError:
        return  # a store that cannot be written to is no reason to fail: the files are read again next time
