"""The displacement of a face: a decoder, a constant part, a mask."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from likeness.heads.flame import MM_PER_M


@dataclass(frozen=True, eq=False)
class DisplacementSpace:
    """F(detail; expression, jaw): what turns a code into wrinkles. ``fixed`` is the same for everybody; ``mask`` says
    where in UV the face is."""

    decoder: nn.Module
    fixed: Float[Tensor, "256 256"]
    mask: Float[Tensor, "256 256"]

    def millimetres(
        self, jaw: Float[Tensor, "B 3"], expression: Float[Tensor, "B 50"], detail: Float[Tensor, "B 128"]
    ) -> Float[Tensor, "B 256 256"]:
        """Displacement along the normal of the coarse surface; zero outside the face."""
        return (self.decoder(jaw, expression, detail)[:, 0] + self.fixed) * self.mask * MM_PER_M
