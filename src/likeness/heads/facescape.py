"""FaceScape's bilinear head (Yang et al., CVPR 2020), model 1.3: one core tensor, identity by expression.

    V(w, e) = Σ_k w_k [ C_k,0 (1 − Σ_j e_j) + Σ_j e_j C_k,j ]      j = 1 … 51

C_k,0 is neutral and C_k,j absolute shapes, as stored; the release subtracts the neutral slot once and adds
afterwards, which is the same sum. Nothing here subtracts in place, so the mapped file stays as it is.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import AssetError, InputError
from likeness.heads.facescape_expressions import ARKIT_NAMES
from likeness.heads.facescape_files import FaceScapeTables, read_core, read_factors, read_tables
from likeness.heads.protocol import Embedding
from likeness.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = "1.3"


def load_facescape_head() -> FaceScapeHead:
    """The head of the installed official files. Raises AssetError when one is missing or is not what it should be."""
    from likeness import assets
    from likeness.heads.facescape_files import TABLE_FILES

    paths = {name: assets.require(name) for name in ("facescape_core", "facescape_factors", *TABLE_FILES)}
    tables = read_tables(paths, assets.store() / "facescape_tables.safetensors")
    return facescape_head(read_core(paths["facescape_core"]), read_factors(paths["facescape_factors"]), tables)


def facescape_head(core: np.ndarray, factors: Float[np.ndarray, "S K"], tables: FaceScapeTables) -> FaceScapeHead:
    """A head of arrays in memory. Raises AssetError when they do not belong together."""
    n_identity, n_coordinates = core.shape[0], core.shape[2]
    if n_coordinates != 3 * tables.n_vertices:
        raise AssetError(
            f"the bilinear core has {n_coordinates // 3} vertices, the tables beside it {tables.n_vertices}; "
            "both must be of FaceScape's model 1.3 (26317 vertices)."
        )
    if factors.shape[1] != n_identity or len(tables.identity_mean) != n_identity:
        raise AssetError(
            f"the bilinear core has {n_identity} factors, the subjects' file {factors.shape[1]} and their mean "
            f"{len(tables.identity_mean)}; take all three from the {n_identity}-factor model."
        )
    neutral = (tables.identity_mean.astype(core.dtype) @ core[:, 0]).reshape(-1, 3)
    # Rounded, so that the frame does not hang on the last bit of a sum.
    origin = np.round(neutral[tables.front_vertices].mean(0).astype(np.float64), 3)
    return FaceScapeHead(
        core=torch.from_numpy(core),
        factors=torch.from_numpy(factors),
        tables=tables,
        origin=torch.from_numpy(origin),
        version=f"{_VERSION}-{_fingerprint(core, factors)}",
    )


class FaceScapeHead:
    """Identity in standard deviations from the mean of FaceScape's subjects, 51 blendshape weights, one joint.

    Its own frame has the axes and the unit of the head frame (mm after its authors scaled the inner eye corners to 40
    mm apart) and another origin: ``origin`` (3,) is where ours lies in it. Vertices are rigid with the joint "head",
    which turns everything; FaceScape has no eyes or jaw to turn. ``factors`` are the training subjects' own identity
    factors.
    """

    name: str = "facescape"
    expression_names: tuple[str, ...] = ARKIT_NAMES
    n_expression: int = len(ARKIT_NAMES)
    joint_names: tuple[str, ...] = ("head",)
    joint_parents: tuple[int, ...] = (-1,)

    def __init__(
        self,
        core: Float[Tensor, "K 52 C"],
        factors: Float[Tensor, "S K"],
        tables: FaceScapeTables,
        origin: Float[Tensor, "3"],
        version: str,
    ) -> None:
        self.core, self.factors, self.tables, self.origin, self.version = core, factors, tables, origin, version
        self.n_identity, self.n_vertices = len(core), core.shape[2] // 3
        self.topology = _topology(tables, self.n_vertices)
        corners = torch.from_numpy(tables.landmarks)[:, None].expand(-1, 3).to(core.device)
        weights = torch.tensor([1.0, 0.0, 0.0], device=core.device).expand(68, 3)
        self.embeddings: Mapping[str, Embedding] = {"ibug68": Embedding(corners, weights)}

    def vertices(
        self,
        identity: Float[Tensor, "B I"],
        expression: Float[Tensor, "B E"] | None = None,
        joints: Float[Tensor, "B J 3"] | None = None,
        offsets: Float[Tensor, "*B V 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Head frame, mm. In the core's own float type inside; the result has the identity's."""
        if expression is None:
            expression = identity.new_zeros(len(identity), self.n_expression)
        vertices = self.model_vertices(self.factors_of(identity), expression).to(identity.dtype) - self._origin(
            identity
        )
        if offsets is not None:
            vertices = vertices + offsets
        return vertices if joints is None else self._turned(vertices, joints, identity)

    def model_vertices(
        self, factors: Float[Tensor, "B K"], expression: Float[Tensor, "B 51"]
    ) -> Float[Tensor, "B V 3"]:
        """FaceScape's own V(w_id, w_exp) in its own frame, from its own identity factors."""
        batch, size = torch.broadcast_shapes(factors.shape[:1], expression.shape[:1])[0], self.core.shape[2]
        pairs = (factors[:, :, None] * slot_weights(expression)[:, None, :]).to(self.core.dtype)
        flat = pairs.reshape(batch, -1) @ self.core.reshape(-1, size)
        return flat.reshape(batch, -1, 3)

    def factors_of(self, identity: Float[Tensor, "B I"]) -> Float[Tensor, "B K"]:
        """FaceScape's factors of an identity in standard deviations."""
        mean, deviation = self._identity_statistics(identity)
        return mean + identity * deviation

    def identity_of(self, factors: Float[Tensor, "B K"]) -> Float[Tensor, "B I"]:
        """The identity in standard deviations of FaceScape's factors."""
        mean, deviation = self._identity_statistics(factors)
        return (factors - mean) / deviation

    def basis_of(self, vertices: Int[Tensor, " N"]) -> Float[Tensor, "K 52 N 3"]:
        """The core of some vertices alone, in float64: what a fit needs again and again."""
        columns = (vertices[:, None] * 3 + torch.arange(3, device=vertices.device)).reshape(-1)
        return self.core[:, :, columns].to(torch.float64).reshape(*self.core.shape[:2], -1, 3)

    def personal_blendshapes(self, identity: Float[Tensor, "1 I"]) -> Float[Tensor, "52 V 3"]:
        """The 52 meshes B_j = V(w, e_0 + e_j) of one person in the head frame, neutral first, in the order of
        `likeness.heads.facescape_expressions.FACESCAPE_NAMES`.
        """
        if len(identity) != 1:
            raise InputError(f"personal blendshapes are of one person; {len(identity)} identities were given.")
        factors = self.factors_of(identity).to(self.core.dtype)
        meshes = (factors @ self.core.reshape(self.n_identity, -1)).reshape(self.core.shape[1], -1, 3)
        return meshes.to(identity.dtype) - self._origin(identity)

    def joint_positions(self, identity: Float[Tensor, "B I"]) -> Float[Tensor, "B J 3"]:
        """The joint lies midway between the ears of the average head, the same for everybody."""
        return self._joint.to(identity).expand(len(identity), 1, 3)

    def skin_weights(self) -> Float[Tensor, "V J"]:
        return torch.ones(self.n_vertices, 1, device=self.core.device)

    def to(self, device: torch.device | str) -> FaceScapeHead:
        core, factors, origin = (tensor.to(device) for tensor in (self.core, self.factors, self.origin))
        return self if core is self.core else FaceScapeHead(core, factors, self.tables, origin, self.version)

    @cached_property
    def _joint(self) -> Float[Tensor, "1 3"]:
        mean = self.vertices(torch.zeros(1, self.n_identity, device=self.core.device))[0]
        return (mean.amin(0) + mean.amax(0))[None] / 2

    def _identity_statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.from_numpy(self.tables.identity_mean).to(like)
        return mean, torch.from_numpy(self.tables.identity_variance).to(like).sqrt()

    def _origin(self, like: Tensor) -> Tensor:
        return self.origin.to(like)

    def _turned(self, vertices: Tensor, joints: Tensor, identity: Tensor) -> Tensor:
        centre = self.joint_positions(identity)
        return (vertices - centre) @ roma.rotvec_to_rotmat(joints[:, 0]).mT + centre


def _topology(tables: FaceScapeTables, n_vertices: int) -> Topology:
    front = np.zeros(n_vertices, bool)
    front[tables.front_vertices] = True
    return Topology(
        triangles=tables.triangles,
        uv=tables.uv.astype(np.float32),
        uv_triangles=tables.uv_triangles,
        regions={"face": front},
    )


def slot_weights(expression: Float[Tensor, "B 51"]) -> Float[Tensor, "B 52"]:
    """Weights of the stored absolute shapes, neutral first; they sum to one."""
    return torch.cat([1 - expression.sum(-1, keepdim=True), expression], -1)


def _fingerprint(core: np.ndarray, factors: np.ndarray) -> str:
    """Of the shape, the subjects and a sample of the core: hashing all 800 MB would cost a second at every start."""
    sample = np.ascontiguousarray(core[::7, ::5, :: max(1, core.shape[2] // 997)])
    total = hashlib.sha256(repr((core.shape, core.dtype.str)).encode())
    total.update(sample.tobytes())
    total.update(np.ascontiguousarray(factors).tobytes())
    return total.hexdigest()[:8]
