"""The open head's surface bent onto the surface of another head.

First a thin-plate spline through the landmarks that both heads name. Then optimal-step non-rigid ICP (Amberg, Romdhani
and Vetter 2007): every vertex is drawn to the nearest point that faces its way, in both directions, and the second
differences of its displacement are held small; step by step the surface may bend more and the landmarks count less.
Displacements are the unknowns, not an affine map for each vertex, so that a step is one sparse factorisation.

What the other head lacks (the neck, the mouth's inside, teeth) has nothing to be drawn to and follows smoothly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.interpolate import RBFInterpolator
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from likeness.errors import InputError
from likeness.heads.nearest import MeshPoints, Nearest, SurfaceIndex, triangles_within, vertex_normals
from likeness.heads.open_head import OpenHead
from likeness.heads.protocol import Embedding
from likeness.heads.surfaces import Target, Template, fit_sphere, ibug68_of, points_of, similarity
from likeness.meshes import boundary_edges, unique_edges

# Stiffness against second differences, weight of the landmarks, reach (mm) of the nearest point: one row a step.
_STEPS = (
    *((300.0, 5.0, 25.0),) * 3,
    *((100.0, 5.0, 20.0),) * 3,
    *((30.0, 5.0, 15.0),) * 3,
    *((10.0, 3.0, 10.0),) * 3,
    *((3.0, 3.0, 8.0),) * 4,
    *((1.0, 3.0, 6.0),) * 5,
)
# The outline's 17 points lie where each model's authors thought them, so they count little.
_N_OUTLINE, _OUTLINE_WEIGHT = 17, 0.03
# Least cosine between normals, for a pull and for a point to count as the same.
_AGREE, _AGREE_EARS, _SAME = 0.7, 0.85, 0.3
# A vertex has a counterpart when the two surfaces end up so near there, mm.
_COVERED_MM = 2.5
_MAX_PULLS = 5000
# Movements that part lips and lids, and by how much more than its neighbours a vertex must not move in them, mm.
_PROBES, _TORN_MM, _N_MENDING = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight"), 5.0, 3
# Separate parts (eyeballs, teeth, tongue) hang on their nearest skin by so many links.
_N_LINKS, _LINK = 3, 0.3


@dataclass(frozen=True, eq=False)
class Registration:
    """Where the open head and another one lie on each other.

    ``template`` (N, 3): the open head's vertices bent onto the other head's average shape, mm in its head frame; also
    of parts that the other head lacks. ``open_to_head``: the point of the other head's surface that is each open
    vertex, ``open_covered`` (N,) whether there is one, ``base`` (N, 3) where these points were at registration.
    ``head_to_open``: the point of the open head's surface that is each of the other head's vertices, ``head_covered``
    (V,) whether there is one; elsewhere the nearest stands in.
    """

    template: Float[np.ndarray, "N 3"]
    base: Float[np.ndarray, "N 3"]
    open_to_head: MeshPoints
    open_covered: Bool[np.ndarray, " N"]
    head_to_open: MeshPoints
    head_covered: Bool[np.ndarray, " V"]


def register(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "T 3"],
    landmarks: Mapping[str, Embedding],
    mediapipe_indices: Int[np.ndarray, " M"] | None = None,
) -> Registration:
    """Bend the open head onto an average head (mm, head frame) that knows its ``ibug68``.

    Where ``landmarks`` holds ``mediapipe105``, ``mediapipe_indices`` says which of the 478 points those are. Raises
    InputError without landmarks.
    """
    if "ibug68" not in landmarks:
        raise InputError(
            "this head names no ibug68 landmarks, so nothing tells where its face is; only its own blendshapes can be "
            "had (blendshapes='native')."
        )
    template, target = Template.of_open_head(), Target.of(vertices.astype(np.float64), triangles, landmarks)
    rows, points, weights = _landmark_pairs(template.head, target.vertices, landmarks, mediapipe_indices)
    start = _warped(template.vertices, rows @ template.vertices, points, weights)
    bent = _non_rigid_icp(template, target, start, (rows, points, weights))
    bent = _round_eyeballs(template, target, _with_inside(template, bent))
    return _read_off(template, target, bent)


# ------------------------------------------------------------------------------------------- landmarks


def _landmark_pairs(
    head: OpenHead,
    vertices: Float[np.ndarray, "V 3"],
    landmarks: Mapping[str, Embedding],
    mediapipe_indices: Int[np.ndarray, " M"] | None,
) -> tuple[sparse.csr_array, Float[np.ndarray, "L 3"], Float[np.ndarray, " L"]]:
    """The landmarks both heads name: rows that pick them from the open head's vertices, positions, weights."""
    n_open = len(head.topology.mirror if head.topology.mirror is not None else vertices)
    rows = [_rows(head.embeddings["ibug68"], n_open)]
    points = [ibug68_of(landmarks, vertices)]
    weights = [np.where(np.arange(68) < _N_OUTLINE, _OUTLINE_WEIGHT, 1.0)]
    if "mediapipe105" in landmarks and mediapipe_indices is not None:
        rows.append(_rows(head.embeddings["mediapipe478"], n_open)[mediapipe_indices])
        points.append(points_of(landmarks["mediapipe105"], vertices))
        weights.append(np.full(len(mediapipe_indices), 0.5))
    return sparse.csr_array(sparse.vstack(rows)), np.concatenate(points), np.concatenate(weights)


