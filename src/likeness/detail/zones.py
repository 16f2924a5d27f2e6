"""Where faces wrinkle: zones of the open head's mean face, placed by its landmarks, and what moves each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

# Each takes points (3, H, W) in mm of the mean head.
Field = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class ZoneSpec:
    """A zone before it is drawn.

    ``mask`` in [0, 1]; ``across`` the direction in which wrinkles are expected to be crossed, (3, …) tangent or
    nearly; ``spacing`` and ``depth`` of its lines (mm); ``anchor`` a point where a line runs (or, ``between``, half-way
    between two); ``n_lines`` at most. ``key`` are the expressions that squeeze it fully; ``at_least`` weights that
    others have whatever the mesh's strain says. Zones with the same ``pattern`` are cut out of the same lines.
    """

    name: str
    pattern: str
    mask: Field
    pattern_mask: Field
    across: Field
    anchor: Float[Tensor, " 3"]
    spacing: float
    depth: float
    key: Mapping[str, float]
    at_least: Mapping[str, float] = field(default_factory=dict)
    between: bool = False
    n_lines: float = 99.0
    curve: Float[Tensor, "K 3"] | None = None


def zone_specs(landmarks: Float[Tensor, "68 3"]) -> list[ZoneSpec]:
    """The zones of a mean face with these iBUG landmarks (mm, head frame)."""
    zones = [*_forehead(landmarks), _glabella(landmarks), _nose(landmarks), _chin(landmarks), _upper_lip(landmarks)]
    for side in ("Left", "Right"):
        zones += [_crow(landmarks, side), _under_eye(landmarks, side), _nasolabial(landmarks, side)]
        zones += [_marionette(landmarks, side)]
    return zones


def _forehead(landmarks: Tensor) -> list[ZoneSpec]:
    brows = landmarks[17:27]
    middle = torch.stack([torch.zeros(()), brows[:, 1].mean() + 24, brows[:, 2].mean()])
    whole = _ellipse(middle, 56.0, 22.0)

    def centre(points: Tensor) -> Tensor:
        return 1 / (1 + torch.exp((points[0].abs() - 22) / 5))

    shares: dict[str, Field] = {
        "": centre,
        "_left": lambda points: (1 - centre(points)) * (points[0] > 0),
        "_right": lambda points: (1 - centre(points)) * (points[0] < 0),
    }
    keys = {"": "browInnerUp", "_left": "browOuterUpLeft", "_right": "browOuterUpRight"}
    return [
        ZoneSpec(
            name=f"forehead{part}",
            pattern="forehead",
            mask=lambda points, share=share: whole(points) * share(points),
            pattern_mask=whole,
            across=_along(0.0, 1.0),
            anchor=middle - torch.tensor([0.0, 10.0, 0.0]),
            spacing=8.5,
            depth=0.42,
            key={keys[part]: 1.0},
            at_least={"browInnerUp": 0.45} if part else {"browOuterUpLeft": 0.2, "browOuterUpRight": 0.2},
        )
        for part, share in shares.items()
    ]


def _glabella(landmarks: Tensor) -> ZoneSpec:
    middle = landmarks[[21, 22]].mean(0) + torch.tensor([0.0, 3.0, 0.0])
    return _plain(
        "glabella", _ellipse(middle, 12.0, 14.0), _along(1.0, 0.0), middle, 12.0, 0.45,
        {"browDownLeft": 1.0, "browDownRight": 1.0}, {"noseSneerLeft": 0.15, "noseSneerRight": 0.15},
        between=True, n_lines=2.0,
    )  # fmt: skip


def _nose(landmarks: Tensor) -> ZoneSpec:
    middle = landmarks[[27, 28]].mean(0)
    return _plain(
        "nose", _ellipse(middle, 13.0, 9.0), _along(0.0, 1.0), middle, 5.0, 0.16,
        {"noseSneerLeft": 1.0, "noseSneerRight": 1.0}, {"cheekSquintLeft": 0.15, "cheekSquintRight": 0.15},
    )  # fmt: skip


def _chin(landmarks: Tensor) -> ZoneSpec:
    lip, chin = landmarks[57], landmarks[8]
    middle = lip + 0.38 * (chin - lip)
    ends = [middle + torch.tensor([x, -0.012 * x * x, 0.0]) for x in (-19.0, -10.0, 0.0, 10.0, 19.0)]
    return _fold("chin", torch.stack(ends), 6.0, 12.0, 0.3, {"mouthShrugLower": 1.0}, {
        "mouthFrownLeft": 0.25, "mouthFrownRight": 0.25, "mouthPressLeft": 0.15, "mouthPressRight": 0.15,
    })  # fmt: skip


def _upper_lip(landmarks: Tensor) -> ZoneSpec:
    middle = landmarks[51] + torch.tensor([0.0, 6.5, 0.0])
    return _plain(
        "upper_lip", _ellipse(middle, 21.0, 6.0), _along(1.0, 0.0), middle, 4.5, 0.1,
        {"mouthPucker": 1.0}, {"mouthShrugUpper": 0.3}, between=True,
    )  # fmt: skip


def _crow(landmarks: Tensor, side: str) -> ZoneSpec:
    out = _outward(side)
    corner = landmarks[45 if side == "Left" else 36]
    source = corner - 3.0 * out
    middle = corner + 11.0 * out + torch.tensor([0.0, -1.0, -6.0])
    return _plain(
        f"crow_{side.lower()}", _ellipse(middle, 17.0, 14.0), _about(source), corner + 11.0 * out, 5.2, 0.3,
        {f"cheekSquint{side}": 1.0}, {f"eyeSquint{side}": 0.6, f"mouthSmile{side}": 0.5, f"eyeBlink{side}": 0.1},
    )  # fmt: skip


def _under_eye(landmarks: Tensor, side: str) -> ZoneSpec:
    eye = landmarks[42:48] if side == "Left" else landmarks[36:42]
    middle = eye.mean(0) + 2.0 * _outward(side) + torch.tensor([0.0, -14.0, 0.0])
    return _plain(
        f"under_eye_{side.lower()}", _ellipse(middle, 15.0, 6.0), _along(0.0, 1.0), middle, 4.5, 0.12,
        {f"cheekSquint{side}": 1.0}, {f"eyeSquint{side}": 0.5, f"mouthSmile{side}": 0.35},
    )  # fmt: skip


def _nasolabial(landmarks: Tensor, side: str) -> ZoneSpec:
    out, up = _outward(side), torch.tensor([0.0, 1.0, 0.0])
    wing, corner = (landmarks[35], landmarks[54]) if side == "Left" else (landmarks[31], landmarks[48])
    curve = torch.stack(
        [
            wing + 6 * out + 7 * up,
            wing + 11 * out,
            corner + 9 * out + 8 * up,
            corner + 11 * out - 3 * up,
            corner + 10 * out - 12 * up,
        ]
    )
    return _fold(f"nasolabial_{side.lower()}", curve, 5.0, 12.0, 0.6, {f"mouthSmile{side}": 1.0}, {
        f"noseSneer{side}": 0.35, f"mouthUpperUp{side}": 0.35, f"cheekSquint{side}": 0.3, f"mouthDimple{side}": 0.3,
    })  # fmt: skip


def _marionette(landmarks: Tensor, side: str) -> ZoneSpec:
    out, up = _outward(side), torch.tensor([0.0, 1.0, 0.0])
    corner = landmarks[54] if side == "Left" else landmarks[48]
    curve = torch.stack([corner + 4 * out - 3 * up, corner + 6 * out - 12 * up, corner + 7 * out - 22 * up])
    return _fold(f"marionette_{side.lower()}", curve, 5.0, 10.0, 0.22, {f"mouthFrown{side}": 1.0}, {
        f"mouthPress{side}": 0.3, f"mouthStretch{side}": 0.2,
    })  # fmt: skip


def _plain(name, mask, across, anchor, spacing, depth, key, at_least, *, between=False, n_lines=99.0) -> ZoneSpec:
    return ZoneSpec(name, name, mask, mask, across, anchor, spacing, depth, key, at_least, between, n_lines)


def _fold(name, curve: Tensor, reach: float, spacing: float, depth: float, key, at_least) -> ZoneSpec:
    """One line along a curve, strongest in its middle."""
    curve = rounded(curve)

    def mask(points: Tensor) -> Tensor:
        distance, along = signed_distance(points, curve)
        return torch.exp(-((distance / (1.6 * reach)) ** 4)) * (along * (1 - along) * 4).clamp(0, 1) ** 0.7

    return ZoneSpec(
        name, name, mask, mask, _along(1.0, 0.0), curve[0], spacing, depth, key, at_least, False, 1.0, curve
    )


def signed_distance(
    points: Float[Tensor, "3 H W"], curve: Float[Tensor, "K 3"]
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Distance (mm) from a polyline as seen from the front, positive on its left-hand side; and how far along it the
    nearest point lies, in [0, 1]."""
    x, y = points[0], points[1]
    pieces = curve[1:, :2] - curve[:-1, :2]
    lengths = pieces.square().sum(1).sqrt()
    best, signed, along = torch.full_like(x, torch.inf), torch.zeros_like(x), torch.zeros_like(x)
    before = 0.0
    for start, way, length in zip(curve[:-1].tolist(), pieces.tolist(), lengths.tolist(), strict=True):
        offset_x, offset_y = x - start[0], y - start[1]
        share = ((offset_x * way[0] + offset_y * way[1]) / length**2).clamp(0, 1)
        apart_x, apart_y = offset_x - share * way[0], offset_y - share * way[1]
        distance = torch.hypot(apart_x, apart_y)
        side = torch.where(way[0] * apart_y - way[1] * apart_x < 0, -1.0, 1.0)
        nearer = distance < best
        best = torch.where(nearer, distance, best)
        signed = torch.where(nearer, side * distance, signed)
        along = torch.where(nearer, before + share * length, along)
        before += length
    return signed, along / before


