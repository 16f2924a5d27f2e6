"""What photos show too little of to copy: eyeballs, sockets, teeth, tongue and mouth, in the person's colours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.appearance.anatomy import PARTS, Anatomy
from likeness.appearance.chart import Chart, anatomy_of
from likeness.appearance.openings import eye_openings, iris_rings
from likeness.appearance.read import Appearance
from likeness.filters import smoothstep
from likeness.heads.protocol import Head
from likeness.lighting import light_on_facing, srgb_to_linear

# Linear albedo.
_SCLERA, _SCLERA_CORNER = (0.50, 0.445, 0.42), (0.44, 0.26, 0.23)
_TEETH, _TONGUE = (0.74, 0.68, 0.57), (0.34, 0.13, 0.12)
_MOUTH, _THROAT = (0.26, 0.075, 0.07), (0.05, 0.012, 0.012)
_BROWN = (0.060, 0.032, 0.018)
_SOCKET = (0.85, 0.52, 0.50)
# Irises lie between nearly black and the palest gray; the light inside the lids is about this share of the face's.
_IRIS_RANGE = (0.012, 0.24)
_LIGHT_ON_EYES = 0.75
# Degrees from the eye's axis, where a head's regions do not tell.
_PUPIL, _IRIS = 7.0, 20.5


def paint_parts(
    colour: Float[Tensor, "T 3"], chart: Chart, head: Head, appearances: Sequence[Appearance]
) -> Float[Tensor, "T 3"]:
    """Linear colours of the chart's texels with everything that is not skin painted over."""
    painted = colour.clone()
    iris = iris_colour(appearances)
    skin = appearances[0].skin.base
    part = {name: chart.part == index for index, name in enumerate(PARTS)}
    for side in ("left", "right"):
        ball = part[f"eyeball_{side}"]
        if bool(ball.any()):
            painted[ball] = _eyeball(chart.rest[ball], anatomy_of(head), side, iris)
    painted[part["eye_cavity"]] = skin * skin.new_tensor(_SOCKET)
    for name, paint in (("teeth", _TEETH), ("tongue", _TONGUE)):
        inside = part[name]
        if bool(inside.any()):
            painted[inside] = skin.new_tensor(paint) * _reached(chart.rest[inside], anatomy_of(head))[:, None]
    lining = part["inner_mouth"]
    if not bool(lining.any()):
        return painted
    painted[lining] = _mouth(chart.rest[lining], anatomy_of(head), painted[lining])
    return painted


def iris_colour(appearances: Sequence[Appearance]) -> Float[Tensor, " 3"]:
    """The linear albedo of the irises: the middle of what the photos show between pupil and edge, brown if nothing."""
    found = [colour for appearance in appearances if (colour := _iris_seen(appearance)) is not None]
    if not found:
        return torch.tensor(_BROWN)
    mean = torch.stack(found).log().mean(0).exp()
    brightest = mean.amax()
    return mean * (brightest.clamp(*_IRIS_RANGE) / brightest)


def _iris_seen(appearance: Appearance) -> Float[Tensor, " 3"] | None:
    view = appearance.view
    open_eyes, rings = eye_openings(view), iris_rings(view)
    pixels = [view.srgb[opening & ring & view.in_photo] for opening, ring in zip(open_eyes, rings, strict=False)]
    pixels = [colours for colours in pixels if len(colours) >= 12]
    if not pixels:
        return None
    colours = srgb_to_linear(torch.cat(pixels))
    # Lashes and the pupil are darker, glints brighter than the iris itself.
    bright = colours.mean(-1)
    middle = (bright >= bright.quantile(0.4)) & (bright <= bright.quantile(0.8))
    light = _LIGHT_ON_EYES * light_on_facing(appearance.light).clamp_min(1e-3)
    return (colours[middle].median(0).values / light).clamp_min(1e-3)


def _eyeball(points: Float[Tensor, "N 3"], anatomy: Anatomy, side: str, iris: Float[Tensor, " 3"]) -> Tensor:
    """Pupil, iris with its dark ring and spokes, white that reddens towards the corners and dims behind the lids."""
    ball = anatomy.rest[anatomy.region(f"eyeball_{side}") > 0]
    offset = points - (ball.amin(0) + ball.amax(0)) / 2
    across, depth = torch.hypot(offset[:, 0], offset[:, 1]), offset[:, 2]
    degrees = torch.rad2deg(torch.atan2(across, depth))
    angle = torch.atan2(offset[:, 1], offset[:, 0])
    corner = (offset[:, 0].abs() / offset.norm(dim=-1)).clamp_max(1.0)
    white = iris.new_tensor(_SCLERA) + smoothstep(corner, 0.55, 0.95)[:, None] * (
        iris.new_tensor(_SCLERA_CORNER) - iris.new_tensor(_SCLERA)
    )
    white = white * (1 - 0.25 * smoothstep(degrees, 30.0, 80.0))[:, None]
    out = (degrees / _IRIS).clamp(0, 1)
    spokes = 1 + 0.16 * (torch.sin(angle * 37) * 0.6 + torch.sin(angle * 61 + 1.3) * 0.4) * smoothstep(out, 0.35, 0.6)
    # Lighter around the pupil, dark at the ring (limbus).
    tone = (1.15 - 0.25 * out) * (1 - 0.72 * smoothstep(out, 0.80, 0.98)) * spokes
    colour = _over(white, iris * tone[:, None], smoothstep(degrees, _IRIS + 1.3, _IRIS - 1.3))
    return _over(colour, torch.full_like(colour, 0.004), smoothstep(degrees, _PUPIL + 0.9, _PUPIL - 0.9))


def _reached(points: Float[Tensor, "N 3"], anatomy: Anatomy) -> Float[Tensor, " N"]:
    """How much of the light in front of the mouth comes so deep into it, painted on, as renderers seldom shadow it."""
    lips = anatomy.rest[anatomy.region("lips") > 0]
    return 1 - 0.88 * smoothstep(lips[:, 2].amax() - points[:, 2], 22.0, 70.0).sqrt()


def _mouth(points: Float[Tensor, "N 3"], anatomy: Anatomy, lips: Float[Tensor, "N 3"]) -> Tensor:
    """The lips' colour at the rim, then red flesh, dark towards the throat."""
    lining = anatomy.rest[anatomy.region("inner_mouth") > 0]
    depth = lining[:, 2].amax() - points[:, 2]
    flesh = lips.new_tensor(_MOUTH) + smoothstep(depth, 12.0, 45.0)[:, None] * (
        lips.new_tensor(_THROAT) - lips.new_tensor(_MOUTH)
    )
    return _over(lips, flesh, smoothstep(depth, 2.0, 8.0))


def _over(under: Tensor, paint: Tensor, cover: Float[Tensor, " N"]) -> Tensor:
    return under + cover[:, None] * (paint - under)
