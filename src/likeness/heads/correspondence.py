"""Which point of one head is which of another: dense maps between any two heads that name their landmarks.

Every head is registered once with the open head (`likeness.heads.registration`), which has all the parts that the
others have; maps between two others go through it. Registrations are kept in the cache folder: that named by the
environment variable ``LIKENESS_CACHE``, else the platform's folder for such files. They belong to a topology and its
landmarks, so that all persons of one model share one; the first shape seen, a model's average, is what was registered.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import platformdirs
import torch
from jaxtyping import Bool, Float, Int

from likeness.errors import FileFormatError, OutputError
from likeness.files.tensors import read_tensors, write_tensors
from likeness.heads.nearest import MeshPoints, SurfaceIndex, vertex_normals
from likeness.heads.open_head import load_open_head
from likeness.heads.protocol import Embedding, Head
from likeness.heads.registration import Registration, register
from likeness.heads.surfaces import Template

_KIND, _VERSION = "registration", 1
# Changes whenever `register` gives other numbers, so that what an older version cached is not taken.
_ALGORITHM = "3"
_ARRAYS = ("template", "base", "open_covered", "head_covered")
_MAPS = ("open_to_head", "head_to_open")
# Beyond this two surfaces do not hold the same point, mm.
_COVERED_MM = 2.5


@dataclass(frozen=True, eq=False)
class Correspondence:
    """For each vertex of the target head a point of the source head.

    ``points``: triangle (V,) and barycentric (V, 3) on the source. ``covered`` (V,): whether the source has that part;
    elsewhere the nearest point stands in. ``distance`` (V,): how far apart the two averages were there after
    registration, mm.
    """

    points: MeshPoints
    covered: Bool[np.ndarray, " V"]
    distance: Float[np.ndarray, " V"]


def correspond(source: Head, target: Head) -> Correspondence:
    """The point of the source for each vertex of the target.

    The first time a head is seen this takes seconds; later it is read from the cache. Raises InputError for a head
    without landmarks.
    """
    average = average_of(source)
    if surface_key(source.topology.triangles, source.embeddings) == surface_key(
        target.topology.triangles, target.embeddings
    ):
        n = len(average)
        return Correspondence(_own_vertices(source.topology.triangles, n), np.ones(n, bool), np.zeros(n))
    to_open, on_source = registration_of(target), registration_of(source)
    open_triangles = load_open_head().topology.triangles
    bent = on_source.template
    places = to_open.head_to_open.of(bent, open_triangles)
    normals = to_open.head_to_open.of(vertex_normals(bent, open_triangles), open_triangles)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    found = SurfaceIndex(average, source.topology.triangles).nearest(places, normals)
    shared = to_open.head_to_open.of(on_source.open_covered[:, None].astype(float), open_triangles)[:, 0]
    covered = to_open.head_covered & (shared > 0.5) & (found.distance < _COVERED_MM)
    return Correspondence(found.points, covered, found.distance)


def registration_of(head: Head) -> Registration:
    """Where the open head lies on this one, from the cache where it can be.

    Raises InputError for a head without ``ibug68``.
    """
    indices = getattr(head, "mediapipe_indices", None)
    indices = None if indices is None else indices.cpu().numpy()
    return registration_of_surface(average_of(head), head.topology.triangles, head.embeddings, indices)


def registration_of_surface(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "T 3"],
    landmarks: Mapping[str, Embedding],
    mediapipe_indices: Int[np.ndarray, " M"] | None = None,
) -> Registration:
    """`registration_of` of a head's average shape, or of one person if that is all there is."""
    key = surface_key(triangles, landmarks)
    if key == _open_key():
        return _with_itself()
    if key in _RECENT:
        return _RECENT[key]
    registration = _read(key, len(vertices), len(triangles))
    if registration is None:
        registration = register(vertices, triangles, landmarks, mediapipe_indices)
        _write(key, registration)
    if len(_RECENT) >= _N_RECENT:
        _RECENT.pop(next(iter(_RECENT)))
    _RECENT[key] = registration
    return registration


