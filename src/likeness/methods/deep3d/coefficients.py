"""What R-Net predicts: 257 numbers for a crop, and what they are called.

The white-light variant predicts one set of 9 light numbers for all colours, 239 in all; here it is spread to three
channels at once, so that everything after sees one layout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.errors import InputError

N_IDENTITY, N_EXPRESSION, N_ALBEDO, N_LIGHT = 80, 64, 80, 27
N_COEFFICIENTS = 257
N_WHITE_LIGHT = 239
# Some published graphs append a predicted focal length that nothing uses.
N_WITH_FOCAL = 258
HEAD_SIZES = (N_IDENTITY, N_EXPRESSION, N_ALBEDO, 3, N_LIGHT, 2, 1)


@dataclass(frozen=True, eq=False)
class Coefficients:
    """A batch of predictions.

    ``identity``, ``expression`` and ``albedo`` in standard deviations. ``angles`` in radians about x, y and z.
    ``light`` (B, 27): 9 spherical-harmonics numbers for red, then green, then blue, without the constant 0.8 that the
    decoder adds. ``translation`` in decimetres, in Deep3D's world frame.
    """

    identity: Float[Tensor, "B 80"]
    expression: Float[Tensor, "B 64"]
    albedo: Float[Tensor, "B 80"]
    angles: Float[Tensor, "B 3"]
    light: Float[Tensor, "B 27"]
    translation: Float[Tensor, "B 3"]

    @classmethod
    def split(cls, vector: Float[Tensor, "B K"]) -> Coefficients:
        """From the network's output, 257, 239 (white light) or 258 (with an unused focal length) wide.

        Raises InputError on another width.
        """
        width = vector.shape[-1]
        if vector.ndim != 2 or width not in (N_COEFFICIENTS, N_WHITE_LIGHT, N_WITH_FOCAL):
            raise InputError(
                f"Deep3D coefficients have shape {tuple(vector.shape)}; expected (batch, {N_COEFFICIENTS}), or "
                f"{N_WHITE_LIGHT} wide for white light."
            )
        n_light = N_LIGHT // 3 if width == N_WHITE_LIGHT else N_LIGHT
        parts = vector[:, : N_COEFFICIENTS - N_LIGHT + n_light].split(
            [N_IDENTITY, N_EXPRESSION, N_ALBEDO, 3, n_light, 3], dim=1
        )
        identity, expression, albedo, angles, light, translation = parts
        light = light.repeat(1, 3) if width == N_WHITE_LIGHT else light
        return cls(identity, expression, albedo, angles, light, translation)

    def vector(self) -> Float[Tensor, "B 257"]:
        """The official order: identity, expression, albedo, angles, light, translation."""
        parts = (self.identity, self.expression, self.albedo, self.angles, self.light, self.translation)
        return torch.cat(parts, 1)

    def with_identity(self, identity: Float[Tensor, "#B 80"]) -> Coefficients:
        """The same expressions, poses and lights on another identity."""
        return replace(self, identity=identity.expand_as(self.identity))

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, index: slice) -> Coefficients:
        return Coefficients.split(self.vector()[index])
