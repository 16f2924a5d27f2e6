"""Personal blendshapes: a linear stand-in for a neural rig, for programs that know only blendshapes.

The rig is sampled; seven shapes are the rig's answers to the expressions the network was trained with, the rest are the
principal components of what those leave over. How much is lost is measured on expressions that were not fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.methods.inorig.network import ANCHOR_NAMES
from likeness.methods.inorig.rig import MILLIMETRES, NeuralRig

N_MODES = 13
_N_FITTED, _N_HELD_OUT = 48, 16
_BATCH = 8
_SEEN_WEIGHT = 30.0
# The strength of an expression when the photos show none stronger; the codes of the training's expressions are known
# by direction only.
_LEAST_STRENGTH = 0.25
# A shape that moves no vertex by more than this is none.
_STILL_MM = 1e-4


@dataclass(frozen=True, eq=False)
class PersonalBlendshapes:
    """``shapes`` (E, N, 3) in mm at weight 1, by ``names``.

    ``residual_rms_mm`` and ``residual_max_mm`` are vertex distances between neural rig and blendshapes over
    expressions that were not fitted; ``movement_rms_mm`` is how far those move the face at all.
    """

    names: tuple[str, ...]
    shapes: Float[Tensor, "E N 3"]
    residual_rms_mm: float
    residual_max_mm: float
    movement_rms_mm: float

    def weights(self, displacements: Float[Tensor, "B N 3"]) -> Float[Tensor, "B E"]:
        """The weights that come closest to displacements of the neutral face (mm), by least squares."""
        flat = self.shapes.flatten(1)
        gram = flat @ flat.T
        # A trace of ridge: an expression may be a mixture of others.
        ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
        return torch.linalg.solve(gram + ridge, flat @ displacements.flatten(1).T).T

    def displacements(self, weights: Float[Tensor, "B E"]) -> Float[Tensor, "B N 3"]:
        """What the blendshapes make of weights, mm."""
        return (weights @ self.shapes.flatten(1)).unflatten(-1, (-1, 3))


def fit_blendshapes(rig: NeuralRig, seen: Float[Tensor, "V 8"], *, seed: int = 0) -> PersonalBlendshapes:
    """Blendshapes of a rig; ``seen`` are the expression codes of the person's photos, which tell usual strengths."""
    strength = max(float(torch.linalg.vector_norm(seen, dim=-1).max()), _LEAST_STRENGTH)
    anchors = torch.nn.functional.normalize(rig.networks.anchor_ep_norms[0], dim=-1) * strength
    named = movements(rig, anchors)
    keep = torch.linalg.vector_norm(named, dim=-1).amax(-1) > _STILL_MM
    named, names = named[keep], [name for name, kept in zip(ANCHOR_NAMES, keep.tolist(), strict=True) if kept]
    generator = torch.Generator().manual_seed(seed)
    drawn = movements(rig, _drawn_codes(_N_FITTED, anchors, strength, generator))
    modes = _modes_beyond(named.flatten(1), movements(rig, seen).flatten(1), drawn.flatten(1))
    names += [f"mode{k + 1:02d}" for k in range(len(modes))]
    shapes = torch.cat([named, modes.unflatten(-1, (-1, 3))])
    held_out = movements(rig, _drawn_codes(_N_HELD_OUT, anchors, strength, generator))
    return _measured(tuple(names), shapes, held_out)


def movements(rig: NeuralRig, codes: Float[Tensor, "B 8"]) -> Float[Tensor, "B N 3"]:
    """How codes move the neutral face, mm; in small batches, which bound the memory."""
    return torch.cat([rig.displacement(part) * MILLIMETRES for part in codes.split(_BATCH)])


def _measured(names: tuple[str, ...], shapes: Tensor, held_out: Tensor) -> PersonalBlendshapes:
    unmeasured = PersonalBlendshapes(names, shapes, 0.0, 0.0, 0.0)
    left = held_out if not names else held_out - unmeasured.displacements(unmeasured.weights(held_out))
    distance = torch.linalg.vector_norm(left, dim=-1)
    moved = torch.linalg.vector_norm(held_out, dim=-1)
    rms = float(distance.square().mean().sqrt())
    return PersonalBlendshapes(names, shapes, rms, float(distance.max()), float(moved.square().mean().sqrt()))


def _drawn_codes(n: int, anchors: Tensor, strength: float, generator: torch.Generator) -> Float[Tensor, "B 8"]:
    """Half around the origin in all directions, half mixtures of the training's expressions at all strengths."""
    n_free = n // 2
    free = torch.randn(n_free, anchors.shape[1], generator=generator).to(anchors) * (strength / anchors.shape[1] ** 0.5)
    # Squared logarithms are heavy-tailed: one or two expressions dominate each mixture.
    shares = torch.rand(n - n_free, len(anchors), generator=generator).clamp_min(1e-9).log().square().to(anchors)
    mixed = shares @ anchors
    reach = torch.rand(len(mixed), 1, generator=generator).to(anchors) * 1.5
    return torch.cat([free, torch.nn.functional.normalize(mixed, dim=-1) * strength * reach])


def _modes_beyond(
    named: Float[Tensor, "E D"], seen: Float[Tensor, "V D"], drawn: Float[Tensor, "S D"]
) -> Float[Tensor, "M D"]:
    """Principal components, one standard deviation each, of what the named shapes cannot make.

    The photos' own expressions count most, so that they are kept nearly exactly.
    """
    left = torch.cat([seen, drawn])
    if len(named):
        left = left - torch.linalg.lstsq(named.T, left.T).solution.T @ named
    weighted = torch.cat([left[: len(seen)] * _SEEN_WEIGHT, left[len(seen) :]])
    # Through the small matrix of inner products: there are far fewer samples than coordinates.
    values, vectors = torch.linalg.eigh((weighted @ weighted.T).double())
    order = values.argsort(descending=True)[:N_MODES]
    order = order[values[order] > 1e-10 * values.max().clamp_min(1e-30)]
    directions = torch.nn.functional.normalize(vectors[:, order].T.to(left) @ weighted, dim=-1)
    modes = directions * (left @ directions.T).square().mean(0).sqrt()[:, None]
    still = torch.linalg.vector_norm(modes.unflatten(-1, (-1, 3)), dim=-1).amax(-1) <= _STILL_MM
    return modes[~still]
