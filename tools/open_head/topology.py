"""The baked mesh: MakeHuman's skin, mouth and teeth with finer eyeballs, its quads, triangles and mirror pairs.

MakeHuman's eyeball has eight segments, which stand a millimetre away from the sphere that they mean. Every shape
target moves it affinely, so a finer ball is a fixed linear map of the coarse one, and all targets follow.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from open_head.source import Array, Index, Source

N_SEGMENTS = 16
PUPIL_DEGREES = 7.0  # 2.0 mm on the mean head's ball of 16.4 mm
IRIS_DEGREES = 20.5  # 5.7 mm, an adult iris
RINGS = (PUPIL_DEGREES, 14.0, IRIS_DEGREES, 29.0, 45.0, 60.0, 78.0, 96.0, 115.0, 135.0, 157.0)

# The helper teeth end level with the lips' opening; upper incisors stand lower than the resting upper lip by 1-3 mm,
# close behind the lips and a little before the lower ones.
TEETH_SHIFT = {"teeth_upper": np.array([0.0, -3.5, 1.5]), "teeth_lower": np.array([0.0, -2.5, 0.5])}
# The helper tongue lies at the palate, where it hides everything in an open mouth; four mm above the teeth is enough.
TONGUE_SHIFT = np.array([0.0, -9.0, -4.0])

EYEBALLS = ("eyeball_left", "eyeball_right")


@dataclass(frozen=True)
class Topology:
    """Which source vertices make which baked vertex, and the faces over the baked vertices."""

    stencil: Array  # (V, V_source): baked vertices = stencil @ source vertices + offset
    offset: Array  # (V, 3) mm
    quads: Index  # (Q, 4)
    quad_part: list[str]
    quad_uv: Array  # (Q, 4, 2) MakeHuman's atlas; NaN on the eyeballs
    tris: Index  # (R, 3) the caps of the eyeballs
    tri_part: list[str]
    mirror: Index  # (V,)

    @property
    def n_vertices(self) -> int:
        return len(self.stencil)

    def apply(self, source_points: Array) -> Array:
        """Baked positions (or displacements, without the offset) of (..., V_source, 3) source points."""
        shape = source_points.shape
        columns = np.moveaxis(source_points, -2, 0).reshape(shape[-2], -1)
        baked = (csr_array(self.stencil) @ columns).reshape(-1, *shape[:-2], 3)
        return np.moveaxis(baked, 0, -2)

    def eye_centres(self, points: Array) -> Array:
        """(..., 2, 3) the middle of the left and the right eyeball: between their poles, its first and last vertex."""
        balls = [self.part_vertices(eye) for eye in EYEBALLS]
        return np.stack([(points[..., ball[0], :] + points[..., ball[-1], :]) / 2 for ball in balls], axis=-2)

    def part_vertices(self, part: str) -> Index:
        """Sorted vertex numbers of all faces of one part."""
        of_quads = self.quads[[p == part for p in self.quad_part]]
        of_tris = self.tris[[p == part for p in self.tri_part]]
        return np.union1d(of_quads, of_tris)


def build_topology(source: Source) -> Topology:
    """Keep everything but the eyeballs as it is, and append two fine eyeballs."""
    part = np.array(source.quad_part)
    is_eye = np.isin(part, EYEBALLS)
    kept = np.unique(source.quads[~is_eye])
    renumber = np.full(len(source.template), -1)
    renumber[kept] = np.arange(len(kept))
    rows = [np.eye(len(source.template))[kept]]
    quads, tris = [renumber[source.quads[~is_eye]]], []
    for eye in EYEBALLS:
        first = sum(len(r) for r in rows)
        coarse = np.unique(source.quads[part == eye])
        rows.append(_ball_stencil(source.template, coarse, mirrored=eye == "eyeball_right"))
        ball_quads, ball_tris = _ball_faces(mirrored=eye == "eyeball_right")
        quads.append(ball_quads + first)
        tris.append(ball_tris + first)
    stencil = np.concatenate(rows)
    offset = np.zeros((len(stencil), 3))
    for row, shift in TEETH_SHIFT.items():
        offset[renumber[np.unique(source.quads[part == row])]] = shift
    offset[renumber[np.unique(source.quads[part == "tongue"])]] = TONGUE_SHIFT
    no_uv = np.full((len(quads[1]), 4, 2), np.nan)
    return Topology(
        stencil=stencil,
        offset=offset,
        quads=np.concatenate(quads),
        quad_part=[*part[~is_eye], *np.repeat(EYEBALLS, len(quads[1]))],
        quad_uv=np.concatenate([source.uv[~is_eye], no_uv, no_uv]),
        tris=np.concatenate(tris),
        tri_part=list(np.repeat(EYEBALLS, len(tris[0]))),
        mirror=mirror_pairs(stencil @ source.template + offset),
    )


def mirror_pairs(points: Array, tolerance: float = 1e-3) -> Index:
    """The vertex at each vertex's mirror image; raises ValueError if one has none within the tolerance (mm)."""
    distance, pair = cKDTree(points).query(points * [-1.0, 1.0, 1.0])
    if distance.max() > tolerance or not np.array_equal(pair[pair], np.arange(len(points))):
        raise ValueError(f"the mesh is not symmetric: {distance.max():.4f} mm")
    return pair.astype(np.int64)


