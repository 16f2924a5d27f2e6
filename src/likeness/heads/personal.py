"""A head of one person, given entirely by its own tensors: neutral face, blendshapes, joints, topology.

For methods whose result is no point of a general head model (a neural rig, say). A Face with such a head stores the
head inside its own file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import InputError
from likeness.heads.protocol import Embedding
from likeness.topology import Topology

NAME = "personal"
_CHARTS = ("uv", "uv_triangles", "quads", "uv_quads", "mirror")
_TENSORS = ("_neutral", "_blendshapes", "_joint_positions", "_skin_weights")


class PersonalHead:
    """Implements `likeness.heads.Head` for one person: there is no identity space.

    The surface is neutral + offsets + Σ weight · blendshape, skinned about the joints. ``version`` is a digest of all
    numbers, so that two heads of one version are the same head. Joints stand parents before children.
    """

    name = NAME
    n_identity = 0

    def __init__(
        self,
        *,
        neutral: Float[Tensor, "V 3"],
        blendshapes: Float[Tensor, "E V 3"],
        expression_names: tuple[str, ...],
        topology: Topology,
        joint_names: tuple[str, ...] = ("head",),
        joint_parents: tuple[int, ...] = (-1,),
        joint_positions: Float[Tensor, "J 3"] | None = None,
        skin_weights: Float[Tensor, "V J"] | None = None,
        embeddings: Mapping[str, Embedding] | None = None,
    ) -> None:
        """Raises InputError when shapes do not fit together. Without joints there is one, the head, at the origin."""
        if (joint_positions is None or skin_weights is None) and len(joint_names) != 1:
            raise InputError("A personal head of several joints needs their positions and the skin weights.")
        self._neutral = neutral
        self._blendshapes = blendshapes
        self._joint_positions = neutral.new_zeros(1, 3) if joint_positions is None else joint_positions
        self._skin_weights = neutral.new_ones(len(neutral), 1) if skin_weights is None else skin_weights
        self.expression_names = tuple(expression_names)
        self.n_expression = len(expression_names)
        self.joint_names, self.joint_parents = tuple(joint_names), tuple(joint_parents)
        self.topology = topology
        self.embeddings: Mapping[str, Embedding] = dict(embeddings or {})
        self._check()
        self.version = self._digest()

    @property
    def neutral(self) -> Float[Tensor, "V 3"]:
        """The person's neutral face, mm."""
        return self._neutral

    @property
    def blendshapes(self) -> Float[Tensor, "E V 3"]:
        """Displacements at weight 1, mm."""
        return self._blendshapes

    def vertices(
        self,
        identity: Float[Tensor, "B 0"],
        expression: Float[Tensor, "B E"] | None = None,
        joints: Float[Tensor, "B J 3"] | None = None,
        offsets: Float[Tensor, "*B V 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """The posed surface; the identity only tells the size of the batch."""
        surface = self._neutral.expand(len(identity), -1, -1)
        if offsets is not None:
            surface = surface + offsets
        if expression is not None:
            moved = expression.to(self._neutral.dtype) @ self._blendshapes.flatten(1)
            surface = surface + moved.unflatten(-1, (-1, 3))
        return surface if joints is None else self._skinned(surface, joints.to(surface))

    def joint_positions(self, identity: Float[Tensor, "B 0"]) -> Float[Tensor, "B J 3"]:
        return self._joint_positions.expand(len(identity), -1, -1)

    def skin_weights(self) -> Float[Tensor, "V J"]:
        return self._skin_weights

    def to(self, device: torch.device | str) -> PersonalHead:
        """This head with its tensors on another device."""
        moved = copy(self)
        for name in _TENSORS:
            setattr(moved, name, getattr(self, name).to(device))
        moved.embeddings = {name: embedding.to(device) for name, embedding in self.embeddings.items()}
        return moved

    def to_record(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and arrays that `from_record` makes this head of again, without loss."""
        topology = self.topology
        arrays = {name[1:]: getattr(self, name).detach().cpu().numpy() for name in _TENSORS}
        arrays["topology/triangles"] = topology.triangles
        arrays |= {f"topology/{name}": chart for name in _CHARTS if (chart := getattr(topology, name)) is not None}
        arrays |= {f"region/{name}": mask.astype(np.uint8) for name, mask in topology.regions.items()}
        for name, embedding in self.embeddings.items():
            for part in ("corners", "barycentric", "spread"):
                if (tensor := getattr(embedding, part)) is not None:
                    arrays[f"embedding/{name}/{part}"] = tensor.cpu().numpy()
        header = {
            "name": self.name,
            "expression_names": list(self.expression_names),
            "joint_names": list(self.joint_names),
            "joint_parents": list(self.joint_parents),
            "embeddings": sorted(self.embeddings),
        }
        return header, arrays

    @classmethod
    def from_record(cls, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> PersonalHead:
        """The head that `to_record` described. Raises InputError when its parts do not fit together."""
        tensors = {name[1:]: torch.from_numpy(arrays[name[1:]]) for name in _TENSORS}
        charts = {name: arrays.get(f"topology/{name}") for name in _CHARTS}
        regions = {name[7:]: mask.astype(bool) for name, mask in arrays.items() if name.startswith("region/")}
        return cls(
            **tensors,
            expression_names=tuple(map(str, header["expression_names"])),
            joint_names=tuple(map(str, header["joint_names"])),
            joint_parents=tuple(map(int, header["joint_parents"])),
            topology=Topology(triangles=arrays["topology/triangles"], regions=regions, **charts),
            embeddings={str(name): _embedding(name, arrays) for name in header["embeddings"]},
        )

    def _skinned(self, surface: Float[Tensor, "B V 3"], joints: Float[Tensor, "B J 3"]) -> Float[Tensor, "B V 3"]:
        turns, shifts = _joint_motions(roma.rotvec_to_rotmat(joints), self._joint_positions, self.joint_parents)
        blended = torch.einsum("vj,bjmn->bvmn", self._skin_weights, turns)
        return (blended @ surface[..., None])[..., 0] + self._skin_weights @ shifts

    def _check(self) -> None:
        n_vertices, n_joints = len(self._neutral), len(self.joint_names)
        expected = {
            "_neutral": (n_vertices, 3),
            "_blendshapes": (self.n_expression, n_vertices, 3),
            "_joint_positions": (n_joints, 3),
            "_skin_weights": (n_vertices, n_joints),
        }
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                found = tuple(getattr(self, name).shape)
                raise InputError(f"A personal head's {name[1:]} has shape {found}; expected {shape}.")
        if any(not -1 <= parent < child for child, parent in enumerate(self.joint_parents)) or n_joints != len(
            self.joint_parents
        ):
            raise InputError("A personal head needs one parent for each joint, standing before it (-1 for a root).")
        triangles = self.topology.triangles
        if triangles.size and not 0 <= triangles.min() <= triangles.max() < n_vertices:
            raise InputError(f"A personal head's triangles name vertices beyond its {n_vertices}.")

    def _digest(self) -> str:
        header, arrays = self.to_record()
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()[:16]


def _joint_motions(
    turns: Float[Tensor, "B J 3 3"], positions: Float[Tensor, "J 3"], parents: tuple[int, ...]
) -> tuple[Float[Tensor, "B J 3 3"], Float[Tensor, "B J 3"]]:
    """How each joint carries points of the rest pose: rotation and shift, parents' motions included."""
    rotations: list[Tensor] = []
    shifts: list[Tensor] = []
    for joint, parent in enumerate(parents):
        here = positions[joint] - turns[:, joint] @ positions[joint]
        if parent < 0:
            rotations.append(turns[:, joint])
            shifts.append(here)
        else:
            rotations.append(rotations[parent] @ turns[:, joint])
            shifts.append((rotations[parent] @ here[..., None])[..., 0] + shifts[parent])
    return torch.stack(rotations, 1), torch.stack(shifts, 1)


def _embedding(name: str, arrays: Mapping[str, np.ndarray]) -> Embedding:
    corners, barycentric = (torch.from_numpy(arrays[f"embedding/{name}/{part}"]) for part in ("corners", "barycentric"))
    spread = arrays.get(f"embedding/{name}/spread")
    return Embedding(corners, barycentric, None if spread is None else torch.from_numpy(spread))
