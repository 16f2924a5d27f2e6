"""The Basel face models as heads: linear identities and expressions on a face without eyes, teeth or neck.

Positions are millimetres in the head frame, whose origin is the centroid of the model's mean face. The files' own
axes are the head frame's already, only unit and origin differ. The one joint is the head itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cache, cached_property

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import InputError
from likeness.heads.bfm_chart import cylindrical_uv
from likeness.heads.bfm_landmarks import bfm_embeddings
from likeness.heads.bfm_model import BfmModel
from likeness.heads.protocol import Embedding
from likeness.topology import Topology


@cache
def load_bfm_head() -> BfmHead:
    """The front face of Deep3D, from the installed official files. Raises AssetError when they are not there."""
    from likeness.heads.bfm_assets import front_model

    return BfmHead(front_model().model)


@cache
def load_full_bfm_head() -> BfmHead:
    """The 53,215-vertex face, from the installed official files. Raises AssetError when they are not there."""
    from likeness.heads.bfm_assets import full_model

    return BfmHead(full_model())


@cache
def load_bfm_h5_head() -> BfmHead:
    """The installed 2017 or 2019 Basel model. Raises AssetError when none is there."""
    from likeness.heads.bfm_assets import h5_model

    return BfmHead(h5_model())


class BfmHead:
    """Implements `likeness.heads.Head` for any Basel model. Coefficients are in standard deviations."""

    joint_names: tuple[str, ...] = ("root",)
    joint_parents: tuple[int, ...] = (-1,)

    def __init__(self, model: BfmModel) -> None:
        self.model = model
        self.name = model.name
        self.version = model.version
        self.n_identity = model.identity_basis.shape[2]
        self.n_expression = model.expression_basis.shape[2]
        self.expression_names = tuple(f"expression{k:02d}" for k in range(self.n_expression))
        uv = cylindrical_uv(model.mean) if model.uv is None else model.uv
        self.topology = Topology(
            triangles=model.triangles, uv=uv, uv_triangles=model.triangles, regions=dict(model.regions)
        )
        millimetres = model.millimetres
        self._mean = torch.from_numpy((model.mean - model.centre) * np.float32(millimetres))
        self._identity = _flat_basis(model.identity_basis, millimetres)
        self._expression = _flat_basis(model.expression_basis, millimetres)
        self.embeddings: Mapping[str, Embedding] = bfm_embeddings(model)

    def vertices(
        self,
        identity: Float[Tensor, "B I"],
        expression: Float[Tensor, "B E"] | None = None,
        joints: Float[Tensor, "B 1 3"] | None = None,
        offsets: Float[Tensor, "*B V 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Mean + identity + expression, turned about the origin by the one joint. Raises InputError on wrong sizes."""
        surface = self._mean + _displacement(self._identity, identity, "identity")
        if offsets is not None:
            surface = surface + offsets
        if expression is not None:
            surface = surface + _displacement(self._expression, expression, "expression")
        if joints is None:
            return surface
        return surface @ roma.rotvec_to_rotmat(joints[:, 0].to(surface)).mT

    def joint_positions(self, identity: Float[Tensor, "B I"]) -> Float[Tensor, "B 1 3"]:
        """The origin."""
        return self._mean.new_zeros(len(identity), 1, 3)

    def skin_weights(self) -> Float[Tensor, "V 1"]:
        return self._mean.new_ones(len(self._mean), 1)

    def albedo(self, coefficients: Float[Tensor, "B A"]) -> Float[Tensor, "B V 3"]:
        """The model's colours at the vertices, RGB, nominally in [0, 1], not clipped."""
        basis, mean = self._albedo
        return mean + _displacement(basis, coefficients, "albedo")

    @cached_property
    def _albedo(self) -> tuple[Tensor, Tensor]:
        """Basis and mean, made when first asked for: most uses never colour the model."""
        mean = torch.from_numpy(self.model.mean_albedo / np.float32(255)).to(self._mean.device)
        return _flat_basis(self.model.albedo_basis, 1 / 255).to(self._mean.device), mean

    def to(self, device: torch.device | str) -> BfmHead:
        """This head with its tensors on another device."""
        if self._mean.device == torch.device(device):
            return self
        moved = copy(self)
        for name in ("_mean", "_identity", "_expression"):
            setattr(moved, name, getattr(self, name).to(device))
        moved.embeddings = bfm_embeddings(self.model, device)
        moved.__dict__.pop("_albedo", None)
        return moved


def _flat_basis(basis: np.ndarray, scale: float) -> Float[Tensor, "K V3"]:
    """(V, 3, K) → (K, 3 V): one row a component, so that a batch is one product of matrices."""
    return torch.from_numpy(np.ascontiguousarray((basis * np.float32(scale)).reshape(-1, basis.shape[2]).T))


def _displacement(basis: Tensor, coefficients: Tensor, what: str) -> Float[Tensor, "B V 3"]:
    if coefficients.ndim != 2 or coefficients.shape[1] != len(basis):
        raise InputError(
            f"The {what} coefficients have shape {tuple(coefficients.shape)}; this head needs (batch, {len(basis)})."
        )
    return (coefficients.to(basis.dtype) @ basis).unflatten(1, (-1, 3))