def rounded(curve: Float[Tensor, "K 3"], times: int = 2) -> Float[Tensor, "L 3"]:
    """A polyline with its corners cut, its ends where they were (Chaikin 1974)."""
    for _ in range(times):
        near, far = 0.75 * curve[:-1] + 0.25 * curve[1:], 0.25 * curve[:-1] + 0.75 * curve[1:]
        curve = torch.cat([curve[:1], torch.stack([near, far], 1).flatten(0, 1), curve[-1:]])
    return curve


def _outward(side: str) -> Tensor:
    return torch.tensor([1.0 if side == "Left" else -1.0, 0.0, 0.0])


def _ellipse(middle: Tensor, half_width: float, half_height: float) -> Field:
    def mask(points: Tensor) -> Tensor:
        x, y, z = (points[axis] - middle[axis] for axis in range(3))
        # Depth counts as width does: round the temple it is the same way on.
        return torch.exp(-(((x * x + z * z) / half_width**2 + y * y / half_height**2) ** 2))

    return mask


def _along(x: float, y: float) -> Field:
    def across(points: Tensor) -> Tensor:
        return torch.tensor([x, y, 0.0]).view(3, *(1,) * (points.ndim - 1)).expand_as(points)

    return across


def _about(centre: Tensor) -> Field:
    """Around a point, as rays are crossed."""

    def across(points: Tensor) -> Tensor:
        x, y = points[0] - centre[0], points[1] - centre[1]
        turned = torch.stack([-y, x, torch.zeros_like(x)])
        # Upwards on either side of the face.
        return turned / torch.hypot(x, y).clamp_min(1e-6) * torch.where(x < 0, -1.0, 1.0)

    return across
