"""How DECA's wrinkles follow the expression: exactly for a Face, and as maps that any animator's tool can blend.

Displacement is a function F(detail; expression, jaw) of a person's detail code. A Rig blends maps, so F is replaced by
secants about the neutral face, and the few directions in which it changes most are found by singular values.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.assets import require
from likeness.face import Face
from likeness.methods.deca import files
from likeness.methods.deca.displacement import DisplacementSpace
from likeness.methods.deca.face_codes import face_to_code
from likeness.methods.deca.geometry import DecaCode
from likeness.methods.deca.inference import FastDecoder
from likeness.methods.deca.networks import N_EXPRESSION, N_JAW
from likeness.rig import DetailMap

# How a jaw rotation (rad, about the head's axes) is named among a detail map's weights.
JAW_NAMES = ("jaw.x", "jaw.y", "jaw.z")
# One step of each: FLAME's expressions are about normal, jaws open a few tenths of a radian.
_EXPRESSION_STEP, _JAW_STEP = 1.0, 0.2
# Maps stop growing this many steps from neutral.
_REACH = 3.0
# The share of the change (its energy) that the maps keep, if so many suffice.
_KEPT, _MOST_DIRECTIONS = 0.99, 8
_BATCH = 16


def follow_expression(face: Face, space: DisplacementSpace | None = None) -> Face:
    """The Face with the displacement of the expression and jaw that it has now.

    Raises InputError on a Face that DECA did not make, AssetError when DECA's files are missing.
    """
    code, space = face_to_code(face, "cpu"), space or _installed_space()
    with torch.no_grad():
        displacement = space.millimetres(code.jaw, code.expression, code.detail)[0]
    return replace(face, displacement=displacement.to(face.identity.device))


def detail_maps(face: Face, space: DisplacementSpace | None = None) -> tuple[DetailMap, ...]:
    """The Face's wrinkles as maps to blend: those of the neutral face, and pairs for the directions of change.

    A pair holds one map for each sign, as a map's strength is never negative. Weights are named as the head's
    expressions and, for the jaw's rotation, `JAW_NAMES`. Raises like `follow_expression`.
    """
    code, space = face_to_code(face, "cpu"), space or _installed_space()
    neutral, change = _secants(space, code)
    names = (*face.head.expression_names[:N_EXPRESSION], *JAW_NAMES)
    maps = [DetailMap("neutral", neutral.numpy())]
    for number, (shape, direction) in enumerate(zip(*_directions(change), strict=True), start=1):
        for sign, word in ((1.0, "more"), (-1.0, "less")):
            share = sign * direction / _steps() / _REACH
            weights = dict(zip(names, share.tolist(), strict=True))
            maps.append(DetailMap(f"wrinkles_{number}_{word}", (sign * _REACH * shape).numpy(), 0.0, weights))
    return tuple(maps)


@torch.no_grad()
def _secants(space: DisplacementSpace, code: DecaCode) -> tuple[Float[Tensor, "H W"], Float[Tensor, "K H W"]]:
    """Displacement of the neutral face, and its change for a step of each expression and jaw coefficient (mm)."""
    steps = torch.diag(_steps())
    motion = torch.cat([torch.zeros(1, len(steps)), steps, -steps])
    found = []
    for part in motion.split(_BATCH):
        expression, jaw = part.split([N_EXPRESSION, N_JAW], 1)
        found.append(space.millimetres(jaw, expression, code.detail.expand(len(part), -1)))
    neutral, up, down = torch.cat(found).split([1, len(steps), len(steps)])
    return neutral[0], (up - down) / 2


def _directions(change: Float[Tensor, "K H W"]) -> tuple[Float[Tensor, "D H W"], Float[Tensor, "D K"]]:
    """The main directions of change: maps, and how much of each a step of every coefficient is."""
    flat = change.flatten(1)
    # Of 53 rows: the small side's eigenvectors are the singular vectors.
    energy, vectors = torch.linalg.eigh((flat @ flat.T).double())
    energy, vectors = energy.flip(0).clamp_min(0), vectors.flip(1).to(flat)
    share = energy.cumsum(0) / energy.sum().clamp_min(torch.finfo(energy.dtype).tiny)
    count = min(_MOST_DIRECTIONS, int((share < _KEPT).sum()) + 1)
    chosen = vectors[:, :count].T
    return (chosen @ flat).unflatten(1, change.shape[1:]), chosen


def _steps() -> Float[Tensor, " K"]:
    return torch.tensor([_EXPRESSION_STEP] * N_EXPRESSION + [_JAW_STEP] * N_JAW)


def _installed_space() -> DisplacementSpace:
    paths = (require("deca-weights"), require("deca-fixed-displacement"), require("deca-face-mask"))
    return _read_space(*paths, stamps=tuple(path.stat().st_mtime_ns for path in paths))


@lru_cache(maxsize=1)
def _read_space(weights: Path, fixed: Path, mask: Path, *, stamps: tuple[int, ...]) -> DisplacementSpace:
    decoder = FastDecoder(files.read_decoder(weights))
    maps = (files.read_fixed_displacement(fixed), files.read_mask(mask))
    return DisplacementSpace(decoder, *(torch.from_numpy(values) for values in maps))
