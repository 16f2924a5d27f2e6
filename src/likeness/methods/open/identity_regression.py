"""Identity from what the landmark network saw and did not say: a linear regression on its inner layers.

The network's points of different people differ less than the people do, and a fit to points cannot know. Its inner
layers hold more. ``tools/train_identity.py`` learns, on path-traced portraits of known heads, a ridge regression from
those layers, the identity fitted to the points and the pose, to the true identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from likeness.errors import InputError
from likeness.heads import Head

FILE = "identity_regression.safetensors"


@dataclass(frozen=True, eq=False)
class IdentityRegression:
    """identity = ((inputs - centre) / scale) @ weights + mean, inputs as `regression_inputs` lays them out."""

    centre: Float[Tensor, " F"]
    scale: Float[Tensor, " F"]
    weights: Float[Tensor, "F I"]
    mean: Float[Tensor, " I"]

    def __call__(self, inputs: Float[Tensor, "B F"]) -> Float[Tensor, "B I"]:
        return ((inputs - self.centre) / self.scale) @ self.weights + self.mean


def identity_mirror(head: Head) -> Float[Tensor, " I"]:
    """+1 or -1: what each number of an identity becomes for the mirror image of a person.

    Every direction of the open head's identity is either symmetric or antisymmetric. Raises `InputError` for a head
    that does not know its mirror image.
    """
    if head.topology.mirror is None:
        raise InputError("this head does not say which vertices mirror each other, so its identities have no mirror.")
    moves = head.vertices(torch.eye(head.n_identity)) - head.vertices(torch.zeros(1, head.n_identity))
    mirror = torch.from_numpy(head.topology.mirror.astype(np.int64))
    reflected = moves[:, mirror] * torch.tensor([-1.0, 1.0, 1.0])
    return (moves * reflected).sum((1, 2)).sign()


def mirrored_rotation(rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 3"]:
    """The rotation of the mirror image of a head, in the mirror image of its photo."""
    flip = torch.tensor([-1.0, 1.0, 1.0])
    return flip[:, None] * rotation * flip


def regression_inputs(
    identity: Float[Tensor, "B I"], rotation: Float[Tensor, "B 3 3"], features: Float[Tensor, "B D"]
) -> Float[Tensor, "B F"]:
    """Identities and rotations of landmark fits, one photo each, and the network's `inner_features` of those photos."""
    turn = rotation.flatten(1)
    return torch.cat([identity, turn, (turn[:, :, None] * turn[:, None]).flatten(1), features], 1)


@cache
def read_identity_regression() -> IdentityRegression:
    """The regression that ships with the package."""
    with as_file(files("likeness.methods.open") / FILE) as path, safe_open(path, framework="pt") as file:
        tensors = (file.get_tensor(name).float().clone() for name in ("centre", "scale", "weights", "mean"))
        return IdentityRegression(*tensors)