def _rows(embedding: Embedding, n_vertices: int) -> sparse.csr_array:
    corners, weights = embedding.corners.cpu().numpy(), embedding.barycentric.cpu().numpy().astype(np.float64)
    row = np.repeat(np.arange(len(corners)), 3)
    return sparse.csr_array((weights.ravel(), (row, corners.ravel())), shape=(len(corners), n_vertices))


def _warped(
    vertices: Float[np.ndarray, "N 3"],
    source: Float[np.ndarray, "L 3"],
    target: Float[np.ndarray, "L 3"],
    weights: Float[np.ndarray, " L"],
) -> Float[np.ndarray, "N 3"]:
    """Vertices moved by the similarity that fits source to target, then by a spline of what it leaves."""
    scale, turn, shift = similarity(source, target, weights)
    moved, aligned = scale * source @ turn.T + shift, scale * vertices @ turn.T + shift
    # Several conventions name the same places; a spline takes each place once.
    _, unique = np.unique(np.round(moved, 1), axis=0, return_index=True)
    looseness: Any = 3.0 / weights[unique]
    spline = RBFInterpolator(moved[unique], (target - moved)[unique], kernel="thin_plate_spline", smoothing=looseness)
    return aligned + spline(aligned)


# ------------------------------------------------------------------------------------------- bending


def _non_rigid_icp(
    template: Template, target: Target, start: Float[np.ndarray, "N 3"], landmarks: tuple
) -> Float[np.ndarray, "N 3"]:
    """The template bent onto the target; its displacement from ``start`` is what is held smooth."""
    rows, points, weights = (part[landmarks[2] > _OUTLINE_WEIGHT] for part in landmarks)
    pinning, stiffness = rows.T @ sparse.diags_array(weights), template_stiffness()
    # The mouth's inside and the sockets would be drawn out to the skin; they follow their rims instead.
    parts = [(mine & ~template.hidden, theirs) for mine, theirs in _matching_parts(template, target)]
    searched = [target.index(theirs) for _, theirs in parts]
    position = start
    for stiff, pinned, reach in _STEPS:
        rows_and_goals = [
            pull
            for (mine, theirs), index in zip(parts, searched, strict=True)
            for pull in (
                _pulled_out(template, target, index, position, mine, reach),
                _pulled_in(template, target, position, mine, theirs, reach),
            )
        ]
        pulls = sparse.csr_array(sparse.vstack([rows for rows, _ in rows_and_goals]))
        goals = np.concatenate([goals for _, goals in rows_and_goals])
        system = sparse.csc_array(stiff * stiffness + pulls.T @ pulls + pinned * (pinning @ rows))
        right = pulls.T @ (goals - pulls @ start) + pinned * (pinning @ (points - rows @ start))
        factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)
        position = start + factor.solve(right)
    return position