def split_quads(quads: Index, tris: Index, points: Array, mirror: Index) -> Index:
    """Triangles (2Q + R, 3) along the shorter diagonal; a quad and its mirror image are split alike.

    Triangles 2q and 2q + 1 come of quad q; the loose triangles follow.
    """
    corner = points[quads]
    first = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1)
    second = np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    partner = _mirrored_face(quads, mirror)
    cut_first = np.zeros(len(quads), dtype=bool)
    for q, twin in enumerate(partner):
        if twin < q:  # corners 0 and 2 of the twin may be corners 1 and 3 here
            diagonal = {mirror[quads[twin, 0]], mirror[quads[twin, 2]]}
            cut_first[q] = cut_first[twin] == (diagonal == {quads[q, 0], quads[q, 2]})
        else:
            cut_first[q] = first[q] <= second[q]
    a = np.where(cut_first[:, None], quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    b = np.where(cut_first[:, None], quads[:, [0, 2, 3]], quads[:, [1, 2, 3]])
    return np.concatenate([np.stack([a, b], axis=1).reshape(-1, 3), tris])


def _mirrored_face(faces: Index, mirror: Index) -> Index:
    number = {tuple(sorted(face)): i for i, face in enumerate(faces.tolist())}
    return np.array([number[tuple(sorted(mirror[face].tolist()))] for face in faces])


def _ball_stencil(template: Array, coarse: Index, *, mirrored: bool) -> Array:
    """Rows over the source vertices: the affine map of the unit sphere that fits the coarse ball, at new points."""
    points = template[coarse]
    centre = points.mean(axis=0)
    normal = (points - centre) / np.linalg.norm(points - centre, axis=1, keepdims=True)
    ones = np.ones((len(normal), 1))
    fit = np.linalg.pinv(np.concatenate([normal, ones], axis=1))  # (4, n): affine map out of coarse points
    directions = _ball_directions(mirrored=mirrored)
    rows = np.zeros((len(directions), len(template)))
    rows[:, coarse] = np.concatenate([directions, np.ones((len(directions), 1))], axis=1) @ fit
    return rows


def _ball_directions(*, mirrored: bool) -> Array:
    """Unit vectors: the pole of the pupil (+z), the rings, the pole at the back."""
    theta = np.radians(RINGS)[:, None]
    phi = 2 * np.pi * np.arange(N_SEGMENTS)[None] / N_SEGMENTS
    ring = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], axis=-1
    ).reshape(-1, 3)
    ring = np.concatenate([[[0.0, 0.0, 1.0]], ring, [[0.0, 0.0, -1.0]]])
    return ring * [-1.0, 1.0, 1.0] if mirrored else ring


def _ball_faces(*, mirrored: bool) -> tuple[Index, Index]:
    number = 1 + np.arange(len(RINGS) * N_SEGMENTS).reshape(len(RINGS), N_SEGMENTS)
    after = np.roll(number, -1, axis=1)
    quads = np.stack([number[:-1], number[1:], after[1:], after[:-1]], axis=-1).reshape(-1, 4)
    last = len(RINGS) * N_SEGMENTS + 1
    front = np.stack([np.zeros_like(number[0]), number[0], after[0]], axis=1)
    back = np.stack([np.full_like(number[0], last), after[-1], number[-1]], axis=1)
    tris = np.concatenate([front, back])
    return (quads[:, ::-1], tris[:, ::-1]) if mirrored else (quads, tris)
