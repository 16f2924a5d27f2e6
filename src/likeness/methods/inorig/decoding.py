"""Codes to geometry and albedo at one level of the descent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.methods.inorig.albedo import changed_albedo
from likeness.methods.inorig.expression import coefficients
from likeness.methods.inorig.network import ALBEDO_SIZES, GEOMETRY_SIZES, DescentNetworks
from likeness.methods.inorig.observation import Observation, to_uv
from likeness.methods.inorig.template import Template


@dataclass(frozen=True, eq=False)
class Codes:
    """The unknowns: of the person (a batch of one) ``identity``, ``space``, ``albedo``; of each photo ``pose`` and
    ``expression``."""

    identity: Float[Tensor, "1 80"]
    space: Float[Tensor, "1 128"]
    albedo: Float[Tensor, "1 64"]
    pose: Float[Tensor, "V 6"]
    expression: Float[Tensor, "V 8"]


@dataclass(frozen=True, eq=False)
class Generators:
    """What the expression space's code turned into: ``weights`` of level 0, ``gates`` of levels 1 and 2 and
    ``albedo_gates``. With the neutral face they are the person's rig."""

    weights: Float[Tensor, " 1280"] | None = None
    gates: tuple[Float[Tensor, "160 _ _"], ...] = ()
    albedo_gates: Float[Tensor, "96 128 128"] | None = None

    def detach(self) -> Generators:
        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.detach()

        return Generators(cut(self.weights), tuple(g.detach() for g in self.gates), cut(self.albedo_gates))


@dataclass(frozen=True, eq=False)
class Base:
    """What the level before left: ``displacement`` (N, 3) µm of the neutral face, ``albedo`` (N, 3), generators."""

    displacement: Float[Tensor, "N 3"]
    albedo: Float[Tensor, "N 3"]
    generators: Generators


@dataclass(frozen=True, eq=False)
class Level:
    """One level made ready for a person: the features its decoders read, and what it builds on."""

    index: int
    networks: DescentNetworks
    template: Template
    base: Base
    identity_features: Float[Tensor, "1 32 S S"]
    expression_features: Float[Tensor, "1 32 S S"]
    albedo_features: Float[Tensor, "1 16 A A"]
    vector: Float[Tensor, "1 512"] | None

    def neutral_displacement(self, identity: Float[Tensor, "1 80"]) -> Float[Tensor, "N 3"]:
        """How the person's neutral face differs from the mean, µm."""
        decoder, table = self.networks.iden_model, self.template.tables[GEOMETRY_SIZES[self.index]]
        maps = decoder.displacement(self.index, identity, self.identity_features)
        displacement = self.base.displacement + table.gather(maps)[0]
        if self.index == 0:
            displacement = displacement + (self.template.shape_basis @ identity[0]).view(-1, 3)
        return displacement

    def generators(self, space: Float[Tensor, "1 128"]) -> Generators:
        """This level's generators, upon those of the levels before."""
        decoder = self.networks.exp_model
        if self.vector is not None:
            return Generators(weights=decoder.weights(space, self.vector))
        gates = decoder.gates(self.index, space, self.expression_features)
        return replace(self.base.generators, gates=(*self.base.generators.gates, gates))

    def albedo(
        self, code: Float[Tensor, "1 64"], expression: Float[Tensor, "V 8"]
    ) -> tuple[Float[Tensor, "#V N 3"], Tensor | None]:
        """Albedo per vertex, shared by the photos before the last level; and the last level's generator."""
        decoder, size = self.networks.albedo_model, ALBEDO_SIZES[self.index]
        if self.index < 2:
            maps, gates = decoder.change(self.index, code, self.albedo_features), None
        else:
            gates = decoder.gates(code, self.albedo_features)
            maps = decoder.expressive_change(gates, expression)
        return changed_albedo(self.base.albedo, self.template.tables[size].gather(maps)), gates


def expression_displacement(
    networks: DescentNetworks, template: Template, generators: Generators, expression: Float[Tensor, "B 8"]
) -> Float[Tensor, "B N 3"]:
    """The neural rig: how expression codes move the face, µm. Zero for a zero code; blind to the person's shape."""
    assert generators.weights is not None
    mixed = coefficients(generators.weights, expression)
    displacement = (mixed @ template.expression_basis.T).unflatten(-1, (-1, 3))
    for level, gates in enumerate(generators.gates, start=1):
        maps = networks.exp_model.displacement(level, gates, expression)
        displacement = displacement + template.tables[GEOMETRY_SIZES[level]].gather(maps)
    return displacement


@torch.no_grad()
def prepare_level(
    networks: DescentNetworks,
    template: Template,
    observation: Observation,
    index: int,
    base: Base,
    vertices: Float[Tensor, "V N 3"],
    visible: Bool[Tensor, "V N"],
) -> Level:
    """Encode what the photos show at the current mesh."""
    table = template.tables[GEOMETRY_SIZES[index]]
    shape_inputs = to_uv(observation.shape_features[index], table, template, vertices, visible)
    table = template.tables[ALBEDO_SIZES[index]]
    albedo_inputs = to_uv(observation.albedo_features[index], table, template, vertices, visible)
    expression_features = networks.exp_model.encode(index, shape_inputs)
    return Level(
        index=index,
        networks=networks,
        template=template,
        base=base,
        identity_features=networks.iden_model.encode(index, shape_inputs),
        expression_features=expression_features,
        albedo_features=networks.albedo_model.encode(index, albedo_inputs),
        vector=networks.exp_model.person_vector(expression_features) if index == 0 else None,
    )
