"""The colour of skin, from few numbers.

Log reflectance is nearly a sum of what melanin and haemoglobin take away (Tsumura et al. 2003, "Image-based skin color
and texture analysis/synthesis by extracting hemoglobin and melanin information in the skin", eq. 1-4). In linear sRGB,

    log a(place) = log a₀ + tone · D + redness · H + Σ_z zone_z(place) · (dark_z · M + blood_z · H),

a₀ is very light skin, a₀ · exp D very dark skin (about the ends of what people's skin is where no sun tans it);
M is D for one unit of log in green, H haemoglobin's: most in green, less in blue, hardly any in red. Zones (lips,
lids, cheeks, nose, beard; `appearance.anatomy`) have a darkness and a bloodiness of their own, whose priors are what
faces have on average; a beard is hair, dark alike in all channels, which M nearly is. Brows are no skin: a photo shows
its own (`appearance.openings`), and where it hides them `with_brows` draws some.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.appearance.anatomy import Zones

LIGHTEST = torch.tensor([0.64, 0.45, 0.36])
DARKEST = torch.tensor([0.13, 0.07, 0.045])
TONE = (DARKEST / LIGHTEST).log()
BLOOD = torch.tensor([-0.14, -1.0, -0.86])
MELANIN = -TONE / TONE[1]

# Zone: darkness mean and deviation, bloodiness mean and deviation, in log of green.
ZONE_PRIORS = {
    "lips": (0.15, 0.25, 0.45, 0.30),
    "lids": (0.05, 0.03, 0.04, 0.03),
    "cheeks": (0.00, 0.06, 0.08, 0.20),
    "nose": (0.00, 0.06, 0.08, 0.20),
    "beard": (0.03, 0.10, -0.01, 0.05),
}
_PRIOR = torch.tensor(list(ZONE_PRIORS.values()))


@dataclass(frozen=True, eq=False)
class Skin:
    """``base`` (3,): linear albedo of plain skin; ``zones`` (Z, 2): darkness and bloodiness, as in `ZONE_PRIORS`."""

    base: Float[Tensor, " 3"]
    zones: Float[Tensor, "Z 2"]

    def albedo(self, zones: Zones) -> Float[Tensor, "N 3"]:
        """Linear albedo at places of the skin."""
        return self.base * self.relative(zones)

    def relative(self, zones: Zones) -> Float[Tensor, "N 3"]:
        """Albedo over that of plain skin."""
        return _absorbed(zones, self.zones).exp()


def with_brows(albedo: Float[Tensor, "N 3"], brows: Float[Tensor, " N"], strength: float) -> Float[Tensor, "N 3"]:
    """Albedo with brows drawn on their zone, at full ``strength`` two and a half times as dark as the skin."""
    return albedo * (0.9 * strength * brows[:, None] * MELANIN).exp()


def average_zones() -> Float[Tensor, "Z 2"]:
    """The zones' darkness and bloodiness before anything is seen."""
    return _PRIOR[:, ::2].clone()


def _absorbed(zones: Zones, strengths: Float[Tensor, "Z 2"]) -> Float[Tensor, "N 3"]:
    maps = torch.stack([getattr(zones, name) for name in ZONE_PRIORS], -1)
    return maps @ (strengths[:, :1] * MELANIN + strengths[:, 1:] * BLOOD)


def fit_zones(
    zones: Zones, log_relative: Float[Tensor, "N 3"], weights: Float[Tensor, " N"], *, deviation: float = 0.25
) -> Float[Tensor, "Z 2"]:
    """The strengths that explain log(colour / (light · plain skin)): a linear posterior mean, in closed form.

    ``deviation`` of one place from the model; as neighbours stray alike, all places together count as 40
    independent ones for every zone that is fully seen.
    """
    maps = torch.stack([getattr(zones, name) for name in ZONE_PRIORS], -1)
    directions = torch.stack([MELANIN, BLOOD])
    count = 40 / (weights[:, None] * maps).sum(0).amax().clamp_min(1e-6)
    precision = weights * count / deviation**2
    gram = torch.kron(maps.T @ (precision[:, None] * maps), directions @ directions.T)
    target = (maps.T @ (precision[:, None] * log_relative) @ directions.T).flatten()
    prior_mean, prior_precision = _PRIOR[:, ::2].flatten(), _PRIOR[:, 1::2].flatten() ** -2
    solution = torch.linalg.solve(gram + torch.diag(prior_precision), target + prior_precision * prior_mean)
    return solution.view(-1, 2)


