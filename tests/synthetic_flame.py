"""Synthetic files in FLAME's and DECA's official formats, so that everything about them is tested without a licence.

Only counts, shapes, types and names are those of the official files; every number is drawn from a seed. The reference
numbers under ``tests/goldens/deca`` were recorded with exactly these (seed 0): `digests` proves that they still are.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import tempfile
import types
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

N_RINGS, N_COLUMNS = 81, 62  # a pole and 81 rings of 62 vertices: 5023
MOUTH = ((30, 29), (30, 30), (30, 31))  # quads left out: 9976 triangles


def generator(tag: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"make_flame/{tag}/{seed}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


# ------------------------------------------------------------------ a head-like surface


@cache
def angles() -> tuple[np.ndarray, np.ndarray]:
    """Latitude (0 at the crown) and longitude (0 in front, seam at the back) of every vertex."""
    rings = np.pi * np.arange(1, N_RINGS + 1) / (N_RINGS + 9)
    columns = -np.pi + 2 * np.pi * np.arange(N_COLUMNS) / N_COLUMNS
    latitude = np.concatenate([[0.0], np.repeat(rings, N_COLUMNS)])
    longitude = np.concatenate([[0.0], np.tile(columns, N_RINGS)])
    return latitude, longitude


@cache
def topology() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles (9976, 3), UV triangles (9976, 3) and UV points (5165, 2); the seam column is doubled in UV."""
    triangles, uv_triangles = [], []

    def vertex(ring: int, column: int) -> int:
        return 1 + ring * N_COLUMNS + column % N_COLUMNS

    def uv_point(ring: int, column: int) -> int:
        return N_COLUMNS + ring * (N_COLUMNS + 1) + column

    for column in range(N_COLUMNS):
        triangles.append((0, vertex(0, column), vertex(0, column + 1)))
        uv_triangles.append((column, uv_point(0, column), uv_point(0, column + 1)))
    for ring in range(N_RINGS - 1):
        for column in range(N_COLUMNS):
            if (ring, column) in MOUTH:
                continue
            for table, at in ((triangles, vertex), (uv_triangles, uv_point)):
                near, far = at(ring, column), at(ring + 1, column + 1)
                table += [(near, at(ring + 1, column), far), (near, far, at(ring, column + 1))]
    u = 0.03 + 0.94 * np.arange(N_COLUMNS + 1) / N_COLUMNS
    v = 0.97 - 0.94 * (np.arange(N_RINGS) + 1) / N_RINGS
    pole_u = 0.03 + 0.94 * (np.arange(N_COLUMNS) + 0.5) / N_COLUMNS
    pole = np.stack([pole_u, np.full(N_COLUMNS, 0.97)], 1)
    grid = np.stack([np.tile(u, N_RINGS), np.repeat(v, N_COLUMNS + 1)], 1)
    uv = np.round(np.concatenate([pole, grid]), 6)
    return np.array(triangles, np.int64), np.array(uv_triangles, np.int64), uv


@cache
def template() -> np.ndarray:
    latitude, longitude = angles()
    nose = 0.018 * np.exp(-((latitude - 1.75) ** 2 / 0.02 + longitude**2 / 0.03))
    x = 0.078 * np.sin(latitude) * np.sin(longitude)
    y = 0.125 * np.cos(latitude) - 0.01
    z = (0.095 * np.sin(latitude) + nose) * np.cos(longitude) - 0.02
    return np.round(np.stack([x, y, z], 1), 7)


# ------------------------------------------------------------------ the model


def shape_directions(seed: int) -> np.ndarray:
    """(5023, 3, 400): mixtures of low waves over the head, and a little noise."""
    latitude, longitude = angles()
    draw = generator("shapedirs", seed)
    frequency, phase = draw.integers(1, 5, (24, 2)), draw.uniform(0, 2 * np.pi, (24, 2))
    waves = np.sin(latitude[:, None] * frequency[:, 0] + phase[:, 0])
    waves = waves * np.cos(longitude[:, None] * frequency[:, 1] + phase[:, 1])
    mixture = draw.standard_normal((24, 3, 400))
    scale = np.concatenate([0.0035 * 0.985 ** np.arange(300), 0.0030 * 0.97 ** np.arange(100)])
    smooth = np.einsum("nk,kdm->ndm", waves, mixture) / np.sqrt(24)
    return (smooth + 0.02 * draw.standard_normal((len(waves), 3, 400))) * scale


