"""Parts of a head that are told apart in a picture: skin, lips, eyeballs, and what is inside the mouth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.errors import InputError
from likeness.filters import smoothstep
from likeness.heads.protocol import Head

# A vertex that an eye's joint carries so far belongs to the eyeball.
_EYEBALL = 0.9
# The soft border of the face, mm inwards from where it ends.
_BORDER_MM = 14.0
# Brows and above, mm from the brows' landmarks: where the upper face begins and fully counts.
_UPPER_BEGINS, _UPPER_FULL = -8.0, 0.0
_BROWS = slice(17, 27)
# At rest the upper incisors of most people reach a little below the parted upper lip; the open head's end level.
_TEETH_DROP_MM = 1.0


class Part(IntEnum):
    """What a triangle belongs to."""

    SKIN = 0
    UPPER_LIP = 1
    LOWER_LIP = 2
    EYE = 3
    CAVITY = 4
    UPPER_TEETH = 5
    LOWER_TEETH = 6
    TONGUE = 7


OUTSIDE = (Part.SKIN, Part.UPPER_LIP, Part.LOWER_LIP)
TEETH = (Part.UPPER_TEETH, Part.LOWER_TEETH)
INSIDE_MOUTH = (Part.CAVITY, *TEETH, Part.TONGUE)


@dataclass(frozen=True, eq=False)
class HeadParts:
    """``triangles`` the `Part` of each; ``face`` how far a vertex belongs to the face (soft at its border), ``upper``
    how far to the upper face, ``loose`` whether it is neck or scalp, which clothes and hair may cover;
    ``teeth_drop`` mm by which the upper teeth are lowered, to show under a raised lip as people's do."""

    triangles: Int[Tensor, " T"]
    face: Float[Tensor, " V"]
    upper: Float[Tensor, " V"]
    loose: Float[Tensor, " V"]
    teeth_drop: Float[Tensor, " V"]

    def has(self, part: Part) -> bool:
        return bool((self.triangles == part).any())


def head_parts(head: Head, face: Float[Tensor, " V"] | None = None) -> HeadParts:
    """The parts of a head. ``face`` gives the face's weights for a head whose topology names no such region.

    Raises InputError when nothing says where the face is.
    """
    average = head.vertices(torch.zeros(1, head.n_identity))[0]
    regions = head.topology.regions
    if face is None:
        if "face" not in regions:
            raise InputError(f"the head '{head.name}' does not say where its face is; use --method open or deca.")
        face = _soft_face(head, average)
    brows = head.embeddings["ibug68"].points(average)[_BROWS, 1].mean()
    upper = smoothstep(average[:, 1] - brows, _UPPER_BEGINS, _UPPER_FULL)
    names = [name for name in ("neck", "scalp") if name in regions]
    loose = torch.from_numpy(np.any([regions[name] for name in names], 0)).to(average) if names else 1 - face
    drop = torch.zeros_like(face)
    if "teeth_upper" in regions:
        drop[torch.from_numpy(regions["teeth_upper"])] = _TEETH_DROP_MM
    return HeadParts(_triangle_parts(head), face, upper, loose, drop)


def eyeballs(head: Head) -> Bool[Tensor, " V"]:
    """Vertices that turn with an eye."""
    columns = [i for i, name in enumerate(head.joint_names) if "eye" in name.lower()]
    return (head.skin_weights()[:, columns] > _EYEBALL).any(1).cpu()


def _triangle_parts(head: Head) -> Int[Tensor, " T"]:
    triangles, regions = head.topology.triangles_tensor, head.topology.regions
    parts = torch.full((len(triangles),), int(Part.SKIN))

    def paint(part: Part, vertices: np.ndarray | Tensor) -> None:
        parts[torch.as_tensor(vertices)[triangles].all(1)] = int(part)

    if "inner_mouth" in regions:
        paint(Part.UPPER_LIP, regions["lip_upper"])
        paint(Part.LOWER_LIP, regions["lip_lower"])
        paint(Part.CAVITY, regions["inner_mouth"] & ~regions["skin"] & ~regions["lips"])
        paint(Part.UPPER_TEETH, regions["teeth_upper"])
        paint(Part.LOWER_TEETH, regions["teeth_lower"])
        paint(Part.TONGUE, regions["tongue"])
    paint(Part.EYE, eyeballs(head))
    return parts


def _soft_face(head: Head, average: Float[Tensor, "V 3"]) -> Float[Tensor, " V"]:
    regions = head.topology.regions
    within = ("face", "eyeball_left", "eyeball_right", "eye_cavity", "teeth", "tongue", "inner_mouth")
    core = torch.from_numpy(np.any([regions[name] for name in within if name in regions], 0))
    around = ~core & torch.from_numpy(regions["skin"])
    distance = torch.cdist(average, average[around]).amin(1)
    return torch.where(core, smoothstep(distance, 0.0, _BORDER_MM), 0.0)