@cache
def template_stiffness() -> sparse.csr_array:
    """Squared second differences of a field over the open head, its separate parts linked to the nearest skin."""
    template = Template.of_open_head()
    edges = unique_edges(torch.from_numpy(template.triangles))[0].numpy()
    skin = np.flatnonzero(~(template.eyeball | template.loose))
    apart = np.flatnonzero(template.eyeball | template.loose)
    _, nearest = KDTree(template.vertices[skin]).query(template.vertices[apart], k=_N_LINKS)
    links = np.stack([np.repeat(apart, _N_LINKS), skin[nearest.ravel()]], 1)
    ends = np.concatenate([edges, links])
    length = np.linalg.norm(template.vertices[ends[:, 0]] - template.vertices[ends[:, 1]], axis=1)
    weight = 1 / np.maximum(length, 0.5)
    weight[len(edges) :] *= _LINK
    n = len(template.vertices)
    graph = sparse.coo_array((weight, ends.T), shape=(n, n)).tocsr()
    graph = graph + graph.T
    total = np.asarray(graph.sum(1)).ravel()
    laplacian = sparse.eye_array(n) - sparse.diags_array(1 / total) @ graph
    # A trace of first differences keeps parts without any pull from tilting far.
    return sparse.csr_array(laplacian.T @ laplacian + 1e-4 * (sparse.diags_array(total) - graph))


def _pulled_out(
    template: Template,
    target: Target,
    index: SurfaceIndex,
    position: Float[np.ndarray, "N 3"],
    mine: Bool[np.ndarray, " N"],
    reach: float,
) -> tuple[sparse.csr_array, Float[np.ndarray, "P 3"]]:
    """Rows that pick vertices of a part of the template, and the target's nearest points, where they shall go."""
    own = np.flatnonzero(mine)
    if not len(index):
        return _picking(own[:0], len(position)), np.zeros((0, 3))
    found = index.nearest(position[own], vertex_normals(position, template.triangles)[own])
    agree = np.where(template.ears[own], _AGREE_EARS, _AGREE)
    good = (found.distance < reach) & (found.agreement > agree) & ~_on_border(found, target)
    return _picking(own[good], len(position)), found.points[good].of(target.vertices, target.triangles)


def _pulled_in(
    template: Template,
    target: Target,
    position: Float[np.ndarray, "N 3"],
    mine: Bool[np.ndarray, " N"],
    theirs: Bool[np.ndarray, " V"],
    reach: float,
) -> tuple[sparse.csr_array, Float[np.ndarray, "P 3"]]:
    """Rows that pick the template's points nearest to the target's vertices, and those vertices, where they shall go.

    Of a dense target some vertices, that count together as much as the template's own.
    """
    own = np.flatnonzero(theirs)
    own = own[:: max(1, len(own) // _MAX_PULLS)]
    index = SurfaceIndex(position, template.triangles, among=triangles_within(mine, template.triangles))
    if not len(own):
        return _picking(own, len(position)), np.zeros((0, 3))
    found = index.nearest(target.vertices[own], target.normals[own])
    good = (found.distance < reach) & (found.agreement > _AGREE)
    share = np.sqrt(min(1.0, mine.sum() / len(own)))
    rows = _embedding_rows(found.points[good], template.triangles, len(position))
    return share * rows, share * target.vertices[own[good]]


def _matching_parts(template: Template, target: Target) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertex masks of parts that may be each other: skin with skin and eyeballs with eyeballs, if both have them."""
    skin = ~(template.loose | template.eyeball)
    if target.eyeball.any():
        return [(skin, ~target.eyeball), (template.eyeball, target.eyeball)]
    return [(skin, ~target.opening)]


def _on_border(found: Nearest, target: Target) -> Bool[np.ndarray, " N"]:
    """Whether a nearest point lies on the target's border: then the target ends there and the template goes on."""
    corners, weights = target.triangles[found.points.triangle], found.points.barycentric
    return np.logical_and.reduce((weights < 1e-6) | target.border[corners], axis=1)


def _picking(vertices: Int[np.ndarray, " P"], n: int) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(vertices)), (np.arange(len(vertices)), vertices)), shape=(len(vertices), n))


