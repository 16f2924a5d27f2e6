"""One person's identity from one or several photos: their landmarks, and the light on the skin.

Every photo i adds, for each vertex v of smooth skin that it shows, the residual

    log(B(n_v) . l_i) + sum_k a_k wave_k(v) - log Y_i(x_v),

B the irradiance basis of the normal, l_i the nine numbers of the photo's light, a the albedo that all photos share, x_v
where the vertex is seen and Y_i the photo's luminance, blurred. The identity moves normals and places; light and albedo
are solved for with it. Pose and expression are those of the landmarks in this term, and free in the landmarks' own.

Several lights and views of one skin tell it from light and shape; one photo alone does so badly, and only a share of
its answer is taken. Vertices count alike, so the finely meshed nose, eyes and mouth count more than wide, even cheeks,
where a wrong light looks like shape: weighting by area was measured to undo the gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import grid_sample

from likeness.devices import one_thread
from likeness.lighting import irradiance_basis, irradiance_slopes, srgb_to_linear
from likeness.methods.open.fit import solve_landmarks
from likeness.methods.open.objective import POSE, LandmarkObjective
from likeness.methods.open.skin_surface import SkinSurface, skin_surface
from likeness.methods.protocol import Photo
from likeness.render import rasterize
from likeness.solve import GemanMcClure, levenberg_marquardt

# Noise of log luminance, and beyond how much of it something is not skin: hair, glasses, gloss, cast shadows.
_NOISE, _OUTLIER = 0.04, 0.15
_ALBEDO_SPREAD = 0.3
_LIGHT_PRECISION = 1e-2
_BLUR_MM, _LEAST_BLUR_PX = 2.0, 1.0
_DARKEST = 0.01
# Least cosine between normal and camera axis, and how far behind the visible surface a vertex may lie, mm.
_FACING, _BEHIND_MM = 0.3, 4.0
_MARGIN_MM = 15.0
_LUMINANCE = (0.2, 0.7, 0.1)
_ITERATIONS, _TOLERANCE = 25, 1e-4
# One photo alone mistakes skin and light for shape: this share of its answer is best.
_TRUST_ALONE = 0.4
# Root mean square, somewhat more than identities differ: what shading moves farther, it has misread.
_FARTHEST = 1.3


def shaded_identity(objective: LandmarkObjective, photos: Sequence[Photo]) -> Float[Tensor, " I"]:
    """The identity of the person in the photos, in whose order ``objective`` is the energy of the landmarks.

    Photos that show fewer than a hundred of the skin's vertices add nothing but their landmarks.
    """
    x, _ = solve_landmarks(objective)
    identity, private = objective.split(x)
    views = [view_of(objective, identity, private, i, photo) for i, photo in enumerate(photos)]
    with one_thread():
        together = ShadedObjective(objective, [view for view in views if len(view.shown) >= 100])
        start = together.initial(x)
        solution = levenberg_marquardt(together, start, max_iterations=_ITERATIONS, tolerance=_TOLERANCE)
    step = together.split(solution.x)[0][0, : len(identity)] - identity
    step = step * (_TRUST_ALONE if len(together.views) == 1 else 1.0)
    return identity + step * (_FARTHEST / step.square().mean().sqrt().clamp_min(1e-9)).clamp_max(1.0)


@dataclass(frozen=True, eq=False)
class ShadedView:
    """What one photo has to say.

    ``rest`` is the average person with the photo's expression. ``rotation``, ``position`` (px), ``scale`` (px/mm),
    ``distance`` (mm) and ``centre`` (px) are `LandmarkObjective`'s camera in pixels of ``picture``: log luminance and
    its slopes across and down. ``shown`` are the rows of the surface's seen vertices that the photo shows.
    """

    surface: SkinSurface
    rest: Float[Tensor, "U 3"]
    rotation: Float[Tensor, "3 3"]
    position: Float[Tensor, " 2"]
    scale: Float[Tensor, ""]
    distance: Float[Tensor, ""]
    centre: Float[Tensor, " 2"]
    picture: Float[Tensor, "3 h w"]
    shown: Int[Tensor, " M"]

    @cached_property
    def waves(self) -> Float[Tensor, "M K"]:
        return self.surface.waves[self.shown]

    def residuals(
        self, identity: Float[Tensor, " I"], light: Float[Tensor, " 9"], albedo: Float[Tensor, " K"]
    ) -> Float[Tensor, " M"]:
        points = self.surface.points(self.rest, identity)
        normals = self.surface.normals(points)[self.shown] @ self.rotation.T
        brightness = self._photographed(self.project(points[self.surface.seen[self.shown]])[0])[0]
        return _log_shading(normals, light)[0] + self.waves @ albedo - brightness

    def linearise(
        self, identity: Float[Tensor, " I"], light: Float[Tensor, " 9"], albedo: Float[Tensor, " K"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M Q"]]:
        """Residuals, and their derivatives by identity, light and albedo in this order."""
        points = self.surface.points(self.rest, identity)
        normals, slopes = self.surface.normals_with_slopes(points)
        normals, slopes = normals[self.shown] @ self.rotation.T, self.rotation @ slopes[self.shown]
        rows = self.surface.seen[self.shown]
        pixels, ratio = self.project(points[rows])
        brightness, across, down = self._photographed(pixels)
        log_shading, shade = _log_shading(normals, light)
        by_normal = torch.einsum("mbi,b->mi", irradiance_slopes(normals), light) / shade[:, None]
        turned = self.rotation @ self.surface.identity[rows]
        in_depth = (pixels - self.centre)[..., None] * turned[:, 2:] / self.distance
        by_pixel = (self.scale * turned[:, :2] - in_depth) / ratio[..., None]
        by_identity = (
            (by_normal[:, None] @ slopes)[:, 0] - across[:, None] * by_pixel[:, 0] - down[:, None] * by_pixel[:, 1]
        )
        residuals = log_shading + self.waves @ albedo - brightness
        return residuals, torch.cat([by_identity, irradiance_basis(normals) / shade[:, None], self.waves], 1)

    def project(self, points: Float[Tensor, "P 3"]) -> tuple[Float[Tensor, "P 2"], Float[Tensor, "P 1"]]:
        """Pixels of ``picture``, and the distance from the camera in units of the origin's."""
        turned = points @ self.rotation.T
        ratio = 1 + turned[:, 2:] / self.distance
        return self.centre + (self.scale * turned[:, :2] + self.position - self.centre) / ratio, ratio

    def first_light(self, identity: Float[Tensor, " I"]) -> Float[Tensor, " 9"]:
        """The light that explains the photo best on skin of one colour: robust, weighted for logarithms."""
        points = self.surface.points(self.rest, identity)
        basis = irradiance_basis(self.surface.normals(points)[self.shown] @ self.rotation.T)
        brightness = self._photographed(self.project(points[self.surface.seen[self.shown]])[0])[0]
        ridge = 1e-3 * len(basis) * torch.diag(torch.tensor([0.0] + [0.05] * 3 + [1.0] * 5))
        weights, light = torch.exp(-brightness), torch.zeros(9)
        for _ in range(4):
            weighted = basis * weights[:, None]
            light = torch.linalg.solve(weighted.T @ weighted + ridge, weighted.T @ (torch.exp(brightness) * weights))
            error = ((basis @ light).clamp_min(_DARKEST).log() - brightness) / _OUTLIER
            weights = torch.exp(-brightness) / (1 + error.square())
        return light

    def _photographed(self, pixels: Float[Tensor, "M 2"]) -> Float[Tensor, "3 M"]:
        height, width = self.picture.shape[1:]
        grid = 2 * pixels / pixels.new_tensor([width, height]) - 1
        return grid_sample(self.picture[None], grid[None, None], align_corners=False, padding_mode="border")[0, :, 0]


