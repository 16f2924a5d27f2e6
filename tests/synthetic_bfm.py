"""A made-up Basel model: every official file with its real names, shapes, types and index bases, from one seed.

The recorded numbers under ``tests/goldens/deep3d`` were made on exactly these numbers (seed 20190320). The face is a
dome with a nose over a 189 × 189 grid; the bases are smooth waves. Nothing comes from the Basel Face Model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.io import savemat

SEED = 20190320
N_RAW, N_TRIMMED, N_FRONT = 53490, 53215, 35709
N_TRIANGLES, N_REGION_TRIANGLES, N_REGION, N_SKIN, N_RAW_TRIANGLES = 70789, 54681, 27660, 9642, 106466
SIDE = 189
REGION_START = 4000
N_COMPONENTS, N_EXPRESSIONS = 199, 79


@dataclass(frozen=True, eq=False)
class Recipe:
    """Everything drawn from the seed, before any large array is made."""

    trimmed: np.ndarray  # (N_TRIMMED,) raw vertex
    front: np.ndarray  # (N_FRONT,) trimmed vertex
    plane: np.ndarray  # (N_RAW, 2) where each raw vertex lies in the frontal plane, dm
    shape_waves: list
    albedo_waves: list
    albedo_frequency: np.ndarray
    raw_triangles: np.ndarray
    expression_waves: list
    expression_mean: np.ndarray
    triangles: np.ndarray  # 0-based
    incident: np.ndarray
    region_triangles: np.ndarray
    skin: np.ndarray
    keypoints: np.ndarray

    @property
    def selected(self) -> np.ndarray:
        return self.trimmed[self.front]


@cache
def recipe(seed: int = SEED) -> Recipe:
    """Draw in the order the recorded numbers were drawn."""
    rng = np.random.Generator(np.random.PCG64(seed))
    trimmed = np.sort(rng.permutation(N_RAW)[:N_TRIMMED])
    front = np.sort(rng.permutation(N_TRIMMED)[:N_FRONT])
    plane = rng.uniform(-1.2, 1.2, (N_RAW, 2))
    row, column = np.divmod(np.arange(N_FRONT), SIDE)
    grid = np.stack([-0.78 + 1.56 * column / (SIDE - 1), 0.8 - 1.7 * row / (SIDE - 1)], 1)
    plane[trimmed[front]] = grid
    shape_waves = _draw_waves(rng, N_COMPONENTS, 2.0)
    albedo_waves = _draw_waves(rng, N_COMPONENTS, 3.0)
    albedo_frequency = rng.standard_normal((2, 3))
    raw_triangles = rng.integers(1, N_RAW + 1, (N_RAW_TRIANGLES, 3))
    expression_waves = _draw_waves(rng, N_EXPRESSIONS, 2.5)
    expression_mean = rng.standard_normal(3 * N_TRIMMED).astype(np.float32) * 1000
    triangles = _grid_triangles()[rng.permutation(N_TRIANGLES)]
    incident = _incident(triangles, rng.permutation(N_TRIANGLES))
    skin = np.zeros(N_FRONT, np.float32)
    skin[rng.permutation(N_FRONT)[:N_SKIN]] = 1
    wanted = landmark_layout() + rng.standard_normal((68, 2)) * 0.004
    keypoints = np.array([np.argmin(((grid - point) ** 2).sum(1)) for point in wanted])
    inside = ((triangles >= REGION_START) & (triangles < REGION_START + N_REGION)).all(1)
    region_triangles = (triangles[inside] - REGION_START)[:N_REGION_TRIANGLES]
    return Recipe(
        trimmed, front, plane, shape_waves, albedo_waves, albedo_frequency, raw_triangles, expression_waves,
        expression_mean, triangles, incident, region_triangles, skin, keypoints,
    )  # fmt: skip


@cache
def front_entries(seed: int = SEED) -> dict[str, np.ndarray]:
    """The content of ``BFM_model_front.mat``, straight from the recipe: only the vertices and components it keeps."""
    r = recipe(seed)
    plane = r.plane[r.selected]
    amplitude = np.sqrt(2.0 / (3 * N_RAW))
    shape = _waves(plane, r.shape_waves[:80], amplitude)
    albedo = _waves(plane, r.albedo_waves[:80], amplitude)
    expression = _waves(plane, r.expression_waves[:64], amplitude)
    return {
        "meanshape": ((_mean(plane) * 1e5).astype(np.float32) / np.float32(1e5)).reshape(1, -1),
        "meantex": _albedo(r, plane).astype(np.float32).reshape(1, -1),
        "idBase": shape * shape_deviations()[:80] / np.float32(1e5),
        "exBase": expression * expression_deviations()[:64] / 1e5,
        "texBase": albedo * albedo_deviations()[:80],
        **_fixed_entries(r),
    }


def write_raw(folder: Path, seed: int = SEED) -> dict[str, Path]:
    """The official files, 310 MB, by name."""
    r = recipe(seed)
    amplitude = np.sqrt(2.0 / (3 * N_RAW))
    raw = {
        "shapeMU": (_mean(r.plane).reshape(-1, 1) * 1e5).astype(np.float32),
        "shapePC": _waves(r.plane, r.shape_waves, amplitude),
        "shapeEV": shape_deviations()[:, None],
        "texMU": _albedo(r, r.plane).reshape(-1, 1).astype(np.float32),
        "texPC": _waves(r.plane, r.albedo_waves, amplitude),
        "texEV": albedo_deviations()[:, None],
        "tl": r.raw_triangles.astype(np.float64),
    }
    savemat(folder / "01_MorphableModel.mat", raw)
    basis = _waves(r.plane[r.trimmed], r.expression_waves, amplitude)
    with (folder / "Exp_Pca.bin").open("wb") as file:
        np.array([N_EXPRESSIONS], "<i4").tofile(file)
        r.expression_mean.astype("<f4").tofile(file)
        np.ascontiguousarray(basis.T).astype("<f4").tofile(file)
    (folder / "std_exp.txt").write_text(" ".join(f"{value:.6g}" for value in 450000.0 * _decay(0.095, N_EXPRESSIONS)))
    savemat(folder / "BFM_exp_idx.mat", {"trimIndex": (r.trimmed + 1).astype(np.uint16)[:, None]})
    savemat(folder / "BFM_front_idx.mat", {"idx": (r.front + 1).astype(np.float32)[:, None]})
    savemat(folder / "facemodel_info.mat", _fixed_entries(r))
    savemat(folder / "similarity_Lm3D_all.mat", {"lm": standard_landmarks(seed)})
    return {path.name: path for path in folder.iterdir()}


def standard_landmarks(seed: int = SEED) -> np.ndarray:
    """(68, 3) the landmarks of the mean, about its centroid, dm: ``similarity_Lm3D_all.mat``."""
    r = recipe(seed)
    mean = _mean(r.plane[r.selected])
    return (mean - mean.mean(0))[r.keypoints].astype(np.float32)


def shape_deviations() -> np.ndarray:
    return (884340.0 * _decay(0.045, N_COMPONENTS)).astype(np.float32)


def albedo_deviations() -> np.ndarray:
    return (4200.0 * _decay(0.03, N_COMPONENTS)).astype(np.float32)


def expression_deviations() -> np.ndarray:
    """As they survive the six digits of the text file."""
    return np.array([float(f"{value:.6g}") for value in 450000.0 * _decay(0.095, N_EXPRESSIONS)])


def landmark_layout() -> np.ndarray:
    """(68, 2) a frontal layout of the iBUG points, dm, y up."""
    angle = np.linspace(1.02, 1.98, 17) * np.pi
    jaw = np.stack([0.68 * np.cos(angle), 0.18 + 0.92 * np.sin(angle)], 1)
    t = np.linspace(0, 1, 5)
    brow = np.stack([-0.58 + 0.42 * t, 0.44 + 0.08 * np.sin(np.pi * t)], 1)
    ridge = np.stack([np.zeros(4), np.linspace(0.28, -0.04, 4)], 1)
    base = np.stack([np.linspace(-0.14, 0.14, 5), -0.12 - 0.03 * np.cos(np.linspace(-1.5, 1.5, 5))], 1)
    eye = [180, 120, 60, 0, 300, 240]
    outer = np.r_[np.linspace(180, 0, 7), np.linspace(-30, -150, 5)]
    inner = np.r_[np.linspace(180, 0, 5), np.linspace(-45, -135, 3)]
    ovals = [(-0.31, 0.29, 0.12, 0.045, eye), (0.31, 0.29, 0.12, 0.045, eye)]
    ovals += [(0.0, -0.38, 0.25, 0.09, outer), (0.0, -0.38, 0.2, 0.035, inner)]
    rounds = [_oval(*oval) for oval in ovals]
    return np.concatenate([jaw, brow, brow[::-1] * [-1, 1], ridge, base, *rounds])


def _oval(x: float, y: float, width: float, height: float, degrees) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], 1)


def _mean(plane: np.ndarray) -> np.ndarray:
    """(V, 3) dm: the dome, shifted so that recentring matters."""
    x, y = plane.T
    dome = 0.62 * np.sqrt(np.clip(1.0 - (x / 1.0) ** 2 - (y / 1.15) ** 2, 0.0, None))
    nose = 0.16 * np.exp(-((x / 0.13) ** 2) - (((y + 0.02) / 0.22) ** 2))
    return np.stack([x, y + 0.05, dome + nose - 0.2 + 0.35], 1)


def _albedo(r: Recipe, plane: np.ndarray) -> np.ndarray:
    return np.array([175.0, 130.0, 105.0]) + 25 * np.cos(plane @ r.albedo_frequency * 2)


def _decay(rate: float, n: int) -> np.ndarray:
    return np.exp(-rate * np.arange(n))


def _draw_waves(rng: np.random.Generator, n: int, frequency: float) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(rng.standard_normal((3, 2)) * frequency, rng.uniform(0, 2 * np.pi, 3)) for _ in range(n)]


def _waves(plane: np.ndarray, waves: list, amplitude: float) -> np.ndarray:
    """(3 V, n) float32, x y z interleaved."""
    out = np.empty((3 * len(plane), len(waves)), np.float32)
    for k, (frequency, phase) in enumerate(waves):
        out[:, k] = (amplitude * np.cos(plane @ frequency.T + phase)).reshape(-1)
    return out


def _grid_triangles() -> np.ndarray:
    column = np.arange(N_FRONT) % SIDE
    i = np.flatnonzero((column < SIDE - 1) & (np.arange(N_FRONT) + SIDE + 1 < N_FRONT))
    below = np.stack([i, i + SIDE, i + 1], 1), np.stack([i + 1, i + SIDE, i + SIDE + 1], 1)
    triangles = np.concatenate(below)
    missing = N_TRIANGLES - len(triangles)
    start = REGION_START + 400 + 97 * np.arange(missing)
    start = start[(start % SIDE) < SIDE - 4]
    start = np.concatenate([start, start + 5 * SIDE + 3])[:missing]
    return np.concatenate([triangles, np.stack([start, start + SIDE, start + 2], 1)])


def _incident(triangles: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(V, 8) 0-based triangles about each vertex, in the order their numbers come in ``order``; padded with T."""
    vertex, triangle = triangles[order].reshape(-1), np.repeat(order, 3)
    by_vertex = np.argsort(vertex, kind="stable")
    vertex, triangle = vertex[by_vertex], triangle[by_vertex]
    slot = np.arange(len(vertex)) - np.searchsorted(vertex, vertex)
    out = np.full((N_FRONT, 8), len(triangles))
    out[vertex, slot] = triangle
    return out


def _fixed_entries(r: Recipe) -> dict[str, np.ndarray]:
    region = REGION_START + np.arange(N_REGION)
    entries = {
        "tri": r.triangles + 1,
        "keypoints": r.keypoints[None] + 1,
        "point_buf": r.incident + 1,
        "tri_mask2": r.region_triangles + 1,
        "frontmask2_idx": region[:, None] + 1,
        "skinmask": r.skin[None],
    }
    return {name: value.astype(np.float32) for name, value in entries.items()}


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    """Recorded numbers by file name."""
    with np.load(Path(__file__).parent / "goldens" / "deep3d" / f"{name}.npz") as file:
        return dict(file)


@cache
def front_model():
    """The front face as `likeness.heads.bfm_files` reads it."""
    from likeness.heads.bfm_files import front_from_entries

    return front_from_entries(front_entries(), "synthetic")
