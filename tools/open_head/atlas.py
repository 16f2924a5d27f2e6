"""A texture atlas of the head alone: one upright, symmetric chart for face, scalp and neck, small ones for the rest."""

from dataclasses import dataclass

import numpy as np

from open_head.flatten import flatten, signed_area
from open_head.source import Array, Index
from open_head.topology import N_SEGMENTS, RINGS, Topology

FACE_SCALE, REST_SCALE, EAR_SCALE = 1.0, 0.3, 0.5  # length in the texture per mm, relative
JAW_OPEN = 0.3  # the skin is flattened with a slightly open mouth, which leaves room between the lips
BALL_FRONT_DEGREES = 96.0  # a ring of the eyeball; the part behind it is a chart of its own
MARGIN = 0.006
ROUNDING = 2.0**16  # UVs are stored on this grid, far finer than a texel

# (left, bottom, right, top) of each chart
BOXES = {
    "skin": (0.0, 0.262, 1.0, 1.0),
    "eyeball_right": (0.0, 0.05, 0.2, 0.25),
    "eyeball_left": (0.8, 0.05, 1.0, 0.25),
    "mouth_cavity": (0.4, 0.0, 0.6, 0.25),
    "tongue": (0.2, 0.09, 0.4, 0.25),
    "teeth_upper": (0.6, 0.17, 0.8, 0.25),
    "teeth_lower": (0.6, 0.09, 0.8, 0.17),
    "eye_cavity_right": (0.2, 0.0, 0.29, 0.09),
    "eye_cavity_left": (0.71, 0.0, 0.8, 0.09),
    "eyeball_back_right": (0.3, 0.0, 0.39, 0.09),
    "eyeball_back_left": (0.61, 0.0, 0.7, 0.09),
}


@dataclass(frozen=True)
class Atlas:
    uv: Array  # (U, 2) in [0, 1], origin bottom-left
    uv_triangles: Index  # (T, 3)
    uv_quads: Index  # (Q, 4)
    charts: dict[str, Index]  # triangle numbers by chart


