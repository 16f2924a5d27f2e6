"""What stays the same while a head moves: triangles, quads, UV chart, regions. And a mesh: positions on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import InputError


@dataclass(frozen=True, eq=False)
class Topology:
    """Connectivity and charts shared by every mesh of one head model.

    ``triangles`` (T, 3) wind counter-clockwise from outside. ``uv`` (U, 2) has its own corners ``uv_triangles`` (T, 3)
    so that seams need no doubled vertices; (0, 0) is the bottom left. ``quads`` (Q, 4), when the model was modelled
    in quads, cover the same surface for artists; ``uv_quads`` go with them. ``regions`` are boolean (V,) masks by
    name. ``mirror`` (V,) is the vertex across the face, where the model has one.
    """

    triangles: Int[np.ndarray, "T 3"]
    uv: Float[np.ndarray, "U 2"] | None = None
    uv_triangles: Int[np.ndarray, "T 3"] | None = None
    quads: Int[np.ndarray, "Q 4"] | None = None
    uv_quads: Int[np.ndarray, "Q 4"] | None = None
    regions: Mapping[str, np.ndarray] = field(default_factory=dict)
    mirror: Int[np.ndarray, " V"] | None = None

    @cached_property
    def triangles_tensor(self) -> Int[Tensor, "T 3"]:
        """``triangles`` as a CPU tensor of int64, made once."""
        return torch.from_numpy(np.ascontiguousarray(self.triangles, np.int64))

    def region(self, name: str) -> np.ndarray:
        """The boolean vertex mask of a region; an unknown name lists the known ones."""
        if name not in self.regions:
            raise InputError(f"unknown region '{name}'; this head has {', '.join(sorted(self.regions)) or 'none'}.")
        return self.regions[name]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Positions (V, 3) on a topology, head frame, mm; colours (V, 3) in [0, 1] where there are any."""

    vertices: Float[np.ndarray, "V 3"]
    topology: Topology
    colours: Float[np.ndarray, "V 3"] | None = None

    @property
    def triangles(self) -> Int[np.ndarray, "T 3"]:
        return self.topology.triangles
