"""What goes wrong with photographs, made on purpose: each of these spoils a picture of a face by a strength in [0, 1].

A degradation gets the picture, the face's 68 landmarks in it and a random generator, and returns the spoilt picture
and the landmarks where they are now.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Picture = np.ndarray  # (H, W, 3) uint8
Points = np.ndarray  # (68, 2) pixels
Degradation = Callable[[Picture, Points, float, np.random.Generator], tuple[Picture, Points]]


def box_side(points: Points) -> float:
    """The face's size: the geometric mean of its landmarks' width and height."""
    return float(np.sqrt(np.prod(np.ptp(points, axis=0))))


def blur(picture: Picture, points: Points, strength: float, _rng: np.random.Generator) -> tuple[Picture, Points]:
    """Out of focus, by up to an eighth of the face."""
    radius = strength * box_side(points) / 8
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius))), points


def noise(picture: Picture, points: Points, strength: float, rng: np.random.Generator) -> tuple[Picture, Points]:
    """A sensor at its end: up to 90 of 255."""
    return _to_picture(picture + rng.normal(0, 90 * strength, picture.shape)), points


def jpeg(picture: Picture, points: Points, strength: float, _rng: np.random.Generator) -> tuple[Picture, Points]:
    """Quality 40 down to 2."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=round(40 - 38 * strength))
    return np.asarray(Image.open(file).convert("RGB")), points


def dark(picture: Picture, points: Points, strength: float, rng: np.random.Generator) -> tuple[Picture, Points]:
    """Down to a hundredth of the light, and the noise of raising it again a little."""
    linear = (picture / 255.0) ** 2.2 * 10 ** (-2 * strength)
    return _to_picture(255 * linear ** (1 / 2.2) + rng.normal(0, 6 * strength, picture.shape)), points


def side_light(picture: Picture, points: Points, strength: float, rng: np.random.Generator) -> tuple[Picture, Points]:
    """One half of the face nearly black, the other bleached."""
    middle, side = points[:, 0].mean(), box_side(points)
    across = (np.arange(picture.shape[1]) - middle) / side * rng.choice([-1, 1])
    gain = 10 ** (np.clip(across * 8, -2, 0.35) * strength)
    linear = (picture / 255.0) ** 2.2 * gain[None, :, None]
    return _to_picture(255 * np.clip(linear, 0, 1) ** (1 / 2.2)), points


def hand(picture: Picture, points: Points, strength: float, rng: np.random.Generator) -> tuple[Picture, Points]:
    """Four fingers before the face, skin-coloured, from one side: at full strength over most of it."""
    image, side = Image.fromarray(picture), box_side(points)
    draw = ImageDraw.Draw(image)
    skin = np.median(picture[tuple(_inside(points[27:36], picture).T[::-1])], 0) * rng.uniform(0.7, 1.0)
    centre = points.mean(0) + rng.uniform(-0.25, 0.25, 2) * side
    angle = rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    width = 0.06 * side + 0.2 * side * strength
    for finger in range(4):
        tip = centre + across * width * 1.05 * (finger - 1.5) + along * rng.uniform(0, 0.25) * side
        _capsule(draw, tip, tip - along * 2 * side, width, tuple(int(v) for v in skin * (1 - 0.06 * finger)))
    return np.asarray(image), points


def mask(picture: Picture, points: Points, strength: float, _rng: np.random.Generator) -> tuple[Picture, Points]:
    """A medical mask, from the chin up to at most the bridge of the nose."""
    image = Image.fromarray(picture)
    top = points[33] + (points[27] - points[33]) * strength
    outline = [tuple(p) for p in [*points[2:15], points[14] + (top - points[33]) * 0.5, top]]
    outline.append(tuple(points[2] + (top - points[33]) * 0.5))
    ImageDraw.Draw(image).polygon(outline, fill=(176, 205, 214))
    return np.asarray(image), points


