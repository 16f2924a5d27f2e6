"""Stand-ins for FaceScape's licensed files: the bilinear model at full size over the published tables, to the numbers
that the reference implementation was recorded with, and a tiny model with tables of its own for all other tests.
"""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import numpy as np
from PIL import Image

from likeness.heads.facescape_files import TABLE_FILES, FaceScapeTables

N_SLOTS, N_SUBJECTS = 52, 847
MEAN_FACTOR, SPREAD = -1 / np.sqrt(847), 1 / np.sqrt(847)


# ------------------------------------------------------------------------------------------- full size


def write_full_model(folder: Path, tables: FaceScapeTables, seed: int = 2020) -> None:
    """core_847_50_52.npy (821 MB) and factors_id_847_50_52.npy of an invented head over the real charts."""
    rng = np.random.Generator(np.random.PCG64(seed))
    base, front = _head_shape(_vertex_uv(tables))
    expressions = _expression_fields(base, front)
    identities = _identity_fields(rng, base, front)
    gain = 1.0 + 0.15 * rng.standard_normal((50, N_SLOTS))
    mix = 0.06 * rng.standard_normal((50, N_SLOTS))
    factors = (SPREAD * rng.standard_normal((N_SUBJECTS, 50))).astype(np.float32)
    factors[:, 0] = (MEAN_FACTOR + 1.4e-3 * rng.standard_normal(N_SUBJECTS)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    shape = (50, N_SLOTS, base.size)
    core = np.lib.format.open_memmap(folder / "core_847_50_52.npy", "w+", np.float32, shape)
    for slot in range(N_SLOTS):
        core[0, slot] = ((base + gain[0, slot] * expressions[slot]).ravel() / MEAN_FACTOR).astype(np.float32)
        for k in range(1, 50):
            core[k, slot] = ((identities[k] + mix[k, slot] * expressions[slot]).ravel() / SPREAD).astype(np.float32)
    core.flush()
    np.save(folder / "factors_id_847_50_52.npy", factors)


def _vertex_uv(tables: FaceScapeTables) -> np.ndarray:
    """One texture coordinate a vertex: that of the first corner which names it."""
    uv = np.zeros((tables.n_vertices, 2))
    uv[tables.triangles.ravel()[::-1]] = tables.uv[tables.uv_triangles.ravel()[::-1]]
    return uv


def _bump(p: np.ndarray, x: float, y: float, sx: float, sy: float) -> np.ndarray:
    return np.exp(-0.5 * (((p[:, 0] - x) / sx) ** 2 + ((p[:, 1] - y) / sy) ** 2))


def _head_shape(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (V, 3) in mm, and a weight that is one on the face and falls to zero behind."""
    angle = (uv[:, 0] - 0.5) * 2 * np.pi
    height = (uv[:, 1] - 0.68) / 0.36
    dome = np.sqrt(np.clip(1.0 - height**2, 0.02, None))
    width = np.where(height > 0, dome, 0.5 + 0.5 * np.exp(-((height / 0.6) ** 2)))
    depth = np.where(height > 0, dome, 0.5 + 0.5 * width)
    x, y, z = 75.0 * np.sin(angle) * width, 370.0 * (uv[:, 1] - 0.6), 92.0 * np.cos(angle) * depth
    front = 1.0 / (1.0 + np.exp(-(np.cos(angle) - 0.15) / 0.12))
    p = np.stack([x, y], 1)
    relief = 24.0 * _bump(p, 0, 8, 8, 10) + 12.0 * _bump(p, 0, 28, 6, 14)
    relief = relief + 6.0 * _bump(p, 0, -24, 18, 8) + 9.0 * _bump(p, 0, -58, 14, 11)
    relief = relief - 6.0 * (_bump(p, -30, 40, 12, 7) + _bump(p, 30, 40, 12, 7))
    relief = relief + 4.0 * (_bump(p, -28, 60, 18, 6) + _bump(p, 28, 60, 18, 6))
    relief = relief + 4.0 * (_bump(p, -38, 5, 14, 16) + _bump(p, 38, 5, 14, 16))
    return np.stack([x, y, z + front * relief], 1), front


# Slot by slot: x y of a bump in mm, its radii, and its motion at weight 1; "2" mirrors it for the subject's left and
# right in two slots, "+" adds a second bump in the same slot, "=" mirrors it in the same slot.
_MOTIONS = """
2 30 43 9 4 0 -8 0 | 2 30 36 10 4 0 3 1 | 2 30 44 9 4 0 -4 0 | 2 24 40 6 4 -1.5 0 1 | 2 30 45 9 4 0 4 0
2 38 40 6 4 1.5 0 1 | 2 30 46 9 4 0 2 1 | 2 26 62 16 7 -2 -7 1 | 1 0 62 14 9 0 8 1 | 2 34 63 13 8 0 8 1
+ 0 -58 34 20 0 -26 -6 0 -32 20 6 0 -16 -2 | 1 0 -26 22 5 0 4 0 | 1 0 -55 34 22 9 0 0 | 1 0 -55 34 22 -9 0 0
1 0 -55 34 22 0 -1 8 | 2 12 -20 9 4 0 6 2 | 2 12 -32 9 4 0 -6 1 | 1 0 -20 16 4 0 -3 -4 | 1 0 -32 16 4 0 3 -4
2 26 -26 10 9 7 8 -2 | 2 28 -26 8 7 6 1 -3 | 2 26 -30 11 9 7 -4 -1 | 2 24 -30 10 8 1 -7 -1 | 2 16 -26 8 5 -1 1 -3
= 22 -26 10 9 -9 0 5 | = 20 -26 10 10 -6 0 9 | 1 0 -26 26 10 8 0 0 | 1 0 -26 26 10 -8 0 0 | 1 0 -42 16 9 0 6 2
1 0 -20 15 6 0 5 2 | 2 12 10 8 10 0 6 1 | = 40 -15 16 16 3 0 7 | 2 36 24 11 9 0 5 2
"""


def _motions() -> list[list[list[float]]]:
    slots: list[list[list[float]]] = []
    for entry in _MOTIONS.replace("\n", "|").split("|"):
        if not entry.strip():
            continue
        kind, *words = entry.split()
        numbers = [float(word) for word in words]
        mirrored = [-numbers[0], *numbers[1:4], -numbers[4], *numbers[5:7]]
        match kind:
            case "1":
                slots.append([numbers])
            case "2":
                slots += [[numbers], [mirrored]]
            case "=":
                slots.append([numbers, mirrored])
            case "+":
                slots.append([numbers[:7], numbers[7:]])
    assert len(slots) == N_SLOTS - 1
    return slots


def _expression_fields(base: np.ndarray, front: np.ndarray) -> np.ndarray:
    fields = np.zeros((N_SLOTS, len(base), 3))
    for slot, parts in enumerate(_motions(), 1):
        for x, y, sx, sy, *motion in parts:
            fields[slot] += (front * _bump(base, x, y, sx, sy))[:, None] * np.array(motion)
    return fields


def _identity_fields(rng: np.random.Generator, base: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Fifty smooth fields, mm per standard deviation, free of shift, turn and size on the face; the first is zero."""
    c = base / 90.0
    fields = np.zeros((50, len(base), 3))
    for k in range(1, 50):
        frequency, size = 0.8 + 2.2 * (k / 50), 1.6 / (1.0 + 0.12 * k)
        for axis in range(3):
            waves = rng.standard_normal((2, 3)) * frequency
            phase = rng.uniform(0, 2 * np.pi, 2)
            fields[k, :, axis] = size * 0.7 * (np.sin(c @ waves[0] + phase[0]) + np.cos(c @ waves[1] + phase[1]))
    x, y, z = (c - c.mean(0)).T
    zero, one = np.zeros(len(c)), np.ones(len(c))
    rows = [
        [one, zero, zero],
        [zero, one, zero],
        [zero, zero, one],
        [zero, -z, y],
        [z, zero, -x],
        [-y, x, zero],
        [x, y, z],
    ]
    rigid = np.array(rows).transpose(0, 2, 1)
    seen = (rigid * front[:, None]).reshape(7, -1)
    share = np.linalg.solve(seen @ seen.T, seen @ (fields * front[:, None]).reshape(50, -1).T).T
    return fields - np.einsum("kg,gvc->kvc", share, rigid)


# ------------------------------------------------------------------------------------------- tiny


def write_tiny_model(folder: Path, *, n_identity: int = 6, seed: int = 7) -> dict[str, Path]:
    """All files of a small model of its own, in the official formats: a bent grid whose "front" is its middle."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    n_across, n_down = 31, 25
    row, column = np.divmod(np.arange(n_across * n_down), n_across)
    uv = np.stack([0.27 + 0.46 * column / (n_across - 1), 0.85 - 0.45 * row / (n_down - 1)], 1)
    angle = (column / (n_across - 1) - 0.5) * 2.6
    base = np.stack([70 * np.sin(angle), 90 - 180 * row / (n_down - 1), 80 * np.cos(angle)], 1)
    base[:, 2] += 20 * np.exp(-(base[:, 0] ** 2 + base[:, 1] ** 2) / 300)
    faces = _grid_faces(n_across, n_down)
    inner = np.flatnonzero((column > 1) & (column < n_across - 2))
    core = _tiny_core(rng, base, n_identity)
    np.save(folder / "core_847_50_52.npy", core)
    factors = rng.normal(0, SPREAD, (N_SUBJECTS, n_identity))
    factors[:, 0] = MEAN_FACTOR
    np.save(folder / "factors_id_847_50_52.npy", factors.astype(np.float32))
    _write_tables(folder, rng, base, uv, faces, inner, n_identity)
    return {name: folder / filename for name, (filename, _) in TABLE_FILES.items()}


def _tiny_core(rng: np.random.Generator, base: np.ndarray, n_identity: int) -> np.ndarray:
    core = np.zeros((n_identity, N_SLOTS, base.size), np.float32)
    centres = rng.uniform([-45, -70], [45, 70], (N_SLOTS, 2))
    for slot in range(N_SLOTS):
        shape = base.copy()
        if slot:
            shape += _bump(base, *centres[slot], 14, 14)[:, None] * rng.normal(0, 4, 3)
        core[0, slot] = shape.ravel() / MEAN_FACTOR
    for k in range(1, n_identity):
        wave = np.sin(base @ rng.normal(0, 0.02, (3, 3)) + rng.uniform(0, 6, 3)) * 2
        core[k] = wave.ravel() / SPREAD
    return core


def _grid_faces(n_across: int, n_down: int) -> np.ndarray:
    quads = np.arange((n_down - 1) * n_across).reshape(n_down - 1, n_across)[:, :-1].ravel()
    a, b, c, d = quads, quads + n_across, quads + n_across + 1, quads + 1
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def _write_tables(folder, rng, base, uv, faces, inner, n_identity) -> None:
    def dump(name: str, value) -> None:
        (folder / name).write_bytes(pickle.dumps(value, protocol=2))

    number = np.full(len(base), -1)
    number[inner] = np.arange(len(inner))
    front = number[faces[(number[faces] >= 0).all(1)]]
    dump("faces.pkl", (uv.tolist(), [((f + 1).tolist(), [0, 0, 0], (f + 1).tolist(), None) for f in faces]))
    dump("front_verts_indices.pkl", inner.tolist())
    dump("front_faces.pkl", [((f + 1).tolist(),) * 3 + ("material_0",) for f in front])
    dump("front_texcoords.pkl", uv[inner].tolist())
    dump("front_face_indices.pkl", np.flatnonzero((number[faces] >= 0).all(1)).tolist())
    landmarks = rng.choice(inner, 68, replace=False)
    (folder / "index_68.txt").write_text("\n".join(map(str, landmarks)) + "\n")
    lines = [[rng.choice(inner, 5, replace=False).tolist() for _ in range(8)] for _ in range(2)]
    dump("contour_line_68.pkl", tuple(lines))
    mean = np.zeros(n_identity, np.float32)
    mean[0] = MEAN_FACTOR
    dump("id_mean.pkl", mean)
    dump("id_var.pkl", np.full(n_identity, SPREAD**2, np.float32))
    (folder / "exp_GMM.pkl").write_bytes(_mixture_pickle(rng))
    mask = np.full((1024, 1024), 255, np.uint8)
    mask[100:924, 150:874] = 0
    Image.fromarray(mask).save(folder / "front_mask.png")


def _mixture_pickle(rng: np.random.Generator, n: int = N_SLOTS - 1, n_components: int = 3) -> bytes:
    """A mixture under scikit-learn's old class path, which is neither needed nor imported for reading it."""
    names = ["sklearn", "sklearn.mixture", "sklearn.mixture.gaussian_mixture"]
    modules = {name: types.ModuleType(name) for name in names}
    mixture_class = type("GaussianMixture", (), {"__module__": names[-1]})
    modules[names[-1]].GaussianMixture = mixture_class  # type: ignore[attr-defined]
    mixture = mixture_class()
    mixture.weights_ = np.array([0.5, 0.3, 0.2])
    mixture.means_ = rng.uniform(0, 0.4, (n_components, n))
    mixture.precisions_cholesky_ = np.stack([np.diag(rng.uniform(3, 8, n)) for _ in range(n_components)])
    kept = {name: sys.modules.get(name) for name in names}
    sys.modules.update(modules)
    try:
        return pickle.dumps(mixture, protocol=2)
    finally:
        for name, module in kept.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