def average_of(head: Head) -> Float[np.ndarray, "V 3"]:
    """The head's average shape, mm."""
    with torch.no_grad():
        return head.vertices(torch.zeros(1, head.n_identity))[0].cpu().double().numpy()


def surface_key(triangles: Int[np.ndarray, "T 3"], landmarks: Mapping[str, Embedding]) -> str:
    """A digest of a topology and of where its ibug68 landmarks are."""
    digest = hashlib.sha256(np.ascontiguousarray(triangles, "<i8").data)
    if "ibug68" in landmarks:
        embedding = landmarks["ibug68"]
        digest.update(embedding.corners.cpu().numpy().astype("<i8").tobytes())
        digest.update(np.round(embedding.barycentric.cpu().numpy().astype(np.float64) * 1e5).astype("<i8").tobytes())
    return digest.hexdigest()[:24]


def cache_folder() -> Path:
    """Where registrations are kept; deleting it costs only the time to make them anew."""
    if chosen := os.environ.get("LIKENESS_CACHE"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("likeness", appauthor=False))


# ------------------------------------------------------------------------------------------- cache

_N_RECENT = 6
_RECENT: dict[str, Registration] = {}


@lru_cache(maxsize=1)
def _open_key() -> str:
    head = load_open_head()
    return surface_key(head.topology.triangles, head.embeddings)


@lru_cache(maxsize=1)
def _with_itself() -> Registration:
    average, triangles = Template.of_open_head().vertices, load_open_head().topology.triangles
    points, everywhere = _own_vertices(triangles, len(average)), np.ones(len(average), bool)
    return Registration(average, average, points, everywhere, points, everywhere)


def _own_vertices(triangles: Int[np.ndarray, "T 3"], n: int) -> MeshPoints:
    """Every vertex as a corner of a triangle that has it."""
    owner = np.zeros(n, np.int64)
    owner[triangles.ravel()] = np.repeat(np.arange(len(triangles)), 3)
    corner = (triangles[owner] == np.arange(n)[:, None]).argmax(1)
    return MeshPoints(owner, np.eye(3)[corner])


def _path(key: str) -> Path:
    return cache_folder() / "registrations" / f"{key}-{load_open_head().version}-{_ALGORITHM}.safetensors"


def _read(key: str, n_vertices: int, n_triangles: int) -> Registration | None:
    """What the cache holds, None where it holds nothing that fits this head."""
    path = _path(key)
    if not path.is_file():
        return None
    names = [f"{name}/{part}" for name in _MAPS for part in ("triangle", "barycentric")]
    try:
        _, arrays = read_tensors(path, _KIND, _VERSION, required=(*_ARRAYS, *names))
    except FileFormatError:
        # A damaged file of the cache is no user's file: it is made anew.
        return None
    maps = {name: MeshPoints(arrays[f"{name}/triangle"], arrays[f"{name}/barycentric"]) for name in _MAPS}
    n_open = len(load_open_head().topology.triangles)
    fits = len(arrays["head_covered"]) == n_vertices
    fits &= bool((maps["open_to_head"].triangle < n_triangles).all() and (maps["head_to_open"].triangle < n_open).all())
    if not fits:
        return None
    return Registration(
        template=arrays["template"],
        base=arrays["base"],
        open_to_head=maps["open_to_head"],
        open_covered=arrays["open_covered"].astype(bool),
        head_to_open=maps["head_to_open"],
        head_covered=arrays["head_covered"].astype(bool),
    )


def _write(key: str, registration: Registration) -> None:
    """Keep it for the next time. A cache that cannot be written costs time, not the result."""
    arrays = {name: getattr(registration, name) for name in _ARRAYS}
    arrays |= {name: arrays[name].astype(np.uint8) for name in ("open_covered", "head_covered")}
    for name in _MAPS:
        points: MeshPoints = getattr(registration, name)
        arrays |= {f"{name}/triangle": points.triangle, f"{name}/barycentric": points.barycentric}
    path = _path(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, _KIND, _VERSION, {}, arrays)
    except (OSError, OutputError):
        return