def _embedding_rows(points: MeshPoints, triangles: Int[np.ndarray, "T 3"], n: int) -> sparse.csr_array:
    rows = np.repeat(np.arange(len(points.triangle)), 3)
    columns = triangles[points.triangle].ravel()
    return sparse.csr_array((points.barycentric.ravel(), (rows, columns)), shape=(len(points.triangle), n))


def _with_inside(template: Template, bent: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """What cannot be seen, moved as the space about it: so it stays behind the skin that hides it."""
    seen = ~(template.hidden | template.loose | template.eyeball)
    moved = RBFInterpolator(
        template.vertices[seen], (bent - template.vertices)[seen], kernel="linear", neighbors=60, smoothing=0.5
    )
    inside = bent.copy()
    inside[~seen] = template.vertices[~seen] + moved(template.vertices[~seen])
    return inside


def _round_eyeballs(template: Template, target: Target, bent: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Eyeballs as the open head's own balls again, placed and sized like the target's, else by their lids.

    A target whose eyes are one surface with the lids has their front; the ball is moved until its front lies there.
    """
    bent = bent.copy()
    for name, side in (("left", 1), ("right", -1)):
        mine = template.eyeball & (side * template.vertices[:, 0] > 0)
        theirs = target.eyeball & (side * target.vertices[:, 0] > 0)
        centre, radius = fit_sphere(template.vertices[mine])
        if theirs.any():
            goal, size = fit_sphere(target.vertices[theirs])
            bent[mine] = goal + (template.vertices[mine] - centre) * size / radius
            continue
        region = template.head.topology.region
        lids = (region(f"eyelid_upper_{name}") | region(f"eyelid_lower_{name}")) & ~template.hidden
        size, turn, shift = similarity(template.vertices[lids], bent[lids], np.ones(lids.sum()))
        bent[mine] = size * template.vertices[mine] @ turn.T + shift
        bent[mine] += _depth_of_eye(target, bent[mine], goal=size * turn @ centre + shift)
    return bent


def _depth_of_eye(
    target: Target, ball: Float[np.ndarray, "B 3"], goal: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " 3"]:
    """How far a ball about ``goal`` must move forward or back for its front to lie on the target's surface."""
    outward = (ball - goal) / np.linalg.norm(ball - goal, axis=1, keepdims=True)
    front = outward[:, 2] > np.cos(np.deg2rad(25))
    index = SurfaceIndex(target.vertices, target.triangles)
    found = index.nearest(ball[front], outward[front])
    near = (found.distance < 5) & (found.agreement > 0.8) & ~_on_border(found, target)
    if near.mean() < 0.7:
        return np.zeros(3)
    offset = found.points[near].of(target.vertices, target.triangles) - ball[front][near]
    return np.array([0.0, 0.0, float(np.median((offset * outward[front][near]).sum(1)))])


# ------------------------------------------------------------------------------------------- reading off


def _read_off(template: Template, target: Target, bent: Float[np.ndarray, "N 3"]) -> Registration:
    """Which points are each other, once the surfaces lie on one another."""
    to_head = _nearest_by_parts(template, target, bent, onto_target=True)
    to_open = _nearest_by_parts(template, target, bent, onto_target=False)
    open_covered = (to_head.distance < _COVERED_MM) & (to_head.agreement > _SAME) & ~_on_border(to_head, target)
    open_covered &= ~template.loose
    open_border = np.zeros(len(bent), bool)
    open_border[boundary_edges(torch.from_numpy(template.triangles)).numpy()] = True
    corners, weights = template.triangles[to_open.points.triangle], to_open.points.barycentric
    beyond = ((weights < 1e-6) | open_border[corners]).all(1) & (to_open.distance > 0.5)
    head_covered = (to_open.distance < _COVERED_MM) & (to_open.agreement > _SAME) & ~beyond
    head_covered &= ~_torn(template, target, to_open.points)
    base = to_head.points.of(target.vertices, target.triangles)
    return Registration(bent, base, to_head.points, open_covered, to_open.points, head_covered)


def _torn(template: Template, target: Target, points: MeshPoints) -> Bool[np.ndarray, " V"]:
    """Vertices that would part from all their neighbours when mouth or eyes move: they were given to the other lip or
    lid, which lies so near at rest.
    """
    names = template.head.expression_names
    probes = torch.eye(len(names))[[names.index(name) for name in _PROBES]]
    with torch.no_grad():
        moved = template.head.vertices(torch.zeros(len(probes), template.head.n_identity), probes).double().numpy()
    field = (
        points.of(moved - template.vertices, template.triangles).transpose(1, 0, 2).reshape(len(target.vertices), -1)
    )
    on_eye = template.eyeball[template.triangles[points.triangle][:, 0]]
    edges = unique_edges(torch.from_numpy(target.triangles))[0].numpy()
    # Where eyes and lids are one surface, lids do part from the eyes.
    edges = edges[on_eye[edges[:, 0]] == on_eye[edges[:, 1]]]
    both = np.concatenate([edges, edges[:, ::-1]])
    torn = np.zeros(len(field), bool)
    for _ in range(_N_MENDING):
        sound = both[~torn[both[:, 1]]]
        graph = sparse.csr_array((np.ones(len(sound)), sound.T), shape=(len(field),) * 2)
        count = np.asarray(graph.sum(1)).ravel()
        apart = np.abs(field - (graph @ field) / np.maximum(count, 1)[:, None]).max(1)
        torn = (apart > _TORN_MM) & (count > 1)
    return torn


def _nearest_by_parts(template: Template, target: Target, bent: np.ndarray, *, onto_target: bool) -> Nearest:
    """`SurfaceIndex.nearest` of all vertices of one surface on the matching parts of the other.

    On a target without eyeballs of its own, skin between the lids may be an eye.
    """
    if onto_target:
        n, points, normals = len(bent), bent, vertex_normals(bent, template.triangles)
        surface, triangles = target.vertices, target.triangles
    else:
        n, points, normals = len(target.vertices), target.vertices, target.normals
        surface, triangles = bent, template.triangles
    triangle, barycentric = np.zeros(n, np.int64), np.tile([1.0, 0.0, 0.0], (n, 1))
    distance, agreement = np.full(n, np.inf), np.full(n, -1.0)
    parts = _matching_parts(template, target)
    if not target.eyeball.any():
        skin_or_eye = ~template.loose
        parts = [(skin_or_eye, ~target.opening), (template.eyeball, target.opening)]
    for mine, theirs in parts:
        asked, among = (mine, theirs) if onto_target else (theirs, mine)
        index = SurfaceIndex(surface, triangles, among=triangles_within(among, triangles))
        if not len(index) or not asked.any():
            continue
        found = index.nearest(points[asked], normals[asked])
        triangle[asked], barycentric[asked] = found.points.triangle, found.points.barycentric
        distance[asked], agreement[asked] = found.distance, found.agreement
    return Nearest(MeshPoints(triangle, barycentric), distance, agreement)
