"""Finer meshes: each triangle becomes four."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.meshes import unique_edges


@dataclass(frozen=True, eq=False)
class Subdivision:
    """A finer topology, and the sparse weights that take values at the old vertices to values at the new.

    The first V new vertices are the old ones, then comes one for each edge. Triangle t becomes triangles 4t … 4t + 3:
    at its corners 0, 1, 2 and in its middle. That holds for UV triangles too, so subdividing both keeps them row for
    row: `subdivide(uv_triangles, len(uv), scheme="midpoint").apply(uv)`.
    """

    triangles: Int[Tensor, "T2 3"]
    weights: Float[Tensor, "V2 V"]

    def apply(self, values: Float[Tensor, "*B V C"]) -> Float[Tensor, "*B V2 C"]:
        """Positions or anything else given at the old vertices → at the new; differentiable."""
        rows = values.movedim(-2, 0)
        weights = self.weights.to(device=values.device, dtype=values.dtype)
        new = torch.sparse.mm(weights, rows.reshape(len(rows), -1))
        return new.view(-1, *rows.shape[1:]).movedim(0, -2)


def subdivide(triangles: Int[Tensor, "T 3"], n_vertices: int, *, scheme: Literal["midpoint", "loop"]) -> Subdivision:
    """Four triangles for each, meeting in the middles of its edges.

    `midpoint` leaves the surface as it is; `loop` rounds it (Loop 1987): the limit is smooth, but for borders, which
    become curves of their own. An edge where more than two triangles meet counts as a border.
    """
    edges, edge_of = unique_edges(triangles)
    a, b, c = triangles.unbind(-1)
    ab, bc, ca = (edge_of + n_vertices).unbind(-1)
    children = torch.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], -1).reshape(-1, 3)
    if scheme == "midpoint":
        return Subdivision(children, _midpoint_weights(edges, n_vertices))
    return Subdivision(children, _loop_weights(triangles, edges, edge_of, n_vertices))


def _midpoint_weights(edges: Tensor, n_vertices: int) -> Tensor:
    old = torch.arange(n_vertices, device=edges.device)
    new = n_vertices + torch.arange(len(edges), device=edges.device)
    half = torch.full_like(new, 0.5, dtype=torch.get_default_dtype())
    entries = [(old, old, half.new_ones(n_vertices)), (new, edges[:, 0], half), (new, edges[:, 1], half)]
    return _sparse(entries, (n_vertices + len(edges), n_vertices))


def _loop_weights(triangles: Tensor, edges: Tensor, edge_of: Tensor, n_vertices: int) -> Tensor:
    dtype = torch.get_default_dtype()
    border = torch.bincount(edge_of.flatten(), minlength=len(edges)) != 2
    new = n_vertices + torch.arange(len(edges), device=edges.device)
    end = torch.where(border, 1 / 2, 3 / 8).to(dtype)
    flat_edge = edge_of.flatten()
    facing = triangles.roll(1, dims=1).flatten()
    opposite = torch.where(border[flat_edge], 0.0, 1 / 8).to(dtype)
    entries = [(new, edges[:, 0], end), (new, edges[:, 1], end), (n_vertices + flat_edge, facing, opposite)]

    # A vertex on a border heeds its neighbours along the border alone.
    both = torch.cat([edges, edges.flip(-1)])
    on_border_edge = border.repeat(2)
    n_border = torch.bincount(both[on_border_edge, 0], minlength=n_vertices)
    valence = torch.bincount(both[:, 0], minlength=n_vertices)
    heeded = on_border_edge | (n_border[both[:, 0]] == 0)
    share = torch.where(n_border > 0, 1 / 4 / n_border.clamp_min(1), _loop_beta(valence)).to(dtype)
    entries.append((both[heeded, 0], both[heeded, 1], share[both[heeded, 0]]))
    n_heeded = torch.where(n_border > 0, n_border, valence)
    old = torch.arange(n_vertices, device=edges.device)
    entries.append((old, old, 1 - n_heeded * share))
    return _sparse(entries, (n_vertices + len(edges), n_vertices))


def _loop_beta(valence: Int[Tensor, "V"]) -> Float[Tensor, "V"]:
    """The share of each of n neighbours: Loop 1987, (5/8 - (3/8 + cos(2π/n)/4)²)/n."""
    n = valence.clamp_min(1)
    return (5 / 8 - (3 / 8 + torch.cos(2 * torch.pi / n) / 4) ** 2) / n


def _sparse(entries: list[tuple[Tensor, Tensor, Tensor]], shape: tuple[int, int]) -> Tensor:
    rows, columns, values = (torch.cat(part) for part in zip(*entries, strict=True))
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False).coalesce()