def squared_joint_distances() -> np.ndarray:
    joints = [[0, -0.11, -0.02], [0, -0.05, -0.03], [0, -0.01, 0.01], [0.031, 0.028, 0.055], [-0.031, 0.028, 0.055]]
    return ((template()[:, None] - np.array(joints)[None]) ** 2).sum(-1)


def skin_weights() -> np.ndarray:
    logits = -squared_joint_distances() / np.array([0.0040, 0.0040, 0.0030, 0.0004, 0.0004])
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def joint_regressor(seed: int) -> np.ndarray:
    """(5, 5023): each joint the mean of forty of its 120 nearest vertices."""
    draw, distances = generator("J_regressor", seed), squared_joint_distances()
    dense = np.zeros((5, len(distances)))
    for joint in range(5):
        near = np.sort(np.argsort(distances[:, joint], kind="stable")[:120][draw.permutation(120)[:40]])
        weights = draw.uniform(0.2, 1.0, 40)
        dense[joint, near] = weights / weights.sum()
    return dense


@cache
def model(seed: int = 0) -> dict[str, Any]:
    """The content of ``generic_model.pkl`` as plain arrays. Do not change them: they are shared."""
    regressor = joint_regressor(seed)
    return {
        "f": topology()[0].astype(np.uint32),
        "v_template": template(),
        "shapedirs": shape_directions(seed),
        "posedirs": 0.002 * generator("posedirs", seed).standard_normal((len(template()), 3, 36)),
        "weights": skin_weights(),
        "J_regressor": regressor,
        "J": regressor @ template(),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@cache
def embedding(seed: int = 0) -> dict[str, np.ndarray]:
    """The content of ``landmark_embedding.npy``."""
    triangles = topology()[0]
    latitude, longitude = (angle[triangles].mean(1) for angle in angles())
    front = np.flatnonzero((np.abs(longitude) < 1.0) & (latitude > 0.9) & (latitude < 2.4))
    draw = generator("embedding", seed)
    static, jaw = draw.choice(front, 51, replace=False), draw.choice(front, 17, replace=False)

    def barycentric(*shape: int) -> np.ndarray:
        return draw.dirichlet([2.0, 2.0, 2.0], shape)

    static_barycentric = barycentric(51)
    contour = np.empty((79, 17), np.int64)
    for row in range(79):
        yaw = row if row <= 39 else 39 - row
        for k in range(17):
            at = ((k - 8) * 0.12 + yaw * 0.02, 2.2 - 0.035 * abs(k - 8))
            contour[row, k] = np.argmin((longitude - at[0]) ** 2 + (latitude - at[1]) ** 2)
    contour_barycentric = barycentric(79, 17).astype(np.float32)
    return {
        "static_lmk_faces_idx": static.astype(np.int64),
        "static_lmk_bary_coords": static_barycentric,
        "dynamic_lmk_faces_idx": contour,
        "dynamic_lmk_bary_coords": contour_barycentric,
        "full_lmk_faces_idx": np.concatenate([jaw, static])[None].astype(np.int64),
        "full_lmk_bary_coords": np.concatenate([barycentric(17), static_barycentric])[None].astype(np.float32),
    }


def digests(seed: int = 0) -> dict[str, str]:
    """The first 16 hex digits of each array's SHA-256, floats rounded to 1e-6 so that a last bit does not show."""
    found = {}
    for key, value in {**model(seed), **embedding(seed)}.items():
        if isinstance(value, np.ndarray) and key != "J_regressor":
            whole = value if value.dtype.kind in "iu" else np.round(value.astype(np.float64) * 1e6)
            found[key] = hashlib.sha256(np.ascontiguousarray(whole.astype("<i8"))).hexdigest()[:16]
    return found


# ------------------------------------------------------------------ maps in UV


def fixed_displacement(seed: int = 0) -> np.ndarray:
    draw = generator("fixed_displacement", seed)
    y, x = np.mgrid[0:256, 0:256] / 256.0
    a = draw.uniform(-1, 1, (6, 3))
    wave = sum(np.sin(2 * np.pi * (k + 1) * (a[k, 0] * x + a[k, 1] * y) + a[k, 2]) for k in range(6))
    return 0.0004 * wave * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.2)


