"""Where lips and lids meet in a photo: three slits, each between two lines of landmarks.

The fitted mesh has its own idea of where the lips touch, a millimetre beside the photo's. A texture taken by it alone
would carry the lower lip's red on the upper lip, which shows as soon as the mouth opens. The landmarks know better:
nothing of the upper lip lies below the upper lip's line, and no tooth outside the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.filters import smoothstep
from likeness.heads.protocol import Head
from likeness.reenactment.parts import INSIDE_MOUTH, Part

# Upper and lower line of each slit, from corner to corner.
_LINES: dict[str, dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "mediapipe478": {
        "mouth": (
            (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
            (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
        ),
        "right eye": ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
        "left eye": ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
    },
    "ibug68": {
        "mouth": ((60, 61, 62, 63, 64), (60, 67, 66, 65, 64)),
        "right eye": ((36, 37, 38, 39), (36, 41, 40, 39)),
        "left eye": ((42, 43, 44, 45), (42, 47, 46, 45)),
    },
}
# The dark line where lips touch belongs to neither, in parts of the slit's width.
_TOUCHING = 0.006
# So far apart (in widths of the mouth) are lips between which one sees each of these, and not shadow or the other row
# of teeth, whose place in the photo no landmark tells.
_SHOWS = {Part.UPPER_TEETH: 0.09, Part.LOWER_TEETH: 0.4, Part.TONGUE: 0.3, Part.CAVITY: 0.3}
# How far above the upper lid's edge its lashes reach, in widths of the eye.
_LASHES_REACH = 0.16
# A lid drawn out so many times its height has lost its own colour; it begins above the lashes and ends at the crease.
_STRETCHED, _ABOVE_LASHES, _LID_HEIGHT = (1.5, 3.0), (0.06, 0.14), (0.10, 0.24)
# Where the skin below an eye is looked at, in widths of the eye below its lower lid.
_BELOW_EYE = 0.30


@dataclass(frozen=True, eq=False)
class Slit:
    """Two lines in the slit's own frame: x from its first corner (0) to its last (1), y downwards, same scale."""

    corner: Float[Tensor, "2"]
    axis: Float[Tensor, "2"]
    upper: Float[Tensor, "N 2"]
    lower: Float[Tensor, "M 2"]

    @classmethod
    def between(cls, upper: Float[Tensor, "N 2"], lower: Float[Tensor, "M 2"]) -> Slit:
        """The slit of two lines of points in a picture, that share their first and last point."""
        along = upper[-1] - upper[0]
        slit = cls(upper[0], along / (along @ along).clamp_min(1e-6), upper, lower)
        return cls(slit.corner, slit.axis, slit.place(upper), slit.place(lower))

    @property
    def skin_below(self) -> Float[Tensor, "2"]:
        """A place in the picture on the smooth skin under an eye."""
        lower = self.lower[len(self.lower) // 2]
        along, across = self.axis, torch.stack([-self.axis[1], self.axis[0]])
        return self.corner + (lower[0] * along + (lower[1] + _BELOW_EYE) * across) / (self.axis @ self.axis)

    def near(self, points: Float[Tensor, "*N 2"]) -> Bool[Tensor, "*N"]:
        """Points no farther from the slit's middle than it is wide (or as the lips stand apart)."""
        middle = self.corner + self.axis / (self.axis @ self.axis) / 2
        open_ = (self.lower[:, 1].max() - self.upper[:, 1].min()).clamp_min(1.0)
        reach = open_ / self.axis.norm()
        return ((points - middle).abs() < reach).all(-1)

    @property
    def up(self) -> Float[Tensor, "2"]:
        """One slit's width upwards, in the picture."""
        return torch.stack([self.axis[1], -self.axis[0]]) / (self.axis @ self.axis)

    def place(self, points: Float[Tensor, "*N 2"]) -> Float[Tensor, "*N 2"]:
        """Points of the picture in the slit's frame."""
        offset = points - self.corner
        across = torch.stack([-self.axis[1], self.axis[0]])
        return torch.stack([offset @ self.axis, offset @ across], -1)

    def sides(
        self, points: Float[Tensor, "*N 2"]
    ) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N"], Bool[Tensor, "*N"]]:
        """How far points lie below the upper and above the lower line (slit widths); whether between the corners."""
        place = self.place(points)
        x = place[..., 0].contiguous()
        below = place[..., 1] - _height(self.upper, x)
        above = _height(self.lower, x) - place[..., 1]
        return below, above, (x > 0) & (x < 1)


@dataclass(frozen=True, eq=False)
class Slits:
    """The mouth and the eyes of one posed head in one picture."""

    mouth: Slit
    eyes: tuple[Slit, Slit]

    @classmethod
    def of(cls, head: Head, vertices_px: Float[Tensor, "V 3"]) -> Slits:
        """By the finest landmarks the head knows."""
        convention = "mediapipe478" if "mediapipe478" in head.embeddings else "ibug68"
        points = head.embeddings[convention].points(vertices_px)[:, :2]
        lines = _LINES[convention]
        made = {name: Slit.between(points[list(up)], points[list(low)]) for name, (up, low) in lines.items()}
        return cls(made["mouth"], (made["right eye"], made["left eye"]))

    def allow(self, points: Float[Tensor, "*N 2"], parts: Int[Tensor, "*N"]) -> Bool[Tensor, "*N"]:
        """Whether a photo can show points of these parts at these places of it."""
        # Neither an eyeball nor a tooth is seen anywhere but in its slit.
        allowed = parts < Part.EYE
        near = self.mouth.near(points)
        allowed[near] = self._allowed_by_mouth(points[near], parts[near])
        for eye in self.eyes:
            near = eye.near(points) & ((parts == Part.SKIN) | (parts == Part.EYE))
            below, above, between = eye.sides(points[near])
            within = between & (below > 0) & (above > 0)
            allowed[near] = torch.where(parts[near] == Part.EYE, within | allowed[near], allowed[near] & ~within)
        return allowed

    def _allowed_by_mouth(self, points: Float[Tensor, "P 2"], parts: Int[Tensor, " P"]) -> Bool[Tensor, " P"]:
        below, above, between = self.mouth.sides(points)
        allowed = parts < Part.EYE
        allowed &= ~((parts == Part.UPPER_LIP) & between & (below > -_TOUCHING))
        allowed &= ~((parts == Part.LOWER_LIP) & between & (above > -_TOUCHING))
        within = between & (torch.minimum(below, above) > _TOUCHING)
        for part in INSIDE_MOUTH:
            allowed |= (parts == part) & within & (below + above > _SHOWS[part])
        return allowed


@dataclass(frozen=True, eq=False)
class Lids:
    """Where a picture's skin takes its colour from once lids are seen to: ``places`` in the source's picture, and by
    eye ``smooth``, how far a pixel lies on a lid that is drawn out of so little that its own colour says nothing."""

    places: Float[Tensor, "*N 2"]
    smooth: tuple[Float[Tensor, "*N"], Float[Tensor, "*N"]]


def close_lids(source: Slits, target: Slits, points: Float[Tensor, "*N 2"], places: Float[Tensor, "*N 2"]) -> Lids:
    """For ``points`` of the target's picture whose surface lies at ``places`` of the source's.

    An upper lid that closes is drawn out to several times its height, and its lashes with it. Here they keep their
    distance to its edge, and the skin above them is drawn out instead; where there is next to nothing of that, in
    deep-set eyes, what is drawn out is the brow's shadow.
    """
    places, smooth = places.clone(), []
    for old, new in zip(source.eyes, target.eyes, strict=True):
        near = new.near(points)
        below, _, between = new.sides(points[near])
        distance, before = -below, -old.sides(places[near])[0]
        drawn_out = between & (distance > 0) & (distance < 3 * _LASHES_REACH) & (distance > before) & (before > 0)
        lift = (distance - before) * torch.exp(-((distance / _LASHES_REACH) ** 2)) * drawn_out
        places[near] += lift[:, None] * old.up
        stretch = smoothstep(distance / before.clamp_min(1e-3), *_STRETCHED)
        lid = smoothstep(distance, *_ABOVE_LASHES) * (1 - smoothstep(before, *_LID_HEIGHT))
        amount = torch.zeros_like(points[..., 0])
        amount[near] = stretch * lid * drawn_out
        smooth.append(amount)
    return Lids(places, (smooth[0], smooth[1]))


def _height(line: Float[Tensor, "N 2"], x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """The y of a line at x, linear between its points."""
    knots = line[:, 0].contiguous().cummax(0).values + 1e-6 * torch.arange(len(line))
    upper = torch.searchsorted(knots, x).clamp(1, len(line) - 1)
    start, end = knots[upper - 1], knots[upper]
    share = ((x - start) / (end - start)).clamp(0, 1)
    return line[upper - 1, 1] * (1 - share) + line[upper, 1] * share
