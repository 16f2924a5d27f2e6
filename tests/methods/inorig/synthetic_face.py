"""A face model with the size and layout of the one INORig reads, and invented numbers.

A bumpy ellipsoid over a grid of azimuth and elevation; everything follows from (rows, columns, seed), so that the
recorded reference numbers apply. 367 × 145 has the real model's 53,215 vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CONTOUR_AZIMUTH = [78, 77, 74, 68, 58, 46, 32, 17]
_CONTOUR_ELEVATION = [8, -4, -16, -27, -37, -45, -51, -55]


def _mirrored(points):
    return points + [(-a, e) for a, e in reversed(points)]


def _landmark_angles() -> np.ndarray:
    contour = [(-a, e) for a, e in zip(_CONTOUR_AZIMUTH, _CONTOUR_ELEVATION, strict=True)]
    contour = [*contour, (0, -57), *((-a, e) for a, e in reversed(contour))]
    brows = _mirrored([(-45, 27), (-38, 31), (-29, 32), (-20, 31), (-11, 28)])
    nose = [(0, 18), (0, 12), (0, 6), (0, 0), (-9, -7), (-5, -8), (0, -9), (5, -8), (9, -7)]
    eyes = [(-38, 17), (-32, 21), (-24, 21), (-17, 16), (-24, 13), (-32, 13)]
    eyes += [(17, 16), (24, 21), (32, 21), (38, 17), (32, 13), (24, 13)]
    outer = [(-20, -25), (-13, -21), (-6, -19), (0, -20), (6, -19), (13, -21), (20, -25)]
    outer += [(13, -31), (6, -34), (0, -35), (-6, -34), (-13, -31)]
    inner = [(-16, -25), (-6, -24), (0, -24), (6, -24), (16, -25), (6, -27), (0, -28), (-6, -27)]
    return np.array(contour + brows + nose + eyes + outer + inner, np.float64)


def _fields(azimuth, elevation, count, rng) -> np.ndarray:
    """Smooth vector fields as unit columns (3V, count), coordinates interleaved."""
    out = np.zeros((azimuth.size * 3, count))
    for k in range(count):
        frequency = 1.0 + 3.0 * k / count
        for axis in range(3):
            phase = rng.uniform(-np.pi, np.pi, 2)
            wave = rng.uniform(0.5, 1.5, 2) * frequency * np.pi / 180.0 * 1.8
            amplitude = rng.uniform(0.3, 1.0)
            out[axis::3, k] = np.cos(wave[0] * azimuth + phase[0]) * np.cos(wave[1] * elevation + phase[1]) * amplitude
        out[:, k] /= np.linalg.norm(out[:, k])
    return out


def _surface(azimuth, elevation) -> np.ndarray:
    a, e = np.radians(azimuth), np.radians(elevation)
    bumps = 24e3 * np.exp(-((azimuth / 9.0) ** 2) - ((elevation - 2.0) / 14.0) ** 2)
    bumps = bumps + 5e3 * np.exp(-((azimuth / 18.0) ** 2) - ((elevation + 27.0) / 7.0) ** 2)
    sockets = ((np.abs(azimuth) - 27.0) / 9.0) ** 2 + ((elevation - 17.0) / 6.0) ** 2
    bumps = bumps - 6e3 * np.exp(-sockets)
    z = 15e3 + 86e3 * np.cos(a) * np.cos(e) + bumps
    return np.stack([74e3 * np.sin(a) * np.cos(e), 104e3 * np.sin(e), z], 1)


def _albedo(azimuth, elevation, rng) -> np.ndarray:
    skin = np.array([196.0, 150.0, 126.0])
    albedo = skin + 12.0 * np.cos(np.radians(azimuth * 3.0))[:, None] * np.array([1.0, 0.8, 0.5])
    lips = np.exp(-((azimuth / 17.0) ** 4) - ((elevation + 27.0) / 6.0) ** 4)[:, None]
    albedo = albedo * (1 - lips) + lips * np.array([170.0, 84.0, 82.0])
    eyes = np.exp(-(((np.abs(azimuth) - 27.0) / 8.0) ** 4) - ((elevation - 17.0) / 3.5) ** 4)[:, None]
    albedo = albedo * (1 - eyes) + eyes * np.array([70.0, 60.0, 58.0])
    return np.clip(albedo + rng.normal(0, 2.0, albedo.shape), 5, 250)


@dataclass(frozen=True, eq=False)
class SyntheticFace:
    """The arrays `likeness.methods.inorig.template.build_template` takes; float32, the chart in double."""

    mean: np.ndarray
    shape_basis: np.ndarray
    shape_deviation: np.ndarray
    expression_basis: np.ndarray
    expression_deviation: np.ndarray
    albedo: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray
    uv: np.ndarray


def make_face(rows: int = 53, columns: int = 41, seed: int = 7) -> SyntheticFace:
    """The stand-in model."""
    rng = np.random.Generator(np.random.PCG64(seed))
    elevation, azimuth = (
        grid.ravel()
        for grid in np.meshgrid(np.linspace(-66.0, 62.0, rows), np.linspace(-100.0, 100.0, columns), indexing="ij")
    )
    n_vertices = rows * columns
    albedo = _albedo(azimuth, elevation, rng)
    shape_basis = _fields(azimuth, elevation, 100, rng)
    # Drawn by the reference's maker between the two bases, and not used by INORig: texture and old expression bases.
    for count in (3, 1, 29):
        _fields(azimuth, elevation, count, rng)
    expression_basis = _fields(azimuth, elevation, 79, rng)
    window = np.exp(-((azimuth / 45.0) ** 2) - ((elevation + 15.0) / 40.0) ** 2)
    expression_basis *= np.repeat(window, 3)[:, None]
    angles = _landmark_angles()
    landmarks = [np.argmin((azimuth - a) ** 2 + (elevation - e) ** 2) for a, e in angles]
    uv = np.stack([0.5 + azimuth / 100.0 * 0.40, 0.52 + elevation / 66.0 * 0.42], 1)
    return SyntheticFace(
        mean=_surface(azimuth, elevation).astype(np.float32),
        shape_basis=shape_basis[:, :80].reshape(n_vertices, 3, 80).astype(np.float32),
        shape_deviation=(np.sqrt(3.0 * n_vertices) * 3.0e3 * 0.955 ** np.arange(80)).astype(np.float32),
        expression_basis=expression_basis[:, :64].reshape(n_vertices, 3, 64).astype(np.float32),
        expression_deviation=(np.sqrt(3.0 * n_vertices) * 4.0e3 * 0.93 ** np.arange(64)).astype(np.float32),
        albedo=albedo.astype(np.float32),
        triangles=_triangles(rows, columns),
        landmarks=np.array(landmarks),
        uv=uv,
    )


def _triangles(rows: int, columns: int) -> np.ndarray:
    """Wound like the official file: clockwise from outside."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a, b = (i * columns + j).ravel(), (i * columns + j + 1).ravel()
    c, d = ((i + 1) * columns + j).ravel(), ((i + 1) * columns + j + 1).ravel()
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)], 0)
