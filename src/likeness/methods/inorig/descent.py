"""Learned descent: three levels of three steps each, from the regressed pose and the mean face to a rig.

Each step goes down the energies' gradient, for every group of unknowns as far as a small network predicts from the
size of the residuals. Light is no unknown: it is solved in closed form, first and at the end of every level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.methods.inorig.decoding import (
    Base,
    Codes,
    Generators,
    Level,
    expression_displacement,
    prepare_level,
)
from likeness.methods.inorig.energies import (
    FEATURE_WEIGHT,
    LANDMARK_WEIGHT,
    PHOTO_WEIGHT,
    Term,
    feature_term,
    landmark_term,
    photometric_term,
)
from likeness.methods.inorig.illumination import ambient_light, light_basis, outward_normals, solve_light
from likeness.methods.inorig.network import InorigNetwork
from likeness.methods.inorig.observation import Observation
from likeness.methods.inorig.pose import crop_to_pixels, pose_vertices
from likeness.methods.inorig.step_sizes import Steps, outputs_to_steps
from likeness.methods.inorig.template import Template
from likeness.methods.inorig.visibility import visible_vertices

N_LEVELS = 3
N_STEPS = 3


@dataclass(frozen=True, eq=False)
class Estimate:
    """Everything that follows from codes and light at one moment of the descent.

    ``vertices`` (V, N, 3) in the crop frame, px; ``object_vertices`` (V, N, 3), ``neutral`` (N, 3) and its
    ``displacement`` from the mean in µm. ``not_hidden`` and, within the face region, ``visible`` (V, N).
    ``basis`` is the light's at the normals; ``colours`` the model's, ``seen_colours`` the photos' at the vertices.
    """

    codes: Codes
    vertices: Float[Tensor, "V N 3"]
    object_vertices: Float[Tensor, "V N 3"]
    displacement: Float[Tensor, "N 3"]
    not_hidden: Bool[Tensor, "V N"]
    visible: Bool[Tensor, "V N"]
    albedo: Float[Tensor, "#V N 3"]
    basis: Float[Tensor, "V N 9"]
    light: Float[Tensor, "V 9 3"]
    seen_colours: Float[Tensor, "V N 3"]
    generators: Generators

    @property
    def colours(self) -> Float[Tensor, "V N 3"]:
        return self.albedo * (self.basis @ self.light)


@dataclass(frozen=True, eq=False)
class Residuals:
    """The three terms at an estimate, and their gradients with respect to each group of codes."""

    features: Term
    landmarks: Term
    photometric: Term
    gradients: Codes

    @property
    def values(self) -> Float[Tensor, " 3"]:
        """Features, landmarks and photometric, unweighted."""
        return torch.stack([self.features.value, self.landmarks.value, self.photometric.value])

    @property
    def energy(self) -> Tensor:
        return (
            FEATURE_WEIGHT * self.features.value
            + LANDMARK_WEIGHT * self.landmarks.value
            + PHOTO_WEIGHT * self.photometric.value
        )


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the descent ended. ``estimate`` has no gradient graph; ``base_albedo`` (N, 3) is what the last level's
    expressive change applies to; ``energies`` (9, 3) are features, landmarks and photometric before each step."""

    estimate: Estimate
    neutral: Float[Tensor, "N 3"]
    base_albedo: Float[Tensor, "N 3"]
    first_pose: Float[Tensor, "V 6"]
    energies: Float[Tensor, "9 3"]


def descend(
    network: InorigNetwork,
    template: Template,
    observation: Observation,
    pose: Float[Tensor, "V 6"],
    *,
    on_step: Callable[[int, int, Estimate], None] | None = None,
) -> Solution:
    """Solve a person's rig from one or more photos, together with each photo's pose, expression and light.

    A single photo is solved as the reference would solve it given twice: its feature term is zero. ``on_step`` is told
    the level, the step (0: before the first) and the estimate.
    """
    networks = network.opt_layer
    vertices, not_hidden, light = first_look(template, observation, pose)
    visible = not_hidden & template.face_region
    base = Base(torch.zeros_like(template.mean), template.albedo, Generators())
    codes = zero_codes(pose, torch.zeros_like(pose[:, :1]).expand(-1, 8))
    energies: list[Tensor] = []
    levels: list[tuple[Level, Estimate]] = []
    for index in range(N_LEVELS):
        level = prepare_level(networks, template, observation, index, base, vertices, visible)
        estimate = decode(level, observation, zero_codes(codes.pose, codes.expression), light)
        _tell(on_step, index, 0, estimate)
        for step in range(N_STEPS):
            estimate, residuals = descent_step(level, observation, estimate, relight=step == N_STEPS - 1)
            energies.append(residuals.values)
            _tell(on_step, index, step + 1, estimate)
        estimate = detached(estimate)
        levels.append((level, estimate))
        codes, vertices, visible, light = estimate.codes, estimate.vertices, estimate.visible, estimate.light
        base = Base(estimate.displacement, estimate.albedo[0], estimate.generators)
    level, estimate = levels[-1]
    return Solution(estimate, template.mean + estimate.displacement, level.base.albedo, pose, torch.stack(energies))


@torch.no_grad()
def first_look(
    template: Template, observation: Observation, pose: Float[Tensor, "V 6"]
) -> tuple[Float[Tensor, "V N 3"], Bool[Tensor, "V N"], Float[Tensor, "V 9 3"]]:
    """The mean face under a pose: vertices (px), which are not hidden, and the light that suits it."""
    vertices = pose_vertices(pose, template.mean[None])
    not_hidden = visible_vertices(vertices, template.triangles)
    basis = light_basis(outward_normals(vertices, template.triangles, template.vertex_triangles))
    seen_colours = observation.colours.at(crop_to_pixels(vertices))
    start = ambient_light(len(pose)).to(pose)
    visible = not_hidden & template.face_region
    return vertices, not_hidden, solve_light(basis, template.albedo, seen_colours, visible, start)