@dataclass(frozen=True, eq=False)
class ShadedObjective:
    """An `Objective`: the landmarks' unknowns, then each view's light (9), then the albedo's waves (K)."""

    landmarks: LandmarkObjective
    views: Sequence[ShadedView]

    @property
    def lower(self) -> Float[Tensor, " P"]:
        return torch.cat([self.landmarks.lower, torch.full((self._n_own,), -1e9)])

    @property
    def upper(self) -> Float[Tensor, " P"]:
        return torch.cat([self.landmarks.upper, torch.full((self._n_own,), 1e9)])

    def initial(self, x: Float[Tensor, "1 P"]) -> Float[Tensor, "1 Q"]:
        """The landmarks' solution, and the lights that go with it on skin of one colour."""
        identity = self.landmarks.split(x)[0]
        lights = [view.first_light(identity) for view in self.views]
        return torch.cat([x[0], *lights, torch.zeros(self._n_waves)])[None]

    def split(self, x: Float[Tensor, "1 Q"]) -> tuple[Float[Tensor, "1 P"], Float[Tensor, "n 9"], Float[Tensor, " K"]]:
        """The landmarks' unknowns, the lights and the albedo."""
        first = len(self.landmarks.lower)
        lights, albedo = x[0, first:].split([9 * len(self.views), self._n_waves])
        return x[:, :first], lights.reshape(-1, 9), albedo

    def value(self, x: Float[Tensor, "1 Q"]) -> Float[Tensor, " 1"]:
        own, lights, albedo = self.split(x)
        identity = self.landmarks.split(own)[0]
        total = self.landmarks.value(own)
        for view, light in zip(self.views, lights, strict=True):
            residuals = view.residuals(identity, light, albedo) / _NOISE
            total = total + _ROBUST.loss(residuals.square()).sum()
        return total + (self._own_precision() * x[0, own.shape[1] :].square()).sum()

    def normal_equations(self, x: Float[Tensor, "1 Q"]) -> tuple[Float[Tensor, "1 Q Q"], Float[Tensor, "1 Q"]]:
        own, lights, albedo = self.split(x)
        identity, first = self.landmarks.split(own)[0], own.shape[1]
        hessian, gradient = x.new_zeros(x.shape[1], x.shape[1]), x.new_zeros(x.shape[1])
        of_landmarks, pull = self.landmarks.normal_equations(own)
        hessian[:first, :first], gradient[:first] = of_landmarks[0], pull[0]
        of_albedo = torch.arange(x.shape[1] - self._n_waves, x.shape[1])
        for i, (view, light) in enumerate(zip(self.views, lights, strict=True)):
            residuals, jacobian = view.linearise(identity, light, albedo)
            residuals, jacobian = residuals / _NOISE, jacobian / _NOISE
            weighted = jacobian * _ROBUST.weight(residuals.square())[:, None]
            of_light = first + 9 * i + torch.arange(9)
            rows = torch.cat([torch.arange(len(identity)), of_light, of_albedo])
            hessian[rows[:, None], rows] += weighted.T @ jacobian
            gradient[rows] += weighted.T @ residuals
        precision = self._own_precision()
        hessian.diagonal()[first:].add_(precision)
        gradient[first:] += precision * x[0, first:]
        return hessian[None], gradient[None]

    @property
    def _n_waves(self) -> int:
        return skin_surface().waves.shape[1]

    @property
    def _n_own(self) -> int:
        return 9 * len(self.views) + self._n_waves

    def _own_precision(self) -> Float[Tensor, " R"]:
        lights = torch.full((9 * len(self.views),), _LIGHT_PRECISION)
        return torch.cat([lights, torch.full((self._n_waves,), _ALBEDO_SPREAD**-2)])


