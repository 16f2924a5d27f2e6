"""Heads of other topologies with real faces and a known correspondence, in place of licensed models.

The open head's skin is cut out of its chart, strewn with new points, triangulated anew, bent and resized: another mesh
of another person, of which every vertex knows the point of the open head it is. Its nostrils are closed, as those of
the licensed models are. `flame_head` puts a FLAME on it:
joints, a jaw that opens the mouth, expressions that are mixtures. `bfm_head` is a front face without neck whose eyes
are one surface with the lids.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.spatial import Delaunay, KDTree

from likeness.heads import Embedding, load_head
from likeness.heads.bfm import BfmHead
from likeness.heads.bfm_model import BfmModel
from likeness.heads.flame import FlameHead
from likeness.heads.flame import flame_head as flame_head_of
from likeness.heads.flame_files import N_SHAPE, FlameModel
from likeness.heads.flame_landmarks import FlameEmbeddings
from likeness.heads.nearest import MeshPoints, SurfaceIndex, nearest_barycentric
from likeness.meshes import boundary_edges, connected_components, unique_edges

JAW_OPEN = 0.33
"""A jaw's turn, rad, that opens the stand-in FLAME's mouth about as wide as the open head's jawOpen."""


@dataclass(frozen=True, eq=False)
class Remesh:
    """``truth`` is the point of the open head that each vertex is; ``vertices`` (V, 3) lie on another person, mm."""

    vertices: np.ndarray
    triangles: np.ndarray
    truth: MeshPoints

    def carried(self, values: np.ndarray) -> np.ndarray:
        """Values at the open head's vertices, at this mesh's."""
        return self.truth.of(values, load_head("open").topology.triangles)


def bent(points: np.ndarray) -> np.ndarray:
    """Another face: longer, wider below, deeper, a little crooked. Smooth, and one to one."""
    x, y, z = points.T / 100
    return 100 * np.stack(
        [
            1.04 * x + 0.03 * np.sin(2.2 * y) * x + 0.01 * np.sin(3 * y),
            1.07 * y + 0.025 * np.sin(2.5 * z + 1) + 0.02 * np.cos(3 * x),
            0.97 * z + 0.03 * np.cos(2.5 * y) + 0.03 * x**2,
        ],
        1,
    )


def resized(open_vertices: np.ndarray, *, identity: int) -> np.ndarray:
    """The open head's vertices on the stand-ins' average person."""
    head = load_head("open")
    code = 0.6 * torch.randn(1, head.n_identity, generator=torch.Generator().manual_seed(identity))
    with torch.no_grad():
        other = head.vertices(code)[0].double().numpy()
    return bent(closed(other + open_vertices - average()))


def closed(points: np.ndarray) -> np.ndarray:
    """The open head's vertices with a skin over the nostrils that is stretched from their rims."""
    hollow, rim, weights = _nostril_lids()
    covered = points.copy()
    covered[hollow] = weights @ points[rim]
    return covered


@cache
def _nostril_lids() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of the hollows, those around them, and harmonic weights: each vertex is the mean of its neighbours."""
    topology = load_head("open").topology
    edges = unique_edges(topology.triangles_tensor)[0].numpy()
    edges = edges[topology.region("nostrils")[edges].any(1)]
    joined = np.zeros((len(topology.mirror),) * 2, bool)
    joined[edges[:, 0], edges[:, 1]] = joined[edges[:, 1], edges[:, 0]] = True
    hollow = np.flatnonzero(topology.region("nostrils"))
    rim = np.setdiff1d(np.unique(edges), hollow)
    within = np.diag(joined[hollow].sum(1)).astype(float) - joined[np.ix_(hollow, hollow)]
    return hollow, rim, np.linalg.solve(within, joined[np.ix_(hollow, rim)].astype(float))


@cache
def average() -> np.ndarray:
    head = load_head("open")
    with torch.no_grad():
        return head.vertices(torch.zeros(1, head.n_identity))[0].double().numpy()


@cache
def open_shapes() -> np.ndarray:
    """(52, N, 3) the open head's own blendshapes, mm."""
    head = load_head("open")
    with torch.no_grad():
        return head.vertices(torch.zeros(52, head.n_identity), torch.eye(52)).double().numpy() - average()