def zero_codes(pose: Float[Tensor, "V 6"], expression: Float[Tensor, "V 8"]) -> Codes:
    """The codes a level starts from: the person's are zero, pose and expression are carried over."""
    zero = pose.new_zeros(1)
    return Codes(zero.expand(1, 80), zero.expand(1, 128), zero.expand(1, 64), pose, expression)


def decode(
    level: Level, observation: Observation, codes: Codes, light: Float[Tensor, "V 9 3"], *, relight: bool = False
) -> Estimate:
    """Codes → estimate. Its codes are fresh leaves, its vertices and albedo carry the graph back to them."""
    template = level.template
    codes = Codes(*(getattr(codes, field.name).detach().clone().requires_grad_() for field in fields(codes)))
    with torch.enable_grad():
        displacement = level.neutral_displacement(codes.identity)
        generators = level.generators(codes.space)
        movement = expression_displacement(level.networks, template, generators, codes.expression)
        object_vertices = template.mean + displacement + movement
        vertices = pose_vertices(codes.pose, object_vertices)
        albedo, albedo_gates = level.albedo(codes.albedo, codes.expression.detach())
    with torch.no_grad():
        not_hidden = visible_vertices(vertices, template.triangles)
        visible = not_hidden & template.face_region
        basis = light_basis(outward_normals(vertices, template.triangles, template.vertex_triangles))
        seen_colours = observation.colours.at(crop_to_pixels(vertices))
        if relight:
            light = solve_light(basis, albedo, seen_colours, visible, light)
    generators = Generators(generators.weights, generators.gates, albedo_gates)
    return Estimate(
        codes,
        vertices,
        object_vertices,
        displacement,
        not_hidden,
        visible,
        albedo,
        basis,
        light,
        seen_colours,
        generators,
    )


def descent_step(
    level: Level, observation: Observation, estimate: Estimate, *, relight: bool
) -> tuple[Estimate, Residuals]:
    """One step: the estimate after it, and the residuals before it."""
    residuals = evaluate(level, observation, estimate)
    steps = step_sizes(level, residuals)[0]
    codes, gradients, n_photos = estimate.codes, residuals.gradients, observation.n_photos
    moved = Codes(
        identity=codes.identity - steps.identity * gradients.identity,
        space=codes.space - steps.space * gradients.space,
        albedo=codes.albedo - steps.albedo * gradients.albedo,
        # The energy is a mean over the photos, these unknowns belong to one photo each.
        pose=codes.pose - steps.pose * gradients.pose * n_photos,
        expression=codes.expression - steps.expression * gradients.expression * n_photos,
    )
    return decode(level, observation, moved, estimate.light, relight=relight), residuals


def evaluate(level: Level, observation: Observation, estimate: Estimate) -> Residuals:
    """The three terms and their gradients with respect to the codes."""
    template, codes = level.template, estimate.codes
    with torch.no_grad():
        vertices = estimate.vertices.detach()
        compared = observation.compared[level.index]
        features = feature_term(compared, vertices, estimate.visible, template.region)
        landmarks = landmark_term(
            vertices, observation.landmarks, template.landmarks, estimate.not_hidden, estimate.visible
        )
        photometric = photometric_term(estimate.colours, estimate.seen_colours, estimate.visible)
        pull = FEATURE_WEIGHT * features.gradient + LANDMARK_WEIGHT * landmarks.gradient
        tint = PHOTO_WEIGHT * photometric.gradient * (estimate.basis @ estimate.light)
        tint = tint.sum_to_size(estimate.albedo.shape)
    moving = [codes.identity, codes.space, codes.pose, codes.expression]
    identity, space, pose, expression = torch.autograd.grad(estimate.vertices, moving, pull)
    (albedo,) = torch.autograd.grad(estimate.albedo, [codes.albedo], tint)
    return Residuals(features, landmarks, photometric, Codes(identity, space, albedo, pose, expression))


@torch.no_grad()
def step_sizes(level: Level, residuals: Residuals) -> tuple[Steps, Float[Tensor, " 4"]]:
    """How far to go, and the geometry network's own outputs in (-1, 1)."""
    geometry = level.networks.get_submodule(f"step_net{level.index + 2}")
    albedo = level.networks.get_submodule(f"ap_step_net{level.index}")
    seen = torch.cat([residuals.features.summary, residuals.landmarks.summary], 1).mean(0, keepdim=True)
    outputs = geometry(seen)[0]
    tint = albedo(residuals.photometric.summary.mean(0, keepdim=True))[0]
    return outputs_to_steps(level.index, outputs, tint), outputs


def detached(estimate: Estimate) -> Estimate:
    """The same estimate without its gradient graph."""
    codes = Codes(*(getattr(estimate.codes, field.name).detach() for field in fields(Codes)))
    values = {field.name: getattr(estimate, field.name) for field in fields(Estimate)}
    values |= {name: value.detach() for name, value in values.items() if isinstance(value, Tensor)}
    return Estimate(**(values | {"codes": codes, "generators": estimate.generators.detach()}))


def _tell(listener: Callable[[int, int, Estimate], None] | None, level: int, step: int, estimate: Estimate) -> None:
    if listener is not None:
        listener(level, step, estimate)