def sunglasses(picture: Picture, points: Points, strength: float, _rng: np.random.Generator) -> tuple[Picture, Points]:
    """Black lenses, from the eyes' size to half the cheeks."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    side = box_side(points)
    for eye in (points[36:42], points[42:48]):
        x, y = eye.mean(0)
        half = side * (0.09 + 0.1 * strength)
        draw.ellipse((x - half, y - 0.8 * half, x + half, y + 0.8 * half), fill=(12, 12, 14))
    draw.line(
        [tuple(points[36:42].mean(0)), tuple(points[42:48].mean(0))], fill=(12, 12, 14), width=max(1, int(side / 40))
    )
    return np.asarray(image), points


def beard(picture: Picture, points: Points, strength: float, rng: np.random.Generator) -> tuple[Picture, Points]:
    """Dark hair from ear to ear, below the chin and, when strong, over the mouth."""
    side = box_side(points)
    layer = Image.new("L", picture.shape[1::-1])
    down = np.array([0, 0.18 * side * strength])
    outline = [
        tuple(p) for p in [points[2], *(points[3:14] + down), points[14], *(points[54:47:-1] - [0, 0.05 * side])]
    ]
    ImageDraw.Draw(layer).polygon(outline, fill=255)
    if strength < 0.6:
        ImageDraw.Draw(layer).polygon([tuple(p) for p in points[48:60]], fill=0)
    cover = np.asarray(layer.filter(ImageFilter.GaussianBlur(0.02 * side)))[..., None] / 255 * min(1, 0.4 + strength)
    hairs = rng.normal(38, 16, (*picture.shape[:2], 1)) * np.array([1, 0.85, 0.7])
    return _to_picture(picture * (1 - cover) + hairs * cover), points


def small(picture: Picture, points: Points, strength: float, _rng: np.random.Generator) -> tuple[Picture, Points]:
    """The face between 160 and 24 pixels wide."""
    scale = min(1.0, 160 * (24 / 160) ** strength / float(np.ptp(points[:, 0])))
    size = [max(8, round(n * scale)) for n in picture.shape[1::-1]]
    image = Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.BOX)
    return np.asarray(image), points * (np.array(size) / picture.shape[1::-1])


def rolled(picture: Picture, points: Points, strength: float, rng: np.random.Generator) -> tuple[Picture, Points]:
    """Turned in the picture, at full strength upside down."""
    angle = np.pi * strength * rng.choice([-1, 1])
    height, width = picture.shape[:2]
    centre = np.array([width / 2, height / 2])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - centre
    size = np.ceil(np.ptp(corners @ turn.T, axis=0)).astype(int)
    back = np.concatenate([turn.T, (centre - turn.T @ (size / 2))[:, None]], 1)
    image = Image.fromarray(picture).transform(
        (int(size[0]), int(size[1])),
        Image.Transform.AFFINE,
        tuple(back.ravel()),
        Image.Resampling.BICUBIC,
        fillcolor=(90,) * 3,
    )
    return np.asarray(image), (points - centre) @ turn.T + size / 2


def cut(picture: Picture, points: Points, strength: float, rng: np.random.Generator) -> tuple[Picture, Points]:
    """The picture's border runs through the face: up to 60 % of it lies outside."""
    low, high = points.min(0), points.max(0)
    axis, at_start = rng.integers(2), rng.random() < 0.5
    if at_start:
        edge = int(low[axis] + 0.6 * strength * (high - low)[axis])
        kept = [slice(None), slice(None)]
        kept[1 - axis] = slice(edge, None)
        moved = points - np.eye(2)[axis] * edge
    else:
        edge = int(np.ceil(high[axis] - 0.6 * strength * (high - low)[axis]))
        kept = [slice(None), slice(None)]
        kept[1 - axis] = slice(None, max(edge, 8))
        moved = points
    return np.ascontiguousarray(picture[tuple(kept)]), moved


def drawing(picture: Picture, points: Points, strength: float, _rng: np.random.Generator) -> tuple[Picture, Points]:
    """Flat colours with lines; at full strength a pen drawing of two tones."""
    side = box_side(points)
    flat = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(side * 0.012))
    levels = max(2, round(8 - 6 * strength))
    posterised = np.round(np.asarray(flat) / 255 * (levels - 1)) / (levels - 1) * 255
    grey = np.asarray(flat.convert("L"), np.float64)
    rows, columns = np.gradient(grey)
    lines = np.clip(1.15 - np.hypot(rows, columns) * side / 2500, 0, 1)[..., None]
    tone = posterised.mean(-1, keepdims=True)
    return _to_picture((posterised * (1 - strength) + tone * strength) * lines), points


DEGRADATIONS: dict[str, Degradation] = {
    each.__name__: each
    for each in (*(blur, noise, jpeg, dark, side_light, hand, mask, sunglasses, beard, small, rolled, cut, drawing),)
}


def _to_picture(values: np.ndarray) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _inside(points: Points, picture: Picture) -> np.ndarray:
    """Whole pixels of the points that lie in the picture; its middle if none does."""
    whole = points.astype(int)
    within = whole[((whole >= 0) & (whole < picture.shape[1::-1])).all(1)]
    return within if len(within) else np.array([[picture.shape[1] // 2, picture.shape[0] // 2]])


def _capsule(draw: ImageDraw.ImageDraw, a: np.ndarray, b: np.ndarray, width: float, colour: tuple[int, ...]) -> None:
    draw.line([tuple(a), tuple(b)], fill=colour, width=max(1, round(width)))
    for x, y in (a, b):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=colour)
