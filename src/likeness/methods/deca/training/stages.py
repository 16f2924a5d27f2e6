"""DECA's three stages: a batch in, named losses (times their weights) out.

``pretrain`` fits landmarks; ``coarse`` adds the photo's colours and the person's identity; ``detail`` trains the
wrinkles while the coarse network rests. ``official`` repeats the last release to the number; the default mends what is
a slip in it: that release renders the coarse photo without light, lets colours count where nothing is drawn, and puts
a flat colour behind the face that is shown to the recogniser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from likeness.methods.deca.crop import Compat
from likeness.methods.deca.detail import SEEN_NORMAL_Z, decode_detail, texture_to_albedo
from likeness.methods.deca.geometry import Geometry, pose_geometry, split_code
from likeness.methods.deca.model import DecaModel
from likeness.methods.deca.networks import IMAGE_SIZE, N_DETAIL
from likeness.methods.deca.pictures import grid_coordinates
from likeness.methods.deca.shading import sh_shading
from likeness.methods.deca.training import losses
from likeness.methods.deca.training.batches import Batch, Samples, exchange, unrolled
from likeness.render import interpolate as interpolate_surface
from likeness.render import rasterize

StageName = Literal["pretrain", "coarse", "detail"]
Losses = dict[str, Float[Tensor, ""]]

# Of the 256² maps: the face without its rim, on which textures are compared.
_PATCH = slice(50, 206)
_MRF_SHARE = 2.0

COARSE_WEIGHTS: Mapping[str, float] = {
    "landmark": 1.0,
    "eye_distance": 1.0,
    "lip_distance": 0.5,
    "photometric_texture": 2.0,
    "identity": 0.2,
    "shape_reg": 1e-4,
    "expression_reg": 1e-4,
    "tex_reg": 1e-4,
    "light_reg": 1.0,
}
PRETRAIN_WEIGHTS = {**COARSE_WEIGHTS, "photometric_texture": 0.0, "identity": 0.0, "tex_reg": 0.0, "light_reg": 0.0}
DETAIL_WEIGHTS: Mapping[str, float] = {
    "photo_detail": 2.0,
    "photo_detail_mrf": _MRF_SHARE * 5e-2,
    "z_reg": 0.005,
    "z_diff": 0.005,
    "z_sym": 0.005,
}


@dataclass(frozen=True, eq=False)
class TrainingModel:
    """DECA under training. ``model`` holds the trainable networks (not the fast copies of `DecaMethod`), ``identity``
    and ``mrf`` the frozen judges; a stage that weighs one with zero does without it."""

    model: DecaModel
    identity: nn.Module | None = None
    mrf: nn.Module | None = None
    compat: Compat = "default"
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weights that differ from the stage's own, by name."""

    def stage_weights(self, stage: StageName) -> dict[str, float]:
        """What each term of a stage counts."""
        own = {"pretrain": PRETRAIN_WEIGHTS, "coarse": COARSE_WEIGHTS, "detail": DETAIL_WEIGHTS}[stage]
        return {**own, **{name: weight for name, weight in self.weights.items() if name in own}}


def trained_parameters(training: TrainingModel, stage: StageName) -> list[nn.Parameter]:
    """The parameters a stage trains, made trainable; all others are frozen."""
    networks = training.model.networks
    for network in (networks.coarse, networks.detail, networks.decoder):
        network.requires_grad_(False)
    trained = (networks.coarse,) if stage != "detail" else (networks.detail, networks.decoder)
    return [parameter for network in trained for parameter in network.requires_grad_(True).parameters()]


def set_modes(training: TrainingModel, stage: StageName) -> None:
    """Batch statistics where the authors use them: everywhere but in the coarse network of the detail stage."""
    networks = training.model.networks
    networks.coarse.train(stage != "detail")
    networks.detail.train()
    networks.decoder.train()


def stage_losses(training: TrainingModel, batch: Batch, permutation: Int[Tensor, " N"], stage: StageName) -> Losses:
    """The weighted losses of a step by name; their sum is what is minimised. Networks are used in their present mode.

    ``permutation`` says whose shape (or detail) each photo borrows: see `batches.random_exchange`.
    """
    found = (_detail if stage == "detail" else _coarse)(training, batch, permutation, stage)
    weights = training.stage_weights(stage)
    return {name: weights[name] * value for name, value in found.items()}


# ------------------------------------------------------------------ pretrain and coarse


def _coarse(training: TrainingModel, batch: Batch, permutation: Tensor, stage: StageName) -> Losses:
    model, weights = training.model, training.stage_weights(stage)
    parameters = model.networks.coarse(batch.images.flatten(0, 1))
    code = split_code(parameters, parameters.new_zeros(len(parameters), N_DETAIL))
    samples = exchange(unrolled(batch, code), permutation, "shape")
    code = samples.code
    geometry = pose_geometry(model, code, training.compat)
    predicted, detected = geometry.landmarks_contour_image, samples.landmarks
    found = {
        "landmark": losses.landmark_loss(predicted, detected, losses.landmark_weights(predicted)),
        "eye_distance": losses.eye_closure_loss(predicted, detected),
        "lip_distance": losses.lip_distance_loss(predicted, detected),
        "shape_reg": losses.sum_of_squares(code.shape),
        "expression_reg": losses.sum_of_squares(code.expression),
        "tex_reg": losses.sum_of_squares(code.texture),
        "light_reg": losses.light_loss(code.light),
    }
    if weights["photometric_texture"] or weights["identity"]:
        found |= _colour_losses(training, samples, geometry, weights)
    return found


