"""A person as the descent found them: the rig, its blendshapes, and each photo as the rig explains it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.cameras import WeakPerspective
from likeness.face import Face
from likeness.heads.personal import PersonalHead
from likeness.heads.protocol import Embedding
from likeness.landmarks.base import Landmarks
from likeness.lighting import fit_light, srgb_to_linear
from likeness.methods.inorig.blendshapes import PersonalBlendshapes
from likeness.methods.inorig.crop import Square
from likeness.methods.inorig.descent import Solution
from likeness.methods.inorig.pose import CROP_SIZE, crop_to_pixels, split_pose
from likeness.methods.inorig.rig import MILLIMETRES, PREFIX, NeuralRig, head_origin, to_head_frame
from likeness.methods.inorig.template import Template
from likeness.methods.protocol import Photo
from likeness.render import interpolate, rasterize_uv
from likeness.topology import Topology

TEXTURE_SIZE = 512
# A landmark residual (mm, root mean square) at which confidence has fallen to about a third.
_DOUBTFUL_RESIDUAL_MM = 5.0


@dataclass(frozen=True, eq=False)
class View:
    """A photo and how the rig explains it.

    ``square`` is what was cropped of the photo. ``expression`` (8) and ``pose`` (6) are codes; ``light`` (9, 3) and its
    ``basis`` (N, 9) at the vertices are the method's own. ``vertices`` (N, 3) are in the crop frame (px); ``colours``
    (the model's), ``seen_colours`` (the photo's) and ``albedo`` are (N, 3).
    """

    photo: Photo
    square: Square
    expression: Float[Tensor, " 8"]
    pose: Float[Tensor, " 6"]
    light: Float[Tensor, "9 3"]
    vertices: Float[Tensor, "N 3"]
    visible: Bool[Tensor, " N"]
    albedo: Float[Tensor, "N 3"]
    colours: Float[Tensor, "N 3"]
    seen_colours: Float[Tensor, "N 3"]
    basis: Float[Tensor, "N 9"]


@dataclass(frozen=True, eq=False)
class Person:
    """``rig``, its linear ``blendshapes`` and the ``head`` made of them; ``views`` and ``faces`` by photo."""

    rig: NeuralRig
    blendshapes: PersonalBlendshapes
    head: PersonalHead
    views: tuple[View, ...]
    faces: tuple[Face, ...]


def views_of(photos: Sequence[Photo], squares: Sequence[Square], solution: Solution) -> tuple[View, ...]:
    """Each photo with its part of a descent's solution."""
    estimate = solution.estimate
    albedo, colours = estimate.albedo, estimate.colours
    return tuple(
        View(
            photo=photo,
            square=square,
            expression=estimate.codes.expression[i],
            pose=estimate.codes.pose[i],
            light=estimate.light[i],
            vertices=estimate.vertices[i],
            visible=estimate.visible[i],
            albedo=albedo[i],
            colours=colours[i],
            seen_colours=estimate.seen_colours[i],
            basis=estimate.basis[i],
        )
        for i, (photo, square) in enumerate(zip(photos, squares, strict=True))
    )


def head_of(rig: NeuralRig, blendshapes: PersonalBlendshapes, topology: Topology) -> PersonalHead:
    """The person's linear head in the head frame, mm, with landmarks at the vertices the face model names."""
    corners = rig.template.landmarks.cpu()[:, None].repeat(1, 3)
    barycentric = torch.tensor([1.0, 0.0, 0.0]).repeat(len(corners), 1)
    return PersonalHead(
        neutral=to_head_frame(rig.neutral, rig.template).cpu(),
        blendshapes=blendshapes.shapes.cpu(),
        expression_names=blendshapes.names,
        topology=topology,
        embeddings={"ibug68": Embedding(corners, barycentric)},
    )


def topology_of(template: Template, uv: Float[np.ndarray, "N 2"]) -> Topology:
    """The face model's mesh in its published UV chart; ``face`` is the region the descent looks at."""
    triangles = template.triangles.cpu().numpy()
    regions = {"face": template.face_region.cpu().numpy()}
    return Topology(triangles=triangles, uv=uv.astype(np.float32), uv_triangles=triangles, regions=regions)


