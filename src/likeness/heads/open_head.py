"""The open head: the default model, which ships with the package.

Linear in identity (unit-variance coefficients) and in ARKit's 52 expression weights, then linear blend skinning of
five joints. Baked by ``tools/bake_open_head.py`` out of MakeHuman's CC0 data; ``docs/open_head.md`` tells what is in
the file.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import as_file, files

import roma
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from likeness.errors import AssetError, InputError
from likeness.heads.contour import ContourLines
from likeness.heads.protocol import Embedding
from likeness.topology import Topology

FILE = "open_head.safetensors"
FORMAT, VERSION = "likeness-head", "1"


class OpenHead:
    """The open head behind the protocol of all heads.

    ``joint_names`` are root, neck, jaw, eyeLeft and eyeRight. The neck carries the skull; the root is the base of the
    neck and carries everything. ``contours`` holds, by landmark convention, the lines along which its landmarks on the
    outline of the face slide when the head turns.
    """

    name = "open"

    def __init__(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self._tensors, self._metadata = tensors, metadata
        self.version = metadata["digest"]
        self.expression_names: tuple[str, ...] = tuple(json.loads(metadata["expression_names"]))
        self.joint_names: tuple[str, ...] = tuple(json.loads(metadata["joint_names"]))
        self.joint_parents: tuple[int, ...] = tuple(tensors["joint_parents"].tolist())
        self.n_identity, self.n_expression = len(tensors["identity"]), len(tensors["expression"])
        self.topology = _topology(tensors)
        self.embeddings = {name: _embedding(tensors, name) for name in _conventions(tensors, "landmarks")}
        self.contours = {name: _contour(tensors, name) for name in _conventions(tensors, "contour")}
        self._mean = tensors["mean"].float()
        self._basis = torch.cat([tensors["identity"], tensors["expression"]]).float().flatten(1)
        self._joint_mean = tensors["joint_mean"].float()
        self._joint_basis = tensors["joint_identity"].float()
        self._weights = tensors["skin_weights"].float()
        # Stored in half precision; rows must sum to one for translations to pass through unharmed.
        self._weights = self._weights / self._weights.sum(1, keepdim=True)

    def vertices(
        self,
        identity: Float[Tensor, "B I"],
        expression: Float[Tensor, "B E"] | None = None,
        joints: Float[Tensor, "B J 3"] | None = None,
        offsets: Float[Tensor, "*B V 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Posed surface, mm; see `likeness.heads.Head`. Raises InputError on codes of the wrong size."""
        self._check("identity", identity, self.n_identity)
        rest = self._mean.flatten() + identity @ self._basis[: self.n_identity]
        if expression is not None:
            self._check("expression", expression, self.n_expression)
            rest = rest + expression @ self._basis[self.n_identity :]
        rest = rest.unflatten(-1, self._mean.shape)
        if offsets is not None:
            rest = rest + offsets
        return rest if joints is None else self._skin(rest, self.joint_positions(identity), joints)

    def joint_positions(self, identity: Float[Tensor, "B I"]) -> Float[Tensor, "B J 3"]:
        """Rest positions of the joints, mm."""
        self._check("identity", identity, self.n_identity)
        return self._joint_mean + torch.einsum("bi,ijk->bjk", identity, self._joint_basis)

    def skin_weights(self) -> Float[Tensor, "V J"]:
        """How much each joint carries each vertex; rows sum to one."""
        return self._weights

    def to(self, device: torch.device | str) -> OpenHead:
        """This head with its tensors on another device."""
        if self._mean.device == torch.device(device):
            return self
        return OpenHead({name: tensor.to(device) for name, tensor in self._tensors.items()}, self._metadata)

    def _skin(
        self, rest: Float[Tensor, "B V 3"], positions: Float[Tensor, "B J 3"], rotations: Float[Tensor, "B J 3"]
    ) -> Float[Tensor, "B V 3"]:
        if rotations.shape[1:] != (len(self.joint_names), 3):
            raise InputError(f"joints must be (B, {len(self.joint_names)}, 3), got {tuple(rotations.shape)}.")
        turns, shifts = self._chain(roma.rotvec_to_rotmat(rotations), positions)
        turned = torch.einsum("bjmn,bvn->bjvm", turns, rest) + shifts[:, :, None]
        return torch.einsum("vj,bjvm->bvm", self._weights.to(rest), turned)

    def _chain(
        self, matrices: Float[Tensor, "B J 3 3"], positions: Float[Tensor, "B J 3"]
    ) -> tuple[Float[Tensor, "B J 3 3"], Float[Tensor, "B J 3"]]:
        """Rotation and shift by which each joint carries a point at rest: its own turn after all of its parents'."""
        turns: list[Tensor] = []
        shifts: list[Tensor] = []
        for joint, parent in enumerate(self.joint_parents):
            here = positions[:, joint, :, None]
            turn, shift = matrices[:, joint], here - matrices[:, joint] @ here
            if parent >= 0:
                turn, shift = turns[parent] @ turn, turns[parent] @ shift + shifts[parent]
            turns.append(turn)
            shifts.append(shift)
        return torch.stack(torch.broadcast_tensors(*turns), 1), torch.stack(torch.broadcast_tensors(*shifts), 1)[..., 0]

    def _check(self, name: str, code: Tensor, n: int) -> None:
        if code.ndim != 2 or code.shape[1] != n:
            raise InputError(f"The open head's {name} code must be (B, {n}), got {tuple(code.shape)}.")


@cache
def load_open_head() -> OpenHead:
    """The open head that ships with this package, read once. Raises AssetError if the package is damaged."""
    with as_file(files("likeness.heads") / FILE) as path:
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                # Copies lie in torch's aligned memory: sums over unaligned memory round differently from run to run.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (OSError, SafetensorError) as error:
            raise AssetError(f"{path}: the open head cannot be read ({error}). Install the package again.") from None
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        raise AssetError(f"{path}: this is no open head of version {VERSION}. Install the package again.")
    # Coefficients mean nothing on other numbers: a Face remembers by this digest which head it was made on.
    digest = hashlib.sha256((files("likeness.heads") / FILE).read_bytes()).hexdigest()[:12]
    return OpenHead(tensors, metadata | {"digest": digest})


def _topology(tensors: dict[str, Tensor]) -> Topology:
    arrays = {name: tensors[name].cpu().long().numpy() for name in ("triangles", "uv_triangles", "quads", "uv_quads")}
    prefix = "region/"
    return Topology(
        **arrays,
        uv=tensors["uv"].cpu().numpy(),
        mirror=tensors["mirror"].cpu().long().numpy(),
        regions={
            name.removeprefix(prefix): tensor.cpu().bool().numpy()
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        },
    )


def _conventions(tensors: dict[str, Tensor], group: str) -> list[str]:
    return sorted({name.split("/")[1] for name in tensors if name.startswith(group + "/")})


def _embedding(tensors: dict[str, Tensor], convention: str) -> Embedding:
    prefix = f"landmarks/{convention}/"
    triangle = tensors[prefix + "triangle"].long()
    return Embedding(
        tensors["triangles"].long()[triangle], tensors[prefix + "barycentric"].float(), tensors.get(prefix + "spread")
    )


def _contour(tensors: dict[str, Tensor], convention: str) -> ContourLines:
    prefix = f"contour/{convention}/"
    triangle = tensors[prefix + "triangle"].long()
    return ContourLines(
        tensors[prefix + "landmark"].long(),
        tensors["triangles"].long()[triangle],
        tensors[prefix + "barycentric"].float(),
    )
