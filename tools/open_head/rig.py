"""Five joints and their skin weights, and the 52 expression shapes made exactly mirror-symmetric."""

import numpy as np

from open_head.identity import rigid_motion
from open_head.source import JOINT_BONES, Array, Index, Source
from open_head.topology import Topology

JOINTS = ("root", "neck", "jaw", "eyeLeft", "eyeRight")
JOINT_PARENTS = (-1, 0, 1, 1, 1)
JOINT_MIRROR = np.array([0, 1, 2, 4, 3])

# The neck joint sits between MakeHuman's first neck bone (the root's place) and the skull's: where a nod turns.
NECK_BETWEEN = 0.6
# How much of each neck bone's weight follows the neck joint; the rest stays with the root. The skull follows fully.
NECK_SHARE = {"root": 0.0, "neck01": 0.25, "neck02": 0.6, "neck03": 0.9}

# Rim vertices that a blink takes along by this share of the most belong to the upper lid's middle.
BLINK_RIM_SHARE = 0.6
# From the root to this share of the tongue's length it goes with the jaw more and more, from there on wholly.
TONGUE_FREE = 0.35


def joint_positions(source: Source, bones: Array, points: Array, topology: Topology) -> Array:
    """(N, J, 3) of people given by their MakeHuman bone heads (N, B, 3) and baked vertices (N, V, 3)."""
    base, skull, jaw = (bones[:, list(JOINT_BONES).index(name)] for name in ("neck", "head", "jaw"))
    neck = base + NECK_BETWEEN * (skull - base)
    return np.concatenate([np.stack([base, neck, jaw], axis=1), topology.eye_centres(points)], axis=1)


def skin_weights(source: Source, topology: Topology) -> Array:
    """(V, J), rows sum to one: each MakeHuman bone counts for the joint it hangs from."""
    coarse = np.zeros((len(source.template), len(JOINTS)))
    for bone, weight in enumerate(source.bone_weights.T):
        coarse += weight[:, None] * _joint_shares(source, bone)
    weights = topology.stencil @ coarse
    for part, joint in (
        ("tongue", 2),
        ("teeth_lower", 2),
        ("teeth_upper", 1),
        ("eyeball_left", 3),
        ("eyeball_right", 4),
    ):
        weights[topology.part_vertices(part)] = np.eye(len(JOINTS))[joint]
    weights = (weights + weights[topology.mirror][:, JOINT_MIRROR]) / 2
    return weights / weights.sum(axis=1, keepdims=True)


def _joint_shares(source: Source, bone: int) -> Array:
    names, share = source.bone_names, np.zeros(len(JOINTS))
    while bone >= 0 and names[bone] not in ("jaw", "eye.L", "eye.R", "head", *NECK_SHARE):
        bone = source.bone_parents[bone]
    name = names[bone] if bone >= 0 else "root"
    if name in ("jaw", "eye.L", "eye.R"):
        share[{"jaw": 2, "eye.L": 3, "eye.R": 4}[name]] = 1.0
    else:
        share[1] = NECK_SHARE.get(name, 1.0)
        share[0] = 1.0 - share[1]
    return share


def symmetric_expressions(names: list[str], deltas: Array, mirror: Index) -> Array:
    """Each shape averaged with the mirror image of its namesake on the other side."""
    twin = [names.index(_other_side(name)) for name in names]
    flipped = deltas[twin][:, mirror] * [-1.0, 1.0, 1.0]
    return (deltas + flipped) / 2


def without_strays(names: list[str], deltas: Array, mean: Array, topology: Topology) -> Array:
    """Shapes of eyes and brows without what they do out of sight: a MakeHuman blink moves palate and other socket."""
    skin = topology.part_vertices("skin")
    mouth = np.setdiff1d(topology.part_vertices("mouth_cavity"), skin)
    sockets = np.setdiff1d(topology.part_vertices("eye_cavity"), skin)
    cleaned = deltas.copy()
    for row, name in enumerate(names):
        if name.startswith(("eye", "brow")):
            cleaned[row, mouth] = 0.0
        for side, sign in (("Left", 1.0), ("Right", -1.0)):
            if name.startswith("eye") and name.endswith(side):
                cleaned[row, sockets[sign * mean[sockets, 0] < 0]] = 0.0
    return cleaned


def tongue_with_jaw(names: list[str], deltas: Array, mean: Array, topology: Topology) -> Array:
    """Jaw shapes carry the tongue as they do the lower teeth, but for its root; MakeHuman lets it fill the mouth."""
    teeth, tongue = topology.part_vertices("teeth_lower"), topology.part_vertices("tongue")
    depth = mean[tongue, 2]
    share = ((depth - depth.min()) / (TONGUE_FREE * (depth.max() - depth.min()))).clip(0, 1)[:, None]
    carried = deltas.copy()
    for name in ("jawForward", "jawLeft", "jawOpen", "jawRight"):
        row = names.index(name)
        rotation, shift = rigid_motion(mean[teeth], mean[teeth] + deltas[row, teeth], np.ones(len(teeth)))
        moved = mean[tongue] @ rotation.T + shift - mean[tongue]
        carried[row, tongue] = share * moved + (1 - share) * deltas[row, tongue]
    return carried


def close_blinks(names: list[str], deltas: Array, mean: Array, topology: Topology) -> Array:
    """Blinks scaled so that the lids' rims just meet on the mean head; MakeHuman's pass each other by 2 mm."""
    rim = np.intersect1d(topology.part_vertices("skin"), topology.part_vertices("eye_cavity"))
    rim = rim[mean[rim, 0] > 0]
    blink = deltas[names.index("eyeBlinkLeft")]
    falls = -blink[rim, 1]
    upper = rim[falls > BLINK_RIM_SHARE * falls.max()]
    lower = rim[falls < 1.0]
    lower = lower[np.argsort(mean[lower, 0], kind="stable")]
    opening = mean[upper, 1] - np.interp(mean[upper, 0], mean[lower, 0], mean[lower, 1])
    scale = np.median(opening / -blink[upper, 1])
    scaled = deltas.copy()
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        scaled[names.index(name)] *= scale
    return scaled


def _other_side(name: str) -> str:
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name