_ROBUST = GemanMcClure(_OUTLIER / _NOISE)


def view_of(
    objective: LandmarkObjective,
    identity: Float[Tensor, " I"],
    private: Float[Tensor, "n S"],
    index: int,
    photo: Photo,
) -> ShadedView:
    """The photo about the face, as the landmarks' solution sees it."""
    surface = skin_surface()
    rotation, position, scale, distance = (each[index] for each in objective.camera(private))
    rest = surface.mean + surface.expression @ private[index, POSE : POSE + objective.model.n_expression]
    view = ShadedView(
        surface, rest, rotation, position, scale, distance, objective.seen.centre[index],
        picture=torch.empty(3, 0, 0), shown=surface.seen.new_empty(0),
    )  # fmt: skip
    return _shown(_with_picture(view, identity, photo.pixels), identity)


def _with_picture(view: ShadedView, identity: Tensor, pixels: np.ndarray) -> ShadedView:
    """Cut the photo to the face, blur it, and keep a pixel for about half a blur's width."""
    places = view.project(view.surface.points(view.rest, identity))[0].numpy()
    margin = _MARGIN_MM * float(view.scale)
    height, width = pixels.shape[:2]
    low = np.floor(places.min(axis=0) - margin).astype(int).clip(0, [width - 1, height - 1])
    high = np.ceil(places.max(axis=0) + margin).astype(int).clip(low + 1, [width, height])
    blur = max(_BLUR_MM * float(view.scale), _LEAST_BLUR_PX)
    step = max(1, int(blur / 4))
    linear = srgb_to_linear(torch.from_numpy(pixels[low[1] : high[1], low[0] : high[0]].copy()).float() / 255)
    luminance = _block_means((linear @ torch.tensor(_LUMINANCE)).numpy(), step)
    logs = np.log(gaussian_filter(luminance, blur / step) + _DARKEST)
    down, across = (np.gradient(logs, axis=axis) if logs.shape[axis] > 1 else np.zeros_like(logs) for axis in (0, 1))
    offset = torch.from_numpy(low).float()
    return replace(
        view,
        position=(view.position - offset) / step,
        scale=view.scale / step,
        centre=(view.centre - offset) / step,
        picture=torch.from_numpy(np.stack([logs, across, down])).float(),
    )