def face_eye_mask() -> np.ndarray:
    y, x = np.mgrid[0:256, 0:256] / 255.0
    radius = np.sqrt(((x - 0.5) / 0.30) ** 2 + ((y - 0.52) / 0.36) ** 2)
    return np.round(255 * np.clip((1.05 - radius) / 0.15, 0, 1)).astype(np.uint8)


def texture_space(kind: str, seed: int = 0, n_components: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Mean (512, 512, 3) and the first components (512, 512, 3, N) of a texture file, B, G, R on 0..1."""
    draw = generator("texture" + kind, seed)
    y, x = np.mgrid[0:512, 0:512] / 512.0
    waves = draw.uniform(-3, 3, (199 if kind == "BFM" else 200, 3, 3))
    mean = np.stack([0.35 + 0.2 * y, 0.45 + 0.1 * x, 0.55 + 0.15 * x * y], -1)
    basis = np.empty((512, 512, 3, n_components), np.float32)
    for k in range(n_components):
        for c in range(3):
            p = waves[k, c]
            basis[..., c, k] = 0.04 * np.sin(2 * np.pi * (p[0] * x + p[1] * y) + p[2])
    return mean, basis


@cache
def dense_template(size: int = 256) -> dict[str, Any]:
    """The content of ``texture_data_256.npy``: UV pixels inside the chart, their surface points, and triangles."""
    triangles, uv_triangles, uv = topology()
    corners = np.stack([uv[:, 0] * size, size - uv[:, 1] * size], 1)[uv_triangles]
    owner, barycentric = np.full(size * size, -1), np.zeros((size * size, 3))
    for index, (a, b, c) in enumerate(corners):
        low, high = np.floor(np.minimum(np.minimum(a, b), c)), np.ceil(np.maximum(np.maximum(a, b), c))
        (left, top), (right, bottom) = np.maximum(low, 0).astype(int), np.minimum(high, size).astype(int)
        column, row = (grid.ravel() for grid in np.meshgrid(range(left, right), range(top, bottom), indexing="ij"))
        twice_area = (b[1] - c[1]) * (a[0] - c[0]) + (c[0] - b[0]) * (a[1] - c[1])
        if column.size == 0 or twice_area == 0:
            continue
        x, y = column + 0.5 - c[0], row + 0.5 - c[1]
        first = ((b[1] - c[1]) * x + (c[0] - b[0]) * y) / twice_area
        second = ((c[1] - a[1]) * x + (a[0] - c[0]) * y) / twice_area
        weights = np.stack([first, second, 1 - first - second], 1)
        pixels = column * size + row
        fresh = (weights >= 0).all(1) & (owner[pixels] < 0)
        owner[pixels[fresh]], barycentric[pixels[fresh]] = index, weights[fresh]
    valid = np.flatnonzero(owner >= 0)
    numbers = np.full(size * size, -1)
    numbers[valid] = np.arange(len(valid))
    grid = numbers.reshape(size, size)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[:-1, 1:], grid[1:, 1:]
    dense = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return {
        "img_size": size,
        "f": dense[(dense >= 0).all(1)],
        "x_coords": np.repeat(np.arange(size) + 0.5, size),
        "y_coords": np.tile(np.arange(size) + 0.5, size),
        "valid_pixel_ids": valid,
        "valid_pixel_3d_faces": triangles[owner[valid]],
        "valid_pixel_b_coords": barycentric[valid],
    }


# ------------------------------------------------------------------ files


def write_model(path: Path, seed: int = 0) -> Path:
    """``generic_model.pkl`` as Python 2 wrote it: `chumpy` objects, an old `scipy` matrix, byte strings."""
    path.write_bytes(model_pickle(model(seed)))
    return path


def model_pickle(data: dict[str, Any]) -> bytes:
    with _foreign_class("chumpy.ch", "Ch") as ch, _foreign_class("scipy.sparse.csc", "csc_matrix") as csc:
        content = dict(data)
        for key in ("v_template", "shapedirs", "posedirs", "weights", "J"):
            content[key] = _with_state(ch, {"x": data[key], "_dirty_vars": {"x"}, "_itr": None, "_make_dense": False})
        content["J_regressor"] = _with_state(csc, {"_shape": (5, 5023), "maxprint": 50, **_by_columns(data)})
        pickled = _Python2Pickle.dumps(content)
    return pickled.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_embedding(path: Path, seed: int = 0) -> Path:
    """``landmark_embedding.npy``: a pickled table, two of its entries torch tensors."""
    import torch

    content: dict[str, Any] = dict(embedding(seed))
    for key in ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"):
        content[key] = torch.from_numpy(content[key])
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


def write_head_template(path: Path) -> Path:
    triangles, uv_triangles, uv = topology()
    lines = ["mtllib template.mtl"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in template()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uv]
    for corners, points in zip(triangles + 1, uv_triangles + 1, strict=True):
        lines.append("f " + " ".join(f"{a}/{b}" for a, b in zip(corners, points, strict=True)))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_mask(path: Path) -> Path:
    mask = face_eye_mask()
    Image.fromarray(np.stack([mask, mask, mask, np.full_like(mask, 255)], -1)).save(path)
    return path


def write_deca_data(folder: Path, seed: int = 0) -> Path:
    """Everything of DECA's data folder but the checkpoint and the texture spaces."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "generic_model.pkl", seed)
    write_embedding(folder / "landmark_embedding.npy", seed)
    write_head_template(folder / "head_template.obj")
    write_mask(folder / "uv_face_eye_mask.png")
    np.save(folder / "fixed_displacement_256.npy", fixed_displacement(seed))
    np.save(folder / "texture_data_256.npy", np.array(dense_template(), dtype=object), allow_pickle=True)
    return folder


def _by_columns(data: dict[str, Any]) -> dict[str, np.ndarray]:
    """The parts of a compressed sparse matrix by columns."""
    regressor = data["J_regressor"]
    column, row = np.nonzero(regressor.T)
    starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=regressor.shape[1]))])
    return {"data": regressor[row, column], "indices": row.astype(np.int32), "indptr": starts.astype(np.int32)}


