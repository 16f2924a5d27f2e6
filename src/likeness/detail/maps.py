"""Displacement maps of named expressions out of several photos, or the frames of a video, of one person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import InputError

# How far (mm) a key map is expected to depart from its prior, against the readings' own noise (mm).
_SPREAD, _NOISE = 0.25, 0.08
# Texels solved at once: bounds the memory.
_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class DetailMaps:
    """``static`` (H, W) mm and ``keys`` (K, H, W) mm by ``names``: relief = static + Σ_k activation_k keys_k.
    ``certainty`` (H, W) is how many photos, by their visibility, showed each texel."""

    static: Float[Tensor, "H W"]
    keys: Float[Tensor, "K H W"]
    names: tuple[str, ...]
    certainty: Float[Tensor, "H W"]

    def relief(self, activation: Mapping[str, float]) -> Float[Tensor, "H W"]:
        """The displacement for activations by name; those not named are 0."""
        vector = torch.tensor([activation.get(name, 0.0) for name in self.names])
        return self.static + torch.einsum("k,khw->hw", vector, self.keys)


def solve_detail_maps(
    displacements: Float[Tensor, "n H W"],
    visibilities: Float[Tensor, "n H W"],
    activations: Sequence[Mapping[str, float]],
    *,
    prior: Float[Tensor, "K H W"] | None = None,
    region: Float[Tensor, "K H W"] | None = None,
) -> DetailMaps:
    """The static map and the key maps that explain each photo's displacement by its named activations.

    At each texel the least of Σ_i visibility_i (static + Σ_k region_k activation_ik key_k - displacement_i)² +
    ridge Σ_k (key_k - prior_k)², with a ridge a hundred times smaller on static, which is 0 where nothing was seen.
    ``region`` in [0, 1] is where a key may act (everywhere, if not given), ``prior`` what keys are where no photo tells
    (0, if not given). Key maps count at full activation. Raises InputError when the photos' numbers differ.
    """
    n, height, width = displacements.shape
    if len(activations) != n or visibilities.shape != displacements.shape:
        raise InputError(f"{n} displacement maps need as many visibilities and activations.")
    names = tuple(sorted({name for activation in activations for name in activation}))
    k = len(names)
    keys = torch.zeros(k, height, width) if prior is None else prior
    share = torch.ones(k, 1, 1).expand(k, height, width) if region is None else region
    if len(keys) != k or len(share) != k:
        raise InputError(f"the photos name {k} activations; prior and region need a map for each, sorted by name.")
    table = torch.tensor([[activation.get(name, 0.0) for name in names] for activation in activations])
    flat = (displacements.flatten(1), visibilities.flatten(1), keys.flatten(1), share.flatten(1))
    solved = [_solve(table, *(part[:, i : i + _CHUNK] for part in flat)) for i in range(0, height * width, _CHUNK)]
    found = torch.cat(solved, 1).view(k + 1, height, width)
    return DetailMaps(found[0], found[1:], names, visibilities.sum(0))


def _solve(
    table: Float[Tensor, "n K"],
    displacement: Float[Tensor, "n T"],
    visibility: Float[Tensor, "n T"],
    prior: Float[Tensor, "K T"],
    share: Float[Tensor, "K T"],
) -> Float[Tensor, "K1 T"]:
    """The normal equations of every texel, the static map first. Texels that no photo shows keep the prior."""
    seen = visibility.sum(0) > 0
    result = torch.cat([torch.zeros_like(prior[:1]), prior])
    if not seen.any():
        return result
    displacement, visibility = displacement[:, seen].double(), visibility[:, seen].double()
    prior, share = prior[:, seen].double(), share[:, seen].double()
    one = torch.ones(len(table), 1, displacement.shape[1], dtype=torch.float64)
    design = torch.cat([one, table.double()[:, :, None] * share[None]], 1)
    ridge = (_NOISE / _SPREAD) ** 2
    matrix = torch.einsum("nt,nkt,nlt->tkl", visibility, design, design)
    matrix = matrix + ridge * torch.diag(torch.tensor([0.01, *(1.0,) * len(prior)], dtype=torch.float64))
    target = torch.einsum("nt,nkt,nt->tk", visibility, design, displacement)
    target[:, 1:] += ridge * prior.T
    solution = torch.cholesky_solve(target[..., None], torch.linalg.cholesky(matrix))[..., 0]
    result[:, seen] = solution.T.to(result)
    return result
