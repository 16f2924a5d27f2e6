"""A Rig as a GLB model: parts with their materials, joints, and the blendshapes as morph targets."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float

from likeness.files.glb import GlbImage, GlbJoint, GlbMaterial, GlbModel, GlbPart
from likeness.files.motion_glb import animation_of
from likeness.files.rig_detail_glb import detail_payloads, rest_normal_image
from likeness.meshes import vertex_normals
from likeness.motion import Motion
from likeness.rig import Rig
from likeness.topology import Topology

# Parts with a material of their own, where a topology has the regions: part -> (regions, roughness).
_PARTS = {
    "eyes": (("eyeball_left", "eyeball_right"), 0.15),
    "teeth": (("teeth_upper", "teeth_lower"), 0.3),
    "mouth": (("tongue", "inner_mouth"), 0.35),
}
_SKIN_ROUGHNESS = 0.6
# Linear reflectance of light skin, for a rig without a texture.
_BARE_SKIN = (0.6, 0.42, 0.34, 1.0)


def rig_to_glb(rig: Rig, *, name: str = "head", motion: Motion | None = None) -> GlbModel:
    """The Rig at rest with a neutral face, animated if a motion is given; the photo's own weights travel in ``extras``.

    Raises InputError when the motion moves what the rig has not.
    """
    animation, motion_extras = (None, {}) if motion is None else animation_of(rig, motion)
    triangles = torch.from_numpy(rig.topology.triangles.astype(np.int64))
    normals = _normals(rig.neutral, triangles)
    moved = np.stack([_normals(rig.neutral + delta, triangles) for delta in rig.blendshapes])
    payloads, detail_extras = detail_payloads(rig)
    weights = dict(zip(rig.blendshape_names, rig.weights.tolist(), strict=True))
    return GlbModel(
        name=name,
        vertices=rig.neutral.astype(np.float32),
        normals=normals,
        parts=_parts(rig),
        uv=None if rig.topology.uv is None else rig.topology.uv.astype(np.float32),
        joints=tuple(
            GlbJoint(joint, tuple(position.tolist()), None if parent < 0 else parent)
            for joint, position, parent in zip(rig.joint_names, rig.joint_positions, rig.joint_parents, strict=True)
        ),
        skin_weights=rig.skin_weights.astype(np.float32),
        morph_names=rig.blendshape_names,
        morph_deltas=rig.blendshapes.astype(np.float32),
        morph_normal_deltas=moved - normals,
        animations=() if animation is None else (animation,),
        extras={
            "photo_weights": {name: round(value, 5) for name, value in weights.items() if value},
            **detail_extras,
            **motion_extras,
        },
        payloads=payloads,
    )


def _parts(rig: Rig) -> tuple[GlbPart, ...]:
    texture = None if rig.albedo is None else GlbImage.from_pixels(rig.albedo, encoding="jpeg")
    relief = rest_normal_image(rig)
    colour = (1.0, 1.0, 1.0, 1.0) if texture else _BARE_SKIN
    chosen = _triangles_by_part(rig.topology)
    roughness = {"skin": _SKIN_ROUGHNESS} | {part: value for part, (_, value) in _PARTS.items()}
    uv_triangles = rig.topology.uv_triangles
    return tuple(
        GlbPart(
            name=part,
            triangles=rig.topology.triangles[rows].astype(np.int32),
            material=GlbMaterial(
                part,
                base_colour=colour,
                base_colour_image=texture,
                normal_image=relief if part == "skin" else None,
                roughness=roughness[part],
            ),
            uv_triangles=None if uv_triangles is None else uv_triangles[rows].astype(np.int32),
        )
        for part, rows in chosen.items()
    )


def _triangles_by_part(topology: Topology) -> dict[str, Bool[np.ndarray, " T"]]:
    """Which triangles belong to which part: those whose corners all lie in its regions; all others are skin."""
    chosen: dict[str, np.ndarray] = {}
    skin = np.ones(len(topology.triangles), bool)
    for part, (regions, _) in _PARTS.items():
        if not all(region in topology.regions for region in regions):
            continue
        inside = np.logical_or.reduce([topology.region(region) for region in regions])
        rows = inside[topology.triangles].all(1) & skin
        if rows.any():
            chosen[part] = rows
            skin &= ~rows
    return {"skin": skin, **chosen}


def _normals(vertices: Float[np.ndarray, "V 3"], triangles: torch.Tensor) -> Float[np.ndarray, "V 3"]:
    return vertex_normals(torch.from_numpy(vertices.astype(np.float32)), triangles).numpy()