class _foreign_class:
    """A class of a library that is not installed, importable while the block runs so that it can be pickled."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __enter__(self) -> type:
        parts = self.module.split(".")
        self.names = [".".join(parts[: n + 1]) for n in range(len(parts))]
        self.before = {name: sys.modules.get(name) for name in self.names}
        for name in self.names:
            sys.modules[name] = types.ModuleType(name)
        cls = type(self.name, (), {"__module__": self.module})
        setattr(sys.modules[self.module], self.name, cls)
        return cls

    def __exit__(self, *_: object) -> None:
        for name, module in self.before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _with_state(cls: type, state: dict[str, Any]) -> Any:
    made = cls()
    made.__dict__.update(state)
    return made


class _Python2Pickle(pickle._Pickler):
    """Protocol 2 with the byte strings of Python 2 (opcodes U and T), for text and for array data alike."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    @classmethod
    def dumps(cls, content: Any) -> bytes:
        import io

        buffer = io.BytesIO()
        cls(buffer, 2).dump(content)
        return buffer.getvalue()

    def _save_string(self, content: bytes | str) -> None:
        raw = content.encode("latin1") if isinstance(content, str) else content
        length = len(raw)
        self.write((b"U" + bytes([length]) if length < 256 else b"T" + length.to_bytes(4, "little")) + raw)
        self.memoize(content)

    dispatch[bytes] = _save_string
    dispatch[str] = _save_string


# ------------------------------------------------------------------ read back


@cache
def flame_model():
    """The model of seed 0, read from its own file."""
    from likeness.heads.flame_files import read_flame

    with tempfile.TemporaryDirectory() as folder:
        return read_flame(write_model(Path(folder) / "generic_model.pkl"))


@cache
def flame_embeddings():
    """The landmarks of seed 0, read from their own file."""
    from likeness.heads.flame_files import read_flame_landmarks
    from likeness.heads.flame_landmarks import FlameEmbeddings

    with tempfile.TemporaryDirectory() as folder:
        landmarks = read_flame_landmarks(write_embedding(Path(folder) / "landmark_embedding.npy"))
    return FlameEmbeddings.from_arrays(landmarks, flame_model().triangles)


@cache
def flame_head():
    """The head of seed 0."""
    from likeness.heads import flame
    from likeness.heads.flame_files import FlameChart

    triangles, uv_triangles, uv = topology()
    return flame.flame_head(
        flame_model(), flame_embeddings(), FlameChart(triangles, uv.astype(np.float32), uv_triangles)
    )