@cache
def remesh(n_points: int, seed: int, *, front_only: bool, eyeballs: bool) -> Remesh:
    """Skin with ``n_points`` strewn over it, whole or the face alone, with separate eyeballs or none."""
    head, rng = load_head("open"), np.random.default_rng(seed)
    triangles, uv_triangles, uv = head.topology.triangles, head.topology.uv_triangles, head.topology.uv
    labels = connected_components(torch.from_numpy(uv_triangles.astype(np.int64)), len(uv)).numpy()
    nose = np.flatnonzero(head.topology.region("nose"))[0]
    chart = labels[uv_triangles[(triangles == nose).any(1)][0, 0]]
    kept = labels[uv_triangles[:, 0]] == chart
    if front_only:
        kept &= head.topology.region("face")[triangles].all(1)
    own = np.flatnonzero(kept)
    points, truth = _strewn(own, n_points, rng)
    new = _triangulated(points, truth, own)
    vertices = truth.of(resized(average(), identity=seed), triangles)
    if eyeballs:
        vertices, new, truth = _with_eyeballs(vertices, new, truth, seed)
    return _compact(vertices, new, truth)


def _strewn(own: np.ndarray, n_points: int, rng: np.random.Generator) -> tuple[np.ndarray, MeshPoints]:
    """Points of the chart: its border's and its lids' and lips' own, so that those keep their edges, and new ones.

    With what they are.
    """
    head = load_head("open")
    triangles, uv_triangles, uv = head.topology.triangles, head.topology.uv_triangles, head.topology.uv
    corners = closed(average())[triangles[own]]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    busy = head.topology.region("lips") | head.topology.region("eyelids")
    area = np.where(busy[triangles[own]].any(1), 6 * area, area)
    drawn = rng.choice(len(own), n_points, p=area / area.sum())
    weights = rng.dirichlet([1.5, 1.5, 1.5], n_points)
    edges = boundary_edges(torch.from_numpy(uv_triangles[own].astype(np.int64))).numpy().ravel()
    edges = np.union1d(edges, uv_triangles[own][busy[triangles[own]]])
    at = {int(corner): (t, k) for t in own for k, corner in enumerate(uv_triangles[t])}
    border = np.array([at[int(corner)] for corner in edges])
    triangle = np.concatenate([border[:, 0], own[drawn]])
    barycentric = np.concatenate([np.eye(3)[border[:, 1]], weights])
    points = (uv[uv_triangles[triangle]] * barycentric[..., None]).sum(1)
    return points, MeshPoints(triangle, barycentric)


def _triangulated(points: np.ndarray, truth: MeshPoints, own: np.ndarray) -> np.ndarray:
    """Delaunay triangles within the chart, wound outward; the seam's two sides are one vertex."""
    head = load_head("open")
    uv, uv_triangles, triangles = head.topology.uv, head.topology.uv_triangles, head.topology.triangles
    flat = np.pad(uv.astype(np.float64), ((0, 0), (0, 1)))
    new = Delaunay(points).simplices
    centre = np.pad(points[new].mean(1), ((0, 0), (0, 1)))
    found = SurfaceIndex(flat, uv_triangles[own]).nearest(centre, np.tile([0.0, 0.0, 1.0], (len(centre), 1)))
    new = new[found.distance < 1e-7]
    a, b, c = (points[new[:, k]] for k in range(3))
    turned = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    new = np.where((turned < 0)[:, None], new[:, ::-1], new)
    place = truth.of(average(), triangles)
    same: dict[tuple, int] = {}
    number = np.array([same.setdefault(tuple(np.round(p, 4)), i) for i, p in enumerate(place)])
    new = number[new]
    return new[(new[:, 0] != new[:, 1]) & (new[:, 1] != new[:, 2]) & (new[:, 2] != new[:, 0])]


