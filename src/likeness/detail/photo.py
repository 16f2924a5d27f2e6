"""Detail from one photo: a displacement map recovered from shading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.detail.chart import TexelSurface, face_chart, lengths, texel_surface
from likeness.detail.cleaning import keep_lines
from likeness.detail.evidence import Evidence, gather_evidence
from likeness.detail.solver import Shading, solve_relief
from likeness.devices import one_thread
from likeness.face import Face
from likeness.filters import gaussian_blur, smoothstep

# A fold of skin is at most so deep (mm); beyond, relief is drawn in softly.
_DEEPEST_MM = 1.2


# How strongly wrinkles of the seen side are repeated on the unseen.
_OTHER_SIDE = 0.7


@dataclass(frozen=True, eq=False)
class Detail:
    """``displacement`` (S, S) mm along the smooth surface's normal; ``visibility`` (S, S) in [0, 1], how well the photo
    showed each texel. Rows from the top (v = 1)."""

    displacement: Float[Tensor, "S S"]
    visibility: Float[Tensor, "S S"]


def detail_from_photo(
    face: Face,
    pixels: UInt8[np.ndarray, "H W 3"],
    *,
    size: int = 1024,
    skin_mask: Float[Tensor, "V V"] | None = None,
) -> Detail:
    """Wrinkles and folds of a Face, read from the photo it was fitted to.

    Shading beside the smooth surface's is taken for slope towards and away from the light, and for hollows that less
    light reaches; see `detail.evidence` and `detail.solver`. The map holds nothing wider than about 15 mm, which is the
    shape model's, and is zero where the photo is too coarse. Parts that the photo hides are taken, weaker, from the
    other side. ``skin_mask`` is how surely each pixel of ``face.view`` shows skin, where that is known better than
    this function tells by itself (`likeness.appearance`). Raises InputError when the head has no UV chart.
    """
    # One thread: sums over several round differently with their number.
    with one_thread():
        return _read(face, pixels, size, skin_mask)


def _read(face: Face, pixels: np.ndarray, size: int, skin_mask: Tensor | None) -> Detail:
    chart = face_chart(face, size)
    surface = texel_surface(face, chart)
    evidence = gather_evidence(face, pixels, chart, surface, skin_mask)
    if evidence is None:
        return Detail(torch.zeros(size, size), torch.zeros(size, size))
    relief = solve_relief(_shading(evidence, surface), noise=evidence.noise, finest_mm=evidence.finest_mm)
    relief = keep_lines(relief, chart.mm_per_texel)
    relief = _DEEPEST_MM * torch.tanh(relief / _DEEPEST_MM)
    seen = gaussian_blur(evidence.weight[None], 1.0 / chart.mm_per_texel)[0] * chart.skin
    displacement = chart.whole(relief * seen * evidence.certainty)
    if chart.mirrored:
        displacement = _completed(displacement, chart.whole(seen), chart.whole(chart.skin))
    return Detail(displacement, chart.whole(seen * evidence.certainty))


def _completed(
    displacement: Float[Tensor, "S S"], seen: Float[Tensor, "S S"], skin: Float[Tensor, "S S"]
) -> Float[Tensor, "S S"]:
    """Unseen skin takes the other side's relief, weaker, as no face's wrinkles are quite alike on both."""
    unseen = skin * smoothstep(seen, 0.5, 0.0)
    return displacement + _OTHER_SIDE * unseen * displacement.flip(1)


def _shading(evidence: Evidence, surface: TexelSurface) -> Shading:
    return Shading(
        shade=evidence.shade,
        weight=evidence.weight,
        slope_x=evidence.slope_x,
        slope_y=evidence.slope_y,
        step_x=lengths(surface.along_x),
        step_y=lengths(surface.along_y),
    )