def build_atlas(
    topology: Topology, triangles: Index, mean: Array, jaw_open: Array, face_paint: Array, ear_paint: Array
) -> Atlas:
    """Charts of all parts; each is, or each pair are, exact mirror images."""
    cuts = _cut_paths(topology, triangles, mean)
    cut_triangles = _cut(triangles, cuts, mean)
    cut_quads = _cut(topology.quads, cuts, mean)
    of_triangle = _chart_names(topology, triangles, mean)
    points = np.concatenate([mean, mean[cuts]])
    opened = points + JAW_OPEN * np.concatenate([jaw_open, jaw_open[cuts]])
    scale = _scales(triangles, face_paint, ear_paint)
    uv_of, uv_triangles, uv_quads = [], np.zeros_like(triangles), np.zeros_like(topology.quads)
    number: dict[tuple[str, int], int] = {}
    charts = {name: np.flatnonzero(of_triangle == name) for name in BOXES}
    n_quads = len(topology.quads)
    for name, rows in charts.items():
        used, local = np.unique(cut_triangles[rows], return_inverse=True)
        local = local.reshape(-1, 3)
        planar = _lay_out(name, opened[used] if name == "skin" else points[used], local, scale[rows])
        first = sum(map(len, uv_of))
        uv_of.append(_fit(planar, BOXES[name]))
        uv_triangles[rows] = local + first
        number |= {(name, int(vertex)): first + i for i, vertex in enumerate(used)}
        for quad in np.unique(rows[rows < 2 * n_quads] // 2):
            uv_quads[quad] = [number[name, int(vertex)] for vertex in cut_quads[quad]]
    uv = _symmetric(np.concatenate(uv_of), number, cuts, topology.mirror)
    return Atlas(np.round(uv * ROUNDING) / ROUNDING, uv_triangles, uv_quads, charts)


def _symmetric(uv: Array, number: dict[tuple[str, int], int], cuts: Index, mirror: Index) -> Array:
    """Average every UV with its mirror image (the solver leaves them apart by rounding errors)."""
    n = len(mirror)
    doubled = {int(vertex): n + i for i, vertex in enumerate(cuts)}
    twin, shift = np.zeros(len(uv), dtype=np.int64), np.zeros((len(uv), 1))
    for (chart, vertex), row in number.items():
        side = chart.replace("left", "*").replace("right", "left").replace("*", "right")
        image = int(cuts[vertex - n]) if vertex >= n else doubled.get(vertex, int(mirror[vertex]))
        if (side, image) not in number:  # a chart's own cut vertex that ends on the rim
            image = int(mirror[vertex])
        twin[row] = number[side, image]
        shift[row] = BOXES[chart][0] + BOXES[side][2]
    return (uv + (uv[twin] * [-1.0, 1.0] + shift * [1.0, 0.0])) / 2


def _scales(triangles: Index, face_paint: Array, ear_paint: Array) -> Array:
    face, ear = face_paint[triangles].mean(axis=1), ear_paint[triangles].mean(axis=1)
    return np.where(ear > 0.5, EAR_SCALE, REST_SCALE + (FACE_SCALE - REST_SCALE) * face)


def _chart_names(topology: Topology, triangles: Index, mean: Array) -> np.ndarray:
    names = np.array([*np.repeat(topology.quad_part, 2), *topology.tri_part], dtype="<U24")
    left = mean[triangles][:, :, 0].mean(axis=1) > 0
    cavity = names == "eye_cavity"
    names[cavity] = np.where(left[cavity], "eye_cavity_left", "eye_cavity_right")
    degrees = np.concatenate([[0.0], np.repeat(RINGS, N_SEGMENTS), [180.0]])
    for side in ("left", "right"):
        ball = topology.part_vertices(f"eyeball_{side}")
        behind = np.isin(triangles, ball[degrees > BALL_FRONT_DEGREES]).any(axis=1)
        names[(names == f"eyeball_{side}") & behind] = f"eyeball_back_{side}"
    return names


def _cut_paths(topology: Topology, triangles: Index, mean: Array) -> Index:
    """Vertices of the midline that are doubled: the back of the head up to the crown, the tongue's underside."""
    part = np.array([*np.repeat(topology.quad_part, 2), *topology.tri_part])
    skin = _midline(triangles[part == "skin"], mean)
    back_rim = min(skin.ends, key=lambda v: mean[v, 2])
    path = skin.walk(back_rim)
    crown = int(np.argmax(mean[path, 1]))
    tongue = _midline(triangles[part == "tongue"], mean)
    ring = tongue.walk(min(tongue.neighbours, key=lambda v: mean[v, 2]))
    tip = int(np.argmax(mean[ring, 2]))
    halves = ring[: tip + 1], [ring[0], *ring[: tip - 1 : -1]]
    below = min(halves, key=lambda half: mean[half, 1].mean())
    # The ends of a path stay single, save where it starts at the rim.
    return np.array([*path[:crown], *below[1:-1]])


@dataclass(frozen=True)
class _Midline:
    neighbours: dict[int, list[int]]

    @property
    def ends(self) -> list[int]:
        return [v for v, near in self.neighbours.items() if len(near) == 1]

    def walk(self, start: int) -> list[int]:
        """From `start` along the line, to its other end or once around."""
        path, before = [start], -1
        while True:
            onward = [v for v in self.neighbours[path[-1]] if v != before and v != start]
            if not onward:
                return path
            before = path[-1]
            path.append(onward[0])


def _midline(triangles: Index, mean: Array) -> _Midline:
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    central = np.abs(mean[:, 0]) < 1e-6
    neighbours: dict[int, list[int]] = {}
    for a, b in np.unique(np.sort(edges[central[edges].all(axis=1)], axis=1), axis=0).tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    return _Midline(neighbours)


def _cut(faces: Index, cuts: Index, mean: Array) -> Index:
    """Faces of the right half use the doubles (numbered after the vertices) of the cut's vertices."""
    double = np.arange(len(mean))
    double[cuts] = len(mean) + np.arange(len(cuts))
    right = mean[faces][:, :, 0].mean(axis=1) < 0
    return np.where(right[:, None], double[faces], faces)


def _lay_out(name: str, points: Array, triangles: Index, scale: Array) -> Array:
    if name.startswith("eyeball"):
        return _ball_disc(points, back="back" in name)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    directed = set(map(tuple, edges.tolist()))
    rim = np.array(sorted({a for a, b in directed if (b, a) not in directed}))
    planar = flatten(points, triangles, _start_vertex(points, rim), scale)
    return planar * np.sign(signed_area(planar, triangles).sum())


def _start_vertex(points: Array, rim: Index) -> int:
    """The lowest rim vertex: of those on the midline, so that the chart comes out upright, if there are any."""
    central = rim[np.abs(points[rim, 0]) < 1e-6]
    candidates = central if len(central) else rim
    return int(candidates[np.argmin(points[candidates, 1])])


def _ball_disc(points: Array, *, back: bool) -> Array:
    """Lambert's equal-area disc about the pupil's pole, or seen from behind about the pole at the back."""
    height = points[:, 2] - points[:, 2].min() if back else points[:, 2].max() - points[:, 2]
    offset = points[:, :2] - points[height.argmin(), :2]
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    planar = offset / np.maximum(distance, 1e-9) * np.sqrt(height)[:, None]
    return planar * [-1.0, 1.0] if back else planar


def _fit(planar: Array, box: tuple[float, float, float, float]) -> Array:
    """Scale into the box, centred, keeping the aspect."""
    low, high = planar.min(axis=0), planar.max(axis=0)
    room = np.array([box[2] - box[0], box[3] - box[1]]) - 2 * MARGIN
    factor = (room / (high - low)).min()
    return (planar - (low + high) / 2) * factor + [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