def _block_means(values: np.ndarray, step: int) -> np.ndarray:
    """Means of step × step blocks; what is left over at the far edges repeats the edge."""
    height, width = (-(-side // step) * step for side in values.shape)
    full = np.pad(values, ((0, height - values.shape[0]), (0, width - values.shape[1])), mode="edge")
    return full.reshape(height // step, step, width // step, step).mean(axis=(1, 3))


def _shown(view: ShadedView, identity: Tensor) -> ShadedView:
    """Keep the vertices that face the camera, lie within the photo, and have nothing of the head before them."""
    surface = view.surface
    points = surface.points(view.rest, identity)
    pixels, ratio = view.project(points)
    depth = ratio * view.distance
    size = view.picture.shape[1], view.picture.shape[2]
    fragments = rasterize(torch.cat([pixels, depth], 1)[None], surface.triangles, size, perspective=True)
    pixels, depth = pixels[surface.seen], depth[surface.seen, 0]
    column, row = pixels.floor().long().unbind(1)
    inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    nearest = fragments.depth[0][row.clamp(0, size[0] - 1), column.clamp(0, size[1] - 1)]
    facing = -(surface.normals(points) @ view.rotation.T)[:, 2]
    shown = inside & (depth < nearest + _BEHIND_MM) & (facing > _FACING)
    return replace(view, shown=torch.nonzero(shown)[:, 0])


def _log_shading(normals: Float[Tensor, "M 3"], light: Float[Tensor, " 9"]) -> tuple[Tensor, Tensor]:
    shade = (irradiance_basis(normals) @ light).clamp_min(_DARKEST)
    return shade.log(), shade