def _with_eyeballs(vertices: np.ndarray, new: np.ndarray, truth: MeshPoints, seed: int):
    """The open head's own balls beside the skin, round again after the bending."""
    head = load_head("open")
    triangles = head.topology.triangles
    moved = resized(average(), identity=seed)
    for side in ("left", "right"):
        own = np.flatnonzero(head.topology.region(f"eyeball_{side}"))
        first = np.array([np.flatnonzero((triangles == vertex).any(1))[0] for vertex in own])
        corner = (triangles[first] == own[:, None]).argmax(1)
        number = np.full(len(moved), -1)
        number[own] = len(vertices) + np.arange(len(own))
        ball = number[triangles]
        ball = ball[(ball >= 0).all(1)]
        rest = average()[own] - average()[own].mean(0)
        vertices = np.concatenate([vertices, moved[own].mean(0) + rest])
        new = np.concatenate([new, ball])
        truth = MeshPoints(
            np.concatenate([truth.triangle, first]), np.concatenate([truth.barycentric, np.eye(3)[corner]])
        )
    return vertices, new, truth


def _compact(vertices: np.ndarray, triangles: np.ndarray, truth: MeshPoints) -> Remesh:
    used = np.unique(triangles)
    number = np.full(len(vertices), -1)
    number[used] = np.arange(len(used))
    return Remesh(vertices[used], number[triangles], truth[used])


def landmarks_on(mesh: Remesh, seed: int) -> Embedding:
    """The open head's ibug68, where they truly are on a stand-in."""
    head = load_head("open")
    moved = resized(average(), identity=seed)
    points = head.embeddings["ibug68"].points(torch.from_numpy(moved)).numpy()
    corners = np.broadcast_to(mesh.vertices[mesh.triangles], (68, len(mesh.triangles), 3, 3))
    barycentric = nearest_barycentric(np.broadcast_to(points[:, None], corners.shape[:3]), corners)
    distance = np.linalg.norm((corners * barycentric[..., None]).sum(-2) - points[:, None], axis=-1)
    best = distance.argmin(1)
    chosen = torch.from_numpy(mesh.triangles[best].astype(np.int64))
    return Embedding(chosen, torch.from_numpy(barycentric[np.arange(68), best]).float())


# ------------------------------------------------------------------ models on them


@cache
def flame_mesh(seed: int = 2) -> Remesh:
    return remesh(4600, seed, front_only=False, eyeballs=True)


@cache
def flame_head(seed: int = 2) -> FlameHead:
    """FLAME's protocol on a whole head: the jaw is a joint, the other 51 expressions are mixed into 50 components."""
    mesh, head = flame_mesh(seed), load_head("open")
    rng = np.random.default_rng(seed)
    shapes = mesh.carried(open_shapes())
    others = np.delete(shapes, head.expression_names.index("jawOpen"), 0)
    mixed = np.einsum("ek,evc->kvc", np.linalg.qr(rng.normal(size=(51, 51)))[0][:, :50], others)
    with torch.no_grad():
        identity = head.vertices(torch.eye(head.n_identity)).double().numpy() - average()
        weights = mesh.carried(head.skin_weights().double().numpy())
        joints = head.joint_positions(torch.zeros(1, head.n_identity))[0].double().numpy()
    directions = np.zeros((len(mesh.vertices), 3, N_SHAPE + 50))
    directions[..., : head.n_identity] = mesh.carried(identity).transpose(1, 2, 0)
    directions[..., N_SHAPE:] = mixed.transpose(1, 2, 0)
    model = FlameModel(
        triangles=mesh.triangles.astype(np.int64),
        template=(mesh.vertices / 1000).astype(np.float32),
        shapedirs=(directions / 1000).astype(np.float32),
        posedirs=np.zeros((len(mesh.vertices), 3, 36), np.float32),
        joint_regressor=_regressor(mesh.vertices, bent(joints)).astype(np.float32),
        skin_weights=(weights / weights.sum(1, keepdims=True)).astype(np.float32),
        parents=(-1, 0, 1, 1, 1),
    )
    fixed = landmarks_on(mesh, seed)
    contour = fixed.corners[None, :17].expand(79, -1, -1), fixed.barycentric[None, :17].expand(79, -1, -1)
    return flame_head_of(model, FlameEmbeddings(fixed, Embedding(fixed.corners[17:], fixed.barycentric[17:]), *contour))