@dataclass(frozen=True, eq=False)
class WhiteClue:
    """Something known to be nearly white, under the face's light: the sclera. ``colour`` (3,) linear, over shading."""

    colour: Float[Tensor, " 3"]


# In natural logs: a photo's exposure (white under the face's light), the light's tint in red and blue over green,
# people's tone and redness, how well the sclera's brightness and tint are known.
# Cameras render skin warmer than it is, hence the tint's mean.
# Photos make white darker than white more often than brighter: there are two deviations.
_EXPOSURE, _UNDER, _OVER = 0.0, 0.45, 0.22
_TINT = (0.08, -0.10, 0.15)
_TONE_PRIOR = (0.35, 0.35)
_REDNESS = 0.10
_SCLERA = (-0.90, 0.40)
_SCLERA_TINT = (0.06, -0.04, 0.15)
_MEASURED = 0.04


def split_light_and_skin(
    colour: Float[Tensor, " 3"], white: WhiteClue | None = None
) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Skin of ``colour`` in the photo (linear): its albedo, and the light's colour on it; their product is ``colour``.

    Only the product is seen. The parts are the posterior mean, in logs, of five unknowns: tone, redness, exposure and
    the tint of the light in red and blue. Priors say how bright photos make white, how neutral their white is, and
    which skins there are; `WhiteClue` says how bright and tinted white is in this one. A dark face is thus taken for
    dark skin as far as white is bright and as far as its chroma is that of dark skin.
    """
    tone, redness, exposure = _posterior(colour, white, _UNDER)
    if exposure > _EXPOSURE:
        tone, redness, _ = _posterior(colour, white, _OVER)
    tone, redness = min(max(tone, -0.05), 1.15), min(max(redness, -0.15), 0.3)
    albedo = LIGHTEST * (tone * TONE + redness * BLOOD).exp()
    return albedo, colour / albedo


def _posterior(colour: Tensor, white: WhiteClue | None, exposure_deviation: float) -> tuple[float, float, float]:
    """The mean of tone, redness and exposure: five unknowns, linear in logs, each row one thing known of them."""
    rows, values, deviations = [], [], []

    def know(row: list[float], value: float, deviation: float) -> None:
        rows.append(row)
        values.append(value)
        deviations.append(deviation)

    know([1, 0, 0, 0, 0], *_TONE_PRIOR)
    know([0, 1, 0, 0, 0], 0.0, _REDNESS)
    know([0, 0, 1, 0, 0], _EXPOSURE, exposure_deviation)
    know([0, 0, 0, 1, 0], _TINT[0], _TINT[2])
    know([0, 0, 0, 0, 1], _TINT[1], _TINT[2])
    log_colour, log_lightest = colour.clamp_min(1e-4).log(), LIGHTEST.log()
    for c, tint in enumerate(([1, 0], [0, 0], [0, 1])):
        row = [float(TONE[c]), float(BLOOD[c]), 1.0, *map(float, tint)]
        know(row, float(log_colour[c] - log_lightest[c]), _MEASURED)
    if white is not None:
        seen = white.colour.clamp_min(1e-4).log()
        know([0, 0, 1, 1 / 3, 1 / 3], float(seen.mean()) - _SCLERA[0], _SCLERA[1])
        know([0, 0, 0, 1, 0], float(seen[0] - seen[1]) - _SCLERA_TINT[0], _SCLERA_TINT[2])
        know([0, 0, 0, 0, 1], float(seen[2] - seen[1]) - _SCLERA_TINT[1], _SCLERA_TINT[2])
    scale = 1 / torch.tensor(deviations, dtype=torch.float64)
    matrix = torch.tensor(rows, dtype=torch.float64) * scale[:, None]
    target = torch.tensor(values, dtype=torch.float64) * scale
    tone, redness, exposure, _, _ = torch.linalg.solve(matrix.T @ matrix, matrix.T @ target).tolist()
    return tone, redness, exposure
