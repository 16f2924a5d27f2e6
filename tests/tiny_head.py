"""A head small enough to reason about: an icosahedron with random identities, four expressions and two joints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import roma
import torch

from likeness.heads.protocol import Embedding
from likeness.topology import Topology

_GOLDEN = (1 + 5**0.5) / 2
_CORNERS = np.array(
    [(0, a, b * _GOLDEN) for a in (-1, 1) for b in (-1, 1)]
    + [(a, b * _GOLDEN, 0) for a in (-1, 1) for b in (-1, 1)]
    + [(b * _GOLDEN, 0, a) for a in (-1, 1) for b in (-1, 1)],
    np.float32,
)


def _triangles() -> np.ndarray:
    from scipy.spatial import ConvexHull

    hull = ConvexHull(_CORNERS)
    triangles = hull.simplices.astype(np.int64)
    inward = np.einsum("td,td->t", np.cross(*_edges(triangles)), _CORNERS[triangles].mean(1)) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return triangles


def _edges(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b, c = (_CORNERS[triangles[:, k]] for k in range(3))
    return b - a, c - a


class TinyHead:
    """Implements `likeness.heads.Head`; radius about 95 mm."""

    name = "tiny"
    version = "1"
    n_identity = 3
    n_expression = 4
    expression_names = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "browInnerUp")
    joint_names = ("head", "jaw")
    joint_parents = (-1, 0)

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        triangles = _triangles()
        uv = rng.uniform(0, 1, (len(triangles) * 3, 2)).astype(np.float32)
        uv_triangles = np.arange(len(triangles) * 3).reshape(-1, 3)
        regions = {"face": _CORNERS[:, 2] > 0}
        self.topology = Topology(triangles=triangles, uv=uv, uv_triangles=uv_triangles, regions=regions)
        self._mean = torch.from_numpy(_CORNERS * 50)
        self._identity = torch.from_numpy(rng.normal(0, 3, (3, 12, 3)).astype(np.float32))
        self._expression = torch.from_numpy(rng.normal(0, 5, (4, 12, 3)).astype(np.float32))
        self._weights = torch.from_numpy(np.stack([np.ones(12), _CORNERS[:, 1] < 0], 1).astype(np.float32))
        self._weights = self._weights / self._weights.sum(1, keepdim=True)
        corners = torch.from_numpy(triangles)[torch.arange(68) % len(triangles)]
        barycentric = torch.from_numpy(rng.dirichlet([1, 1, 1], 68).astype(np.float32))
        self.embeddings: Mapping[str, Embedding] = {"ibug68": Embedding(corners, barycentric)}

    def vertices(self, identity, expression=None, joints=None, offsets=None):
        shape = self._mean + torch.einsum("bk,kvd->bvd", identity, self._identity)
        if offsets is not None:
            shape = shape + offsets
        if expression is not None:
            shape = shape + torch.einsum("bk,kvd->bvd", expression, self._expression)
        if joints is None:
            return shape
        turns = roma.rotvec_to_rotmat(joints)
        world = torch.stack([turns[:, 0], turns[:, 0] @ turns[:, 1]], 1)
        return torch.einsum("vj,bjcd,bvd->bvc", self._weights, world, shape)

    def joint_positions(self, identity):
        return torch.zeros(len(identity), 2, 3)

    def skin_weights(self):
        return self._weights

    def to(self, device):
        return self