def _regressor(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Affine weights of vertices that give the joints, the smallest there are."""
    system = np.vstack([vertices.T, np.ones(len(vertices))])
    return (np.linalg.pinv(system) @ np.vstack([joints.T, np.ones(len(joints))])).T


@cache
def bfm_mesh(seed: int = 5) -> Remesh:
    """The front face alone, its eyes filled with what shows of the eyeballs."""
    mesh = remesh(9000, seed, front_only=True, eyeballs=False)
    return _with_filled_eyes(mesh, seed)


def _with_filled_eyes(mesh: Remesh, seed: int) -> Remesh:
    head = load_head("open")
    triangles = head.topology.triangles
    moved = resized(average(), identity=seed)
    vertices, new, truth = mesh.vertices, mesh.triangles, mesh.truth
    for side in ("left", "right"):
        ball = head.topology.region(f"eyeball_{side}")
        pupil = moved[ball & (average()[:, 2] > average()[ball, 2].max() - 2)].mean(0)
        loop = _loop_about(vertices, new, pupil)
        index = SurfaceIndex(moved, triangles, among=ball[triangles].all(1))
        rings = [loop]
        for share in (0.35, 0.7):
            guess = (1 - share) * vertices[loop] + share * pupil
            found = index.nearest(guess, np.tile([0.0, 0.0, 1.0], (len(loop), 1)))
            rings.append(len(vertices) + np.arange(len(loop)))
            vertices = np.concatenate([vertices, found.points.of(moved, triangles)])
            truth = MeshPoints(
                np.concatenate([truth.triangle, found.points.triangle]),
                np.concatenate([truth.barycentric, found.points.barycentric]),
            )
        found = index.nearest(pupil[None], np.array([[0.0, 0.0, 1.0]]))
        centre = len(vertices)
        vertices = np.concatenate([vertices, found.points.of(moved, triangles)])
        truth = MeshPoints(
            np.concatenate([truth.triangle, found.points.triangle]),
            np.concatenate([truth.barycentric, found.points.barycentric]),
        )
        new = np.concatenate([new, *_ring_triangles(rings), _fan(rings[-1], centre)])
    return Remesh(vertices, new, truth)


def _loop_about(vertices: np.ndarray, triangles: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The border loop nearest to a point, in its own order (the way the triangles across it must run)."""
    edges = boundary_edges(torch.from_numpy(triangles.astype(np.int64))).numpy()
    following = {int(b): int(a) for a, b in edges}
    loops, left = [], set(following)
    while left:
        loop = [left.pop()]
        while following.get(loop[-1]) in left:
            loop.append(following[loop[-1]])
            left.remove(loop[-1])
        loops.append(np.array(loop))
    long = [loop for loop in loops if len(loop) >= 8]
    return min(long, key=lambda loop: float(np.linalg.norm(vertices[loop].mean(0) - centre)))


def _ring_triangles(rings: list[np.ndarray]):
    for outer, inner in itertools.pairwise(rings):
        following, inward = np.roll(outer, -1), np.roll(inner, -1)
        yield np.stack([outer, following, inward], 1)
        yield np.stack([outer, inward, inner], 1)


def _fan(ring: np.ndarray, centre: int) -> np.ndarray:
    return np.stack([ring, np.roll(ring, -1), np.full(len(ring), centre)], 1)


@cache
def bfm_head(seed: int = 5) -> BfmHead:
    """A Basel model on the front face: 64 expressions, all mixtures; decimetres in its file."""
    mesh, head = bfm_mesh(seed), load_head("open")
    rng = np.random.default_rng(seed)
    mixed = np.einsum("ek,evc->vck", rng.normal(size=(52, 64)) / np.sqrt(52), mesh.carried(open_shapes()))
    with torch.no_grad():
        identity = head.vertices(torch.eye(head.n_identity)).double().numpy() - average()
    points = landmarks_on(mesh, seed).points(torch.from_numpy(mesh.vertices)).numpy()
    model = BfmModel(
        name="bfm",
        mean=(mesh.vertices / 100).astype(np.float32),
        identity_basis=(mesh.carried(identity)[:80].transpose(1, 2, 0) / 100).astype(np.float32),
        expression_basis=(mixed / 100).astype(np.float32),
        mean_albedo=np.full((len(mesh.vertices), 3), 150, np.float32),
        albedo_basis=np.zeros((len(mesh.vertices), 3, 1), np.float32),
        triangles=mesh.triangles.astype(np.int64),
        millimetres=100.0,
        landmarks=KDTree(mesh.vertices).query(points)[1],
    )
    return BfmHead(model)
