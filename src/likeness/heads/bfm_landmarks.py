"""Landmarks of Basel models: those their files name, and the rest carried over from the open head.

The open head knows where MediaPipe's and iBUG's landmarks lie on it. Between the few points both models name, it is
bent onto the Basel face by a thin-plate spline; what then lies nearest on the surface is the landmark. Points the Basel
face has no surface for (irises, inner mouth of a face cut without it) land on what is nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import roma
import torch
from jaxtyping import Float
from scipy.interpolate import RBFInterpolator

from likeness.heads.bfm_model import BfmModel
from likeness.heads.protocol import Embedding

# Fewer common points do not say how to bend one face onto another.
MIN_ANCHORS = 6
# Named points are where people clicked, so the spline need not pass through them exactly.
_SMOOTHING = 1.0


class LazyEmbeddings(Mapping[str, Embedding]):
    """Embeddings by convention, each made when first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Embedding]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, Embedding] = {}

    def __getitem__(self, name: str) -> Embedding:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def bfm_embeddings(model: BfmModel, device: torch.device | str = "cpu") -> LazyEmbeddings:
    """What a Basel model can say: nothing, where its file names too few points."""
    anchors = named_points(model)
    if len(anchors) < MIN_ANCHORS:
        return LazyEmbeddings({})
    makers: dict[str, Callable[[], Embedding]] = {
        name: lambda name=name: carried_embedding(model, anchors, name).to(device)
        for name in ("ibug68", "mediapipe478")
    }
    if model.landmarks is not None:
        makers["ibug68"] = lambda: vertex_embedding(np.asarray(model.landmarks)).to(device)
    return LazyEmbeddings(makers)


def named_points(model: BfmModel) -> dict[int, int]:
    """iBUG index → vertex, as far as the file tells."""
    if model.landmarks is not None:
        return {index: int(vertex) for index, vertex in enumerate(model.landmarks)}
    return dict(model.anchors)


def vertex_embedding(vertices: np.ndarray) -> Embedding:
    """Landmarks that are vertices."""
    corners = torch.from_numpy(np.repeat(vertices[:, None], 3, 1).astype(np.int64))
    at_vertex = torch.zeros(corners.shape)
    at_vertex[:, 0] = 1
    return Embedding(corners, at_vertex)


def carried_embedding(model: BfmModel, anchors: Mapping[int, int], convention: str) -> Embedding:
    """A convention's landmarks on a Basel face, from where they are on the open head."""
    from likeness.heads import load_head
    from likeness.render import closest_points

    source = load_head("open")
    average = source.vertices(torch.zeros(1, source.n_identity))[0]
    indices = list(anchors)
    surface = (model.mean - model.centre) * np.float32(model.millimetres)
    target = surface[[anchors[index] for index in indices]]
    points = source.embeddings[convention].points(average)
    bent = _bend(source.embeddings["ibug68"].points(average)[indices], torch.from_numpy(target), points)
    triangles = torch.from_numpy(np.ascontiguousarray(model.triangles))
    found = closest_points(bent[None], torch.from_numpy(surface)[None], triangles)
    return Embedding(triangles[found.triangle[0]], found.barycentric[0])


def _bend(
    source: Float[torch.Tensor, "A 3"], target: Float[torch.Tensor, "A 3"], points: Float[torch.Tensor, "N 3"]
) -> Float[torch.Tensor, "N 3"]:
    """Points moved by the similarity that fits source to target, and by a spline of what it leaves."""
    registered: Any = roma.rigid_points_registration(source, target, compute_scaling=True)
    rotation, shift, scale = registered

    def aligned(values: torch.Tensor) -> np.ndarray:
        return (scale * values @ rotation.mT + shift).numpy().astype(np.float64)

    rest = target.numpy() - aligned(source)
    spline = RBFInterpolator(aligned(source), rest, kernel="thin_plate_spline", smoothing=_SMOOTHING)
    moved = aligned(points)
    return torch.from_numpy((moved + spline(moved)).astype(np.float32))