def _colour_losses(
    training: TrainingModel, samples: Samples, geometry: Geometry, weights: Mapping[str, float]
) -> Losses:
    model, code, official = training.model, samples.code, training.compat == "official"
    assert model.textures is not None, "photometric training needs a texture space"
    albedo = texture_to_albedo(model.textures, code.texture)
    drawn = _draw(model, geometry)
    face = model.displacement.mask.expand(len(albedo), 1, -1, -1)
    face = drawn.sample(face, drawn.grid.detach())
    colours = drawn.sample(albedo)
    if not official:
        colours = colours * sh_shading(drawn.normals, code.light)
    rendered = colours * drawn.coverage * face
    # Official: skin that the mesh misses counts, as if the rendering were black there.
    mask = samples.masks if official else samples.masks * drawn.coverage * face
    found = {"photometric_texture": losses.photometric_loss(rendered, samples.images, mask)}
    if weights["identity"]:
        assert training.identity is not None, "the coarse stage needs the identity network"
        lit = drawn.sample(albedo.detach()) * sh_shading(drawn.normals * drawn.coverage, code.light.detach())
        # Official: what is not drawn has the texture's middle colour behind it, not the photo.
        shown = face if official else face * drawn.coverage
        overlay = lit * shown + samples.images * (1 - shown)
        found["identity"] = losses.cosine_loss(training.identity(overlay), training.identity(samples.images))
    return found


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A batch of heads in their crops, differentiable: where in UV each pixel is, its world normal, its coverage."""

    grid: Float[Tensor, "N H W 2"]
    normals: Float[Tensor, "N 3 H W"]
    coverage: Float[Tensor, "N 1 H W"]

    def sample(self, maps: Float[Tensor, "N C h w"], grid: Float[Tensor, "N H W 2"] | None = None) -> Tensor:
        where = self.grid if grid is None else grid
        return grid_sample(maps, where, mode="bilinear", padding_mode="zeros", align_corners=False)


def _draw(model: DecaModel, geometry: Geometry) -> _Drawn:
    places = geometry.vertices_image
    vertices_px = torch.cat([(places[..., :2] + 1) / 2 * IMAGE_SIZE, places[..., 2:]], -1)
    fragments = rasterize(vertices_px, model.triangles, (IMAGE_SIZE, IMAGE_SIZE), perspective=False)
    grid = interpolate_surface(
        grid_coordinates(model.uv),
        model.uv_triangles,
        fragments,
        vertices_px=vertices_px,
        vertex_triangles=model.triangles,
    )
    normals = interpolate_surface(geometry.normals, model.triangles, fragments, vertices_px=vertices_px)
    return _Drawn(grid, normals.permute(0, 3, 1, 2), fragments.mask[:, None].to(grid.dtype))


# ------------------------------------------------------------------ detail


def _detail(training: TrainingModel, batch: Batch, permutation: Tensor, _stage: StageName) -> Losses:
    model = training.model
    assert model.textures is not None, "the detail stage needs a texture space"
    images = batch.images.flatten(0, 1)
    with torch.no_grad():
        parameters = model.networks.coarse(images)
    code = split_code(parameters, model.networks.detail(images))
    samples = exchange(unrolled(batch, code), permutation, "detail")
    code = samples.code
    with torch.no_grad():
        geometry = pose_geometry(model, code, training.compat)
        albedo = texture_to_albedo(model.textures, code.texture)
    decoder = replace(model.displacement, decoder=model.networks.decoder)
    detail = decode_detail(replace(model, displacement=decoder), code, geometry, training.compat)
    shading = sh_shading(detail.normals, code.light)
    seen, visible = _photo_in_uv(model, samples, geometry)
    # Cut and enlarged apart: a product of two enlarged maps is not their enlarged product.
    ours, theirs = (_patch(texture) * _patch(visible) for texture in (albedo * shading, seen))
    found = {
        "photo_detail": (ours - theirs).abs().mean(),
        "z_reg": losses.displacement_loss(detail.network),
        "z_diff": losses.smoothness_loss(shading),
        "z_sym": losses.symmetry_loss(detail.network, visible),
    }
    if training.stage_weights("detail")["photo_detail_mrf"]:
        assert training.mrf is not None, "the detail stage needs the perceptual network"
        found["photo_detail_mrf"] = training.mrf(ours, theirs)
    return found


@torch.no_grad()
def _photo_in_uv(
    model: DecaModel, samples: Samples, geometry: Geometry
) -> tuple[Float[Tensor, "N 3 256 256"], Float[Tensor, "N 1 256 256"]]:
    """The photo's colours in the chart, and how far each texel is skin of the face that the camera sees."""
    places = model.uv_surface.warp(geometry.vertices_image)[:, :2].permute(0, 2, 3, 1)
    both = torch.cat([samples.images, samples.masks], 1)
    seen = grid_sample(both, places, mode="bilinear", padding_mode="zeros", align_corners=False)
    facing = model.uv_surface.warp(geometry.normals_image)[:, 2:] < SEEN_NORMAL_Z
    return seen[:, :3], seen[:, 3:] * facing * model.displacement.mask


def _patch(texture: Float[Tensor, "N C 256 256"]) -> Float[Tensor, "N C 256 256"]:
    cut = texture[..., _PATCH, _PATCH]
    return interpolate(cut, texture.shape[-2:], mode="bilinear", align_corners=False)
