"""Rig: what an animator uses. A neutral mesh, named blendshapes, joints with skin weights, textures, detail maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from likeness.errors import InputError
from likeness.face import Face
from likeness.heads.protocol import Embedding
from likeness.motion import Motion
from likeness.topology import Mesh, Topology


@dataclass(frozen=True, eq=False)
class DetailMap:
    """A displacement map (H, W) in mm in the Rig's UV chart, and how strongly it shows.

    The map counts ``bias + sum_k weight_k * w_k`` over the blendshape weights w, clipped to [0, 1]. A static map has
    bias 1 and no weights. A ``local`` map counts so at each vertex by itself, where w_k is multiplied by the share of
    blendshape k's largest movement that the vertex makes; see `Rig.strengths`.
    """

    name: str
    displacement: Float[np.ndarray, "H W"]
    bias: float = 1.0
    weights: Mapping[str, float] = field(default_factory=dict)
    local: bool = False

    def strength(self, blendshape_weights: Mapping[str, float]) -> float:
        total = self.bias + sum(k * blendshape_weights.get(name, 0.0) for name, k in self.weights.items())
        return float(np.clip(total, 0.0, 1.0))


@dataclass(frozen=True, eq=False)
class Rig:
    """Independent of the method that made it. Head frame, millimetres, right-handed.

    ``neutral``           (V, 3) rest positions.
    ``blendshape_names``  N names; ``blendshapes`` (N, V, 3) displacements at weight 1; ``weights`` (N,) of the photo.
    ``joint_names``, ``joint_parents`` (-1 for a root), ``joint_positions`` (J, 3) at rest, ``skin_weights`` (V, J).
    ``albedo``            (H, W, 3) uint8 sRGB, row 0 at v = 1.
    ``details``           displacement maps with the rule of their strength.
    ``landmarks``         where landmarks lie on the mesh, by convention; by them a Rig finds its way to others.
    """

    topology: Topology
    neutral: Float[np.ndarray, "V 3"]
    blendshape_names: tuple[str, ...]
    blendshapes: Float[np.ndarray, "N V 3"]
    weights: Float[np.ndarray, " N"]
    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    joint_positions: Float[np.ndarray, "J 3"]
    skin_weights: Float[np.ndarray, "V J"]
    albedo: Int[np.ndarray, "H W 3"] | None = None
    details: tuple[DetailMap, ...] = ()
    landmarks: Mapping[str, Embedding] = field(default_factory=dict)

    def evaluate(self, weights: Mapping[str, float]) -> Mesh:
        """The mesh for blendshape weights by name (those not named are zero), joints at rest.

        Raises InputError on a name the Rig does not have.
        """
        unknown = sorted(set(weights) - set(self.blendshape_names))
        if unknown:
            raise InputError(f"this rig has no blendshape named {', '.join(unknown)}.")
        vector = np.array([weights.get(name, 0.0) for name in self.blendshape_names], np.float32)
        return Mesh(self.neutral + np.tensordot(vector, self.blendshapes, 1), self.topology)

    def strengths(self, weights: Mapping[str, float]) -> Float[np.ndarray, "D V"]:
        """How much each detail map counts at each vertex, for blendshape weights by name.

        Local maps share the surface: where together they count more than once, they are divided by their sum.
        """
        moved = np.linalg.norm(self.blendshapes, axis=-1)
        moved /= np.maximum(moved.max(1, keepdims=True), np.finfo(np.float32).tiny)
        found = np.zeros((len(self.details), len(self.neutral)), np.float32)
        for row, detail in zip(found, self.details, strict=True):
            row += detail.bias if detail.local else detail.strength(weights)
            for k, name in enumerate(self.blendshape_names if detail.local else ()):
                row += detail.weights.get(name, 0.0) * weights.get(name, 0.0) * moved[k]
        found = found.clip(0, 1)
        local = [detail.local for detail in self.details]
        found[local] /= found[local].sum(0).clip(1)
        return found

    def save(self, path: str | Path, *, motion: Motion | None = None) -> None:
        """Write the Rig: ``.safetensors`` keeps everything without loss, ``.glb`` is for other programs.

        ``motion`` becomes the animation of a GLB: morph weights, head and eye joints. Raises InputError on another
        ending or when the motion moves what the Rig lacks, OutputError when the file cannot be written.
        """
        from likeness.files.rig import write_rig

        write_rig(path, self, motion=motion)

    @staticmethod
    def load(path: str | Path) -> Rig:
        """Read a ``.safetensors`` Rig. Raises FileFormatError."""
        from likeness.files.rig import read_rig

        return read_rig(path)


def rig_from_face(face: Face, *, blendshapes: Literal["arkit", "native"] = "arkit") -> Rig:
    """A Face's head as a Rig.

    ``blendshapes`` "arkit": ARKit's 52, in the open head's order. A head that has shapes of these names keeps its own;
    the others are carried over from the open head for this person (`likeness.heads.carried`), and the photo's
    expression is explained by them as well as weights in [0, 1] can. "native": the head's own expression space sampled
    at this identity; for a head whose expressions act linearly (all but bilinear ones do, at a fixed identity) nothing
    is lost but the rotations of its joints, which are the Rig's joints' to make.

    Raises InputError for "arkit" on a head without landmarks.
    """
    from likeness.methods import detail_maps

    native = replace(plain_rig(face), albedo=face.albedo_image(), details=detail_maps(face))
    if blendshapes == "native":
        return native
    if blendshapes != "arkit":
        raise InputError(f"unknown blendshapes '{blendshapes}'; choose from arkit, native.")
    from likeness.arkit_rig import with_arkit_shapes

    return with_arkit_shapes(native, face)


def plain_rig(face: Face) -> Rig:
    """The Rig in the head's own expression space, without textures and details."""
    head, count = face.head, face.head.n_expression
    neutral = face.neutral_vertices
    identity = face.identity[None].expand(count, -1)
    unit = torch.eye(count, dtype=neutral.dtype, device=neutral.device)
    offsets = None if face.offsets is None else face.offsets[None]
    blendshapes = head.vertices(identity, unit, None, offsets) - neutral
    return Rig(
        topology=head.topology,
        neutral=_array(neutral),
        blendshape_names=tuple(head.expression_names),
        blendshapes=_array(blendshapes),
        weights=_array(face.expression),
        joint_names=tuple(head.joint_names),
        joint_parents=tuple(head.joint_parents),
        joint_positions=_array(head.joint_positions(face.identity[None])[0]),
        skin_weights=_array(head.skin_weights()),
        landmarks={name: head.embeddings[name].to("cpu") for name in ("ibug68",) if name in head.embeddings},
    )


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float32)