def camera_of(pose: Float[Tensor, " 6"], square: Square, template: Template) -> WeakPerspective:
    """The photo's camera: head frame (mm) → photo pixels. The head's rotation is in it."""
    rotation, scale, shift = (part[0] for part in split_pose(pose[None]))
    middle = rotation @ head_origin(template) * scale + torch.nn.functional.pad(shift, (0, 1))
    # The crop frame's y points up and its pixel centres are whole numbers; the photo's corners are.
    centre = torch.stack([middle[0] + CROP_SIZE / 2 + 0.5, CROP_SIZE / 2 - 0.5 - middle[1]])
    corner = centre.new_tensor([square.left, square.top])
    upside_down = torch.diag(rotation.new_tensor([1.0, -1.0, -1.0]))
    return WeakPerspective(
        rotation=(upside_down @ rotation)[None],
        scale=(scale / MILLIMETRES / square.zoom)[None],
        translation=(corner + centre / square.zoom)[None],
    )


def face_of(
    rig: NeuralRig,
    blendshapes: PersonalBlendshapes,
    head: PersonalHead,
    view: View,
    *,
    detected: Landmarks,
    landmarks: Float[Tensor, "68 2"],
) -> Face:
    """A photo's Face; ``landmarks`` are those the descent saw, in the crop. Its codes hold the neural rig.

    Residuals: of the landmarks (px, and mm at the face), and of the blendshapes against the neural rig (root mean
    square of vertices in this photo's expression; root mean square and maximum over expressions that were not fitted).
    """
    movement = rig.displacement(view.expression[None]) * MILLIMETRES
    weights = blendshapes.weights(movement)
    lost = torch.linalg.vector_norm(movement - blendshapes.displacements(weights), dim=-1)
    camera = camera_of(view.pose, view.square, rig.template)
    distance_px = crop_to_pixels(view.vertices[rig.template.landmarks]) - landmarks.to(view.vertices)
    residual_px = float(distance_px.square().sum(-1).mean().sqrt()) / view.square.zoom
    residual_mm = residual_px / float(camera.scale)
    height, width = view.photo.pixels.shape[:2]
    codes = {"expression": view.expression, "pose": view.pose, "light": view.light}
    codes = rig.to_tensors() | {PREFIX + name: code for name, code in codes.items()}
    return Face(
        head=head,
        identity=torch.zeros(0),
        expression=weights[0].cpu(),
        joints=torch.zeros(1, 3),
        camera=camera.to("cpu"),
        image_size=(height, width),
        method="inorig",
        confidence=detected.score * math.exp(-((residual_mm / _DOUBTFUL_RESIDUAL_MM) ** 2)),
        detected=detected,
        residuals={
            "landmarks_px": residual_px,
            "landmarks_mm": residual_mm,
            "blendshapes_here_mm": float(lost.square().mean().sqrt()),
            "blendshapes_rms_mm": blendshapes.residual_rms_mm,
            "blendshapes_max_mm": blendshapes.residual_max_mm,
        },
        light=_linear_light(view).cpu(),
        albedo=bake_albedo(view.albedo, head.topology).cpu(),
        codes={name: code.cpu() for name, code in codes.items()},
    )


def bake_albedo(albedo: Float[Tensor, "N 3"], topology: Topology) -> Float[Tensor, "3 H W"]:
    """Colours at the vertices → a texture in the topology's chart."""
    triangles = topology.triangles_tensor.to(albedo.device)
    uv = torch.from_numpy(np.asarray(topology.uv)).to(albedo.device)
    fragments = rasterize_uv(uv, triangles, (TEXTURE_SIZE, TEXTURE_SIZE))
    return interpolate(albedo.clamp(0, 1), triangles, fragments)[0].permute(2, 0, 1).contiguous()


def _linear_light(view: View) -> Float[Tensor, "9 3"]:
    """The photo's light as Likeness counts it: in linear colours and in the camera frame.

    The method's own light multiplies sRGB values, so it cannot be converted; it is solved again with the same albedo.
    """
    # Bands 1 to 3 of the method's basis are the normal itself, y up; the camera frame's y points down, its z away.
    normals = view.basis[:, 1:4] * view.basis.new_tensor([1.0, -1.0, -1.0])
    albedo, seen = (srgb_to_linear(colour.clamp(0, 1))[None] for colour in (view.albedo, view.seen_colours))
    return fit_light(normals[None], albedo, seen, weights=view.visible[None].float())[0]
