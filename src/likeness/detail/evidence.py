"""What a photo tells about the fine relief of a face: shading that the smooth surface does not explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.cameras import Similarity
from likeness.detail.chart import DetailChart, TexelSurface
from likeness.detail.cleaning import away_from_others, bare_skin
from likeness.face import Face
from likeness.filters import gaussian_blur, smoothstep, weighted_blur
from likeness.lighting import fit_light, irradiance_basis, srgb_to_linear

# Cosines between normal and view: below the first a texel is too foreshortened, above the second it is trusted fully.
_GRAZING, _FACING = 0.3, 0.6
# Linear light added before the logarithm, so that noise in the dark is not blown up.
_FLOOR = 0.02
# Standard deviation (mm) of the mean that is taken away: what is wider belongs to the shape model, light and albedo.
_WIDEST_MM = 3.2
# How the logarithms of red, green and blue change together. A fold's shade is as dark in all, a little redder as light
# bounces in it; melanin and blood are seen by what they take from blue and green (directions after Tsumura et al.
# 2003, "Image-based skin color and texture analysis/synthesis"), with how strongly each varies over skin.
_SHADE = (0.92, 1.0, 1.04)
_MELANIN, _MELANIN_SPREAD = (0.35, 0.65, 1.0), 0.05
_BLOOD, _BLOOD_SPREAD = (0.10, 1.0, 0.75), 0.06
_PLAIN_SPREAD = 0.03
# Contrast (natural logarithm) beyond which a texel is an edge of something else: shadow, hair, glasses.
_TOO_STRONG = 0.45
# The share of trust that is lost next to the hairline, where strands cross the skin.
_LOST_AT_HAIR = 0.6
# Pixels a millimetre below which nothing is read from a photo, and above which everything.
_TOO_COARSE, _FINE_ENOUGH = 1.1, 2.6


@dataclass(frozen=True, eq=False)
class Evidence:
    """In the window: ``shade`` the logarithm of shading beside the smooth surface's; ``weight`` in [0, 1] how far to
    trust it; ``slope_x`` and ``slope_y``, by how much shade changes with the displacement's derivative by a column and
    a row (mm a texel); ``noise`` the standard deviation of shade that is not relief; ``finest_mm`` the shortest
    wavelength the photo resolves; ``certainty`` in (0, 1] is less than 1 where the photo is coarse."""

    shade: Float[Tensor, "H W"]
    weight: Float[Tensor, "H W"]
    slope_x: Float[Tensor, "H W"]
    slope_y: Float[Tensor, "H W"]
    noise: float
    finest_mm: float
    certainty: float


def gather_evidence(
    face: Face,
    pixels: UInt8[np.ndarray, "H W 3"],
    chart: DetailChart,
    surface: TexelSurface,
    skin_mask: Float[Tensor, "V V"] | None = None,
) -> Evidence | None:
    """Read a photo in the window of a chart; None where it is too small to show any relief."""
    scale = _px_per_mm(face)
    certainty = float(smoothstep(torch.tensor(scale), _TOO_COARSE, _FINE_ENOUGH))
    if certainty == 0:
        return None
    places = _projected(face, surface)
    photo, step = _photo_at_scale(pixels, places, scale * chart.mm_per_texel)
    colour, in_photo = _look_up(photo, places, step)
    towards = face.camera.towards(surface.position.flatten(1).T[None])[0].T.view_as(surface.normal)
    facing = (surface.normal * towards).sum(0)
    weight = chart.skin * (1 - _LOST_AT_HAIR * chart.hairline) * in_photo * smoothstep(facing, _GRAZING, _FACING)
    weight = weight * _in_sight(face, chart, surface, weight)
    asked, linear = weight > 0.1, srgb_to_linear(colour)
    if skin_mask is not None:
        weight = weight * _surely_skin(face, places, skin_mask)
    weight = weight * _well_exposed(colour) * _skin_coloured(linear, weight, chart.mm_per_texel)
    logarithm = torch.log(linear + _FLOOR)
    normals = torch.einsum("ij,jhw->ihw", face.camera.rotation[0], surface.normal)
    luminance = _luminance(linear)
    light = _light(face, normals, luminance, weight)
    smooth, gradient = _shading_and_gradient(normals, light)
    logarithm = logarithm - torch.log(smooth + _FLOOR)
    # Twice, as hair that is found the first time must not bend the mean that is taken away.
    _, weight = _shade(logarithm, weight, chart)
    shade, weight = _shade(logarithm, weight, chart)
    weight = weight * away_from_others(weight, asked, chart)
    gradient = torch.einsum("ij,ihw->jhw", face.camera.rotation[0], gradient)
    slope_x, slope_y = _slopes(surface, gradient)
    noise = _noise(pixels, places, weight, chart.skin)
    return Evidence(shade, weight, slope_x, slope_y, noise, 3.0 / scale, certainty)


def _shade(
    logarithm: Float[Tensor, "3 H W"], weight: Float[Tensor, "H W"], chart: DetailChart
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """The achromatic, fine part of what the smooth surface does not explain; and the weights without edges and hair."""
    mm = chart.mm_per_texel
    shade, chroma = _achromatic_part(logarithm - weighted_blur(logarithm, weight, _WIDEST_MM / mm))
    return shade, weight * _not_an_edge(shade, chroma, weight, mm) * bare_skin(shade, weight, chart)


def _px_per_mm(face: Face) -> float:
    """How large the photo shows the middle of the face."""
    middle = face.vertices[torch.from_numpy(face.head.topology.region("face"))].mean(0)
    sides = middle + torch.eye(3).to(middle)
    points = face.camera.project(torch.cat([middle[None], sides])[None])[0]
    # The longest of the three axes' images: the others are foreshortened.
    return float((points[1:] - points[0]).norm(dim=1).max())


def _projected(face: Face, surface: TexelSurface) -> Float[Tensor, "2 H W"]:
    points = surface.position.flatten(1).T
    return face.camera.project(points[None])[0].T.view(2, *surface.position.shape[1:])


def _photo_at_scale(
    pixels: UInt8[np.ndarray, "H W 3"], places: Float[Tensor, "2 H W"], px_per_texel: float
) -> tuple[Float[Tensor, "3 h w"], Similarity]:
    """The part of the photo about the face, averaged down where it is finer than the chart; and the map to it."""
    height, width = pixels.shape[:2]
    low = places.flatten(1).amin(1).floor().long().tolist()
    high = places.flatten(1).amax(1).ceil().long().tolist()
    left, right = (min(max(side, 0), width - 1) for side in (low[0] - 8, high[0] + 8))
    top, bottom = (min(max(side, 0), height - 1) for side in (low[1] - 8, high[1] + 8))
    cut = torch.from_numpy(np.array(pixels[top : bottom + 1, left : right + 1])).permute(2, 0, 1).float() / 255
    factor = max(int(px_per_texel + 0.25), 1)
    if factor > 1:
        rest = [-side % factor for side in cut.shape[1:]]
        cut = functional.pad(cut[None], (0, rest[1], 0, rest[0]), mode="replicate")
        cut = functional.avg_pool2d(cut, factor)[0]
    # Noise of single pixels tells nothing; half a pixel's blur costs little of what the photo resolves.
    edge = functional.pad(cut[None], (3, 3, 3, 3), mode="replicate")[0]
    cut = gaussian_blur(edge, 0.6)[:, 3:-3, 3:-3]
    shift = torch.tensor([[-left / factor, -top / factor]])
    return cut, Similarity(torch.tensor([1 / factor]), torch.zeros(1), shift)


def _look_up(photo: Tensor, places: Tensor, step: Similarity) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "H W"]]:
    at = step.transform(places.flatten(1).T[None])[0].T.view_as(places)
    height, width = photo.shape[1:]
    grid = torch.stack([2 * at[0] / width - 1, 2 * at[1] / height - 1], -1)[None]
    colour = functional.grid_sample(photo[None], grid, mode="bicubic", padding_mode="border", align_corners=False)[0]
    return colour.clamp(0, 1), (grid[0].abs() < 1).all(-1).float()


def _in_sight(face: Face, chart: DetailChart, surface: TexelSurface, weight: Tensor) -> Float[Tensor, "H W"]:
    seen = torch.zeros_like(weight)
    asked = weight > 0
    seen[asked] = face.view.visible(surface.position[:, asked].T).float()
    # Nothing is read within a few millimetres of what hides the rest.
    hidden = functional.max_pool2d((chart.inside & asked & (seen == 0)).float()[None, None], 7, 1, 3)[0, 0]
    return seen * smoothstep(gaussian_blur(hidden[None], 2.0 / chart.mm_per_texel)[0], 0.4, 0.02)


def _surely_skin(face: Face, places: Tensor, mask: Float[Tensor, "V V"]) -> Float[Tensor, "H W"]:
    at = face.view.crop.transform(places.flatten(1).T[None])[0]
    grid = (2 * at / len(mask) - 1).view(1, *places.shape[1:], 2)
    sure = functional.grid_sample(mask[None, None], grid, mode="bilinear", align_corners=False)[0, 0]
    return smoothstep(sure, 0.1, 0.5)


def _well_exposed(colour: Float[Tensor, "3 H W"]) -> Float[Tensor, "H W"]:
    return smoothstep(colour.amax(0), 0.995, 0.96) * smoothstep(colour.amax(0), 0.03, 0.12)


def _skin_coloured(linear: Float[Tensor, "3 H W"], weight: Tensor, mm: float) -> Float[Tensor, "H W"]:
    """1 where the hue, at a scale of millimetres, is one this face's skin has; 0 on hair, glasses, hands' shadows."""
    local = weighted_blur(linear, weight.clamp_min(1e-3), 1.2 / mm)
    logarithm = torch.log(local + _FLOOR)
    chroma = torch.stack([logarithm[0] - logarithm[1], logarithm[1] - logarithm[2]])
    value = logarithm.mean(0, keepdim=True)
    features = torch.cat([chroma, value * 0.35])
    sample = features[:, weight > 0.5]
    if sample.shape[1] < 100:
        return torch.zeros_like(weight)
    middle = sample.median(1).values
    spread = 1.4826 * (sample - middle[:, None]).abs().median(1).values
    distance = ((features - middle[:, None, None]) / spread.clamp_min(0.06)[:, None, None]).square().sum(0).sqrt()
    return smoothstep(gaussian_blur(distance[None], 0.8 / mm)[0], 5.0, 3.0)


def _light(face: Face, normals: Tensor, luminance: Tensor, weight: Tensor) -> Float[Tensor, "9"]:
    """The Face's own light as luminance, or one fitted to the skin as if it were of one colour."""
    if face.light is not None:
        return _luminance(face.light.T)
    chosen = weight > 0.3
    step = max(int(chosen.sum()) // 4000, 1)
    directions, values = normals[:, chosen][:, ::step].T[None], luminance[chosen][::step][None, :, None]
    trust, light = weight[chosen][::step][None], None
    for _ in range(3):
        light = fit_light(directions, torch.ones_like(values), values, weights=trust, ridge=3e-3)
        error = (values - irradiance_basis(directions) @ light)[..., 0]
        spread = 1.4826 * error.abs().median().clamp_min(1e-4)
        trust = weight[chosen][::step][None] / (1 + (error / (2 * spread)) ** 2)
    assert light is not None
    return light[0, :, 0]


def _luminance(linear: Float[Tensor, "3 *N"]) -> Tensor:
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _shading_and_gradient(normals: Float[Tensor, "3 H W"], light: Float[Tensor, "9"]) -> tuple[Tensor, Tensor]:
    """Shading S of the smooth surface and ∂ log S / ∂ normal."""
    directions = normals.flatten(1).T.clone().requires_grad_()
    with torch.enable_grad():
        value = irradiance_basis(directions) @ light
        (gradient,) = torch.autograd.grad(value.sum(), directions)
    value = value.detach()
    # Where the fitted light says night, little is known and noise would be divided by nothing.
    bright = value.clamp_min(0.25 * float(value.clamp_min(0).mean()) + 1e-4)
    return bright.view(normals.shape[1:]), (gradient / bright[:, None]).T.view_as(normals)


def _achromatic_part(residual: Float[Tensor, "3 H W"]) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """The share of shade in changes of colour, by generalised least squares with pigments as noise; and how much of
    the change, in standard deviations, is of a colour that neither shade nor skin's pigments explain."""
    shade, melanin, blood = (residual.new_tensor(d) for d in (_SHADE, _MELANIN, _BLOOD))
    noise = _PLAIN_SPREAD**2 * torch.eye(3).to(residual)
    noise = noise + _MELANIN_SPREAD**2 * torch.outer(melanin, melanin) + _BLOOD_SPREAD**2 * torch.outer(blood, blood)
    inverse = torch.linalg.inv(noise)
    estimate = inverse @ shade / (shade @ inverse @ shade)
    found = torch.einsum("i,ihw->hw", estimate, residual)
    rest = residual - shade[:, None, None] * found
    chroma = torch.einsum("ihw,ij,jhw->hw", rest, inverse, rest).clamp_min(0).sqrt()
    return found, chroma


def _not_an_edge(shade: Tensor, chroma: Tensor, weight: Tensor, mm: float) -> Float[Tensor, "H W"]:
    strong = gaussian_blur(shade.abs()[None] * weight, 0.8 / mm)[0]
    coloured = gaussian_blur(chroma[None] * weight, 0.8 / mm)[0]
    return smoothstep(strong, 1.5 * _TOO_STRONG, _TOO_STRONG) * smoothstep(coloured, 6.0, 2.5)


def _slopes(surface: TexelSurface, gradient: Float[Tensor, "3 H W"]) -> tuple[Tensor, Tensor]:
    """By how much log shading changes with the displacement's derivatives. A displacement d turns the normal by -∇d,
    the gradient on the surface, which is G⁻¹(d_x, d_y) in the basis along_x, along_y with G their products."""
    x, y = surface.along_x, surface.along_y
    gxx, gxy, gyy = (x * x).sum(0), (x * y).sum(0), (y * y).sum(0)
    on_x, on_y = -(x * gradient).sum(0), -(y * gradient).sum(0)
    determinant = (gxx * gyy - gxy * gxy).clamp_min(1e-4)
    return (gyy * on_x - gxy * on_y) / determinant, (gxx * on_y - gxy * on_x) / determinant


def _noise(pixels: np.ndarray, places: Tensor, weight: Tensor, skin: Tensor) -> float:
    """Standard deviation of log luminance from pixel to pixel on skin, with what JPEG's blocks add."""
    height, width = pixels.shape[:2]
    chosen = skin > 0.5
    x, y = places[:, chosen][:, ::16]
    left, right = (int(v) for v in (x.quantile(0.2).clamp(0, width - 2), x.quantile(0.8).clamp(1, width - 1)))
    top, bottom = (int(v) for v in (y.quantile(0.2).clamp(0, height - 2), y.quantile(0.8).clamp(1, height - 1)))
    if right - left < 24 or bottom - top < 24:
        return 0.05
    cut = torch.from_numpy(np.array(pixels[top:bottom, left:right])).float().mean(-1) / 255
    logarithm = torch.log(srgb_to_linear(cut) + _FLOOR)
    # Immerkær 1996, "Fast noise variance estimation": blind to planes; the median, as skin's own texture has tails.
    kernel = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    grain = 1.4826 * float(functional.conv2d(logarithm[None, None], kernel).abs().median()) / 6
    return grain + max(_blocks(logarithm), _blocks(logarithm.T))


def _blocks(logarithm: Float[Tensor, "h w"]) -> float:
    """How much more log luminance jumps at every eighth column than elsewhere, in the worst of eight places."""
    jump = (logarithm[:, 3:] - 3 * logarithm[:, 2:-1] + 3 * logarithm[:, 1:-2] - logarithm[:, :-3]).abs().mean(0)
    means = torch.stack([jump[k::8].mean() for k in range(8)])
    return float((means.max() - means.median()).clamp_min(0)) / 4
