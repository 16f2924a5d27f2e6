"""A person's neural rig: what the descent made, ready to answer any expression code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import InputError
from likeness.methods.inorig.albedo import changed_albedo
from likeness.methods.inorig.decoding import Generators, expression_displacement
from likeness.methods.inorig.descent import Solution
from likeness.methods.inorig.network import ALBEDO_SIZES, DescentNetworks
from likeness.methods.inorig.observation import Observation
from likeness.methods.inorig.pose import crop_to_pixels
from likeness.methods.inorig.sampling import Maps
from likeness.methods.inorig.template import Template

MILLIMETRES = 1e-3
PREFIX = "inorig/"
_N_REFERENCES = 1024
# The levels of the pyramid that frames are compared on: 64² to find, 128² to settle.
_REFERENCE_LEVELS = (1, 2)


@dataclass(frozen=True, eq=False)
class Appearance:
    """How the rig's photos saw points of the face, to find them again in a frame: ``vertices`` (M,) and per compared
    level the photos' mean ``features`` there (M, 64)."""

    vertices: Int[Tensor, " M"]
    features: tuple[Float[Tensor, "M 64"], ...]


@dataclass(frozen=True, eq=False)
class NeuralRig:
    """The generated networks of one person, on the networks and the face model they were generated with.

    ``neutral`` (N, 3) in object space (µm); ``base_albedo`` (N, 3). Expression codes are (B, 8) and mean about the same
    for every person. What a code costs is the small networks at the texels; everything else is done once per person.
    """

    networks: DescentNetworks
    template: Template
    neutral: Float[Tensor, "N 3"]
    base_albedo: Float[Tensor, "N 3"]
    generators: Generators
    appearance: Appearance

    @torch.no_grad()
    def displacement(self, codes: Float[Tensor, "B 8"]) -> Float[Tensor, "B N 3"]:
        """How expression codes move the neutral face, µm; zero for a zero code."""
        return expression_displacement(self.networks, self.template, self.generators, codes)

    def object_vertices(self, codes: Float[Tensor, "B 8"]) -> Float[Tensor, "B N 3"]:
        """The face in object space (µm), as `pose.pose_vertices` takes it."""
        return self.neutral + self.displacement(codes)

    def vertices(self, codes: Float[Tensor, "B 8"]) -> Float[Tensor, "B N 3"]:
        """The face in the head frame, mm."""
        return to_head_frame(self.object_vertices(codes), self.template)

    @torch.no_grad()
    def albedo(self, codes: Float[Tensor, "B 8"]) -> Float[Tensor, "B N 3"]:
        """Albedo per vertex, nominally in [0, 1]: wrinkles and blood follow the expression."""
        assert self.generators.albedo_gates is not None
        maps = self.networks.albedo_model.expressive_change(self.generators.albedo_gates, codes)
        return changed_albedo(self.base_albedo, self.template.tables[ALBEDO_SIZES[2]].gather(maps))

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything but the networks and the face model, for `Face.codes`."""
        generators = self.generators
        assert generators.weights is not None and generators.albedo_gates is not None
        tensors = {
            "neutral": self.neutral,
            "base_albedo": self.base_albedo,
            "weights": generators.weights,
            "gates1": generators.gates[0],
            "gates2": generators.gates[1],
            "albedo_gates": generators.albedo_gates,
            "appearance_vertices": self.appearance.vertices,
            "appearance_features": torch.stack(self.appearance.features),
            "fingerprint": fingerprint(self.networks, self.template),
        }
        return {PREFIX + name: tensor for name, tensor in tensors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], networks: DescentNetworks, template: Template) -> NeuralRig:
        """The rig that `to_tensors` described.

        Raises InputError when there is none in these tensors, or when it was made with other networks.
        """
        device = template.mean.device
        try:
            parts = {name[len(PREFIX) :]: t.to(device) for name, t in tensors.items() if name.startswith(PREFIX)}
            gates = (parts["gates1"], parts["gates2"])
            generators = Generators(parts["weights"], gates, parts["albedo_gates"])
            appearance = Appearance(parts["appearance_vertices"], tuple(parts["appearance_features"]))
            rig = cls(networks, template, parts["neutral"], parts["base_albedo"], generators, appearance)
            made_with = parts["fingerprint"]
        except KeyError as error:
            raise InputError(
                "This Face holds no INORig rig; make one from photos of the person with the method 'inorig'."
            ) from error
        if not torch.equal(made_with.cpu(), fingerprint(networks, template).cpu()):
            raise InputError(
                "This rig was made with another INORig checkpoint or face model than the one loaded here; load that "
                "one, or make the rig anew from the photos."
            )
        return rig


def rig_of(networks: DescentNetworks, template: Template, observation: Observation, solution: Solution) -> NeuralRig:
    """The rig a descent ended with."""
    return NeuralRig(
        networks=networks,
        template=template,
        neutral=solution.neutral,
        base_albedo=solution.base_albedo,
        generators=solution.estimate.generators,
        appearance=_appearance(template, observation, solution),
    )


def to_head_frame(vertices: Float[Tensor, "*B N 3"], template: Template) -> Float[Tensor, "*B N 3"]:
    """Object space (µm) → head frame (mm about the mean face's centroid); the axes are the same."""
    return (vertices - head_origin(template)) * MILLIMETRES


def head_origin(template: Template) -> Float[Tensor, " 3"]:
    """The head frame's origin in object space, µm: the centroid of the mean face, as for every Basel head."""
    return template.mean.double().mean(0).to(template.mean)


def fingerprint(networks: DescentNetworks, template: Template) -> Int[Tensor, " 1"]:
    """A number that tells sets of networks and face models apart: of what a rig's evaluation reads of them."""
    digest = hashlib.sha256(template.mean.cpu().numpy().tobytes())
    for decoder in (networks.exp_model, networks.albedo_model):
        for name, tensor in sorted(decoder.state_dict().items()):
            if name.startswith("out_conv"):
                digest.update(tensor.cpu().numpy().tobytes())
    return torch.from_numpy(np.frombuffer(digest.digest()[:8], "<i8").copy())


@torch.no_grad()
def _appearance(template: Template, observation: Observation, solution: Solution) -> Appearance:
    estimate = solution.estimate
    seen = template.region[estimate.visible[:, template.region].any(0)]
    chosen = seen[:: max(1, len(seen) // _N_REFERENCES)]
    points = crop_to_pixels(estimate.vertices[:, chosen])
    share = estimate.visible[:, chosen, None].float()
    share = share / share.sum(0)
    features = (_seen_features(observation.compared[level], points, share) for level in _REFERENCE_LEVELS)
    return Appearance(chosen, tuple(features))


def _seen_features(maps: Maps, points: Tensor, share: Tensor) -> Float[Tensor, "M 64"]:
    return (maps.at(points) * share).sum(0)
