"""Driving a rig by video frames: expression code and pose of each frame, with the rig fixed.

Our default. The reference never fixes a rig; see `official_frames`. Here a frame's unknowns are its pose (6) and
expression code (8), found by Levenberg–Marquardt on two of the descent's energies: the landmarks, and the distance of
the frame's features to those the rig's photos showed at the same points. Coarse features first, then fine ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.methods.inorig.energies import FEATURE_WEIGHT, LANDMARK_WEIGHT, matched_vertices
from likeness.methods.inorig.illumination import ambient_light, light_basis, outward_normals, solve_light
from likeness.methods.inorig.network import InorigNetwork
from likeness.methods.inorig.observation import normalised, regress_pose
from likeness.methods.inorig.pose import crop_to_pixels, pose_vertices
from likeness.methods.inorig.rig import NeuralRig
from likeness.methods.inorig.sampling import Maps
from likeness.methods.inorig.visibility import visible_vertices
from likeness.solve import Problem, levenberg_marquardt

N_POSE, N_CODE = 6, 8
# Keeps a code that nothing in the frame speaks about at neutral; far below what a visible expression weighs.
_PRIOR = 1e-3
_ITERATIONS = 8
# Slopes that mispredict a step by more than this share of it are measured again; by differences of this size.
_TRUST, _PROBE = 0.3, 1e-3


@dataclass(frozen=True, eq=False)
class FrameInput:
    """A frame's crop (3, 256, 256) in [0, 1] and its landmarks (68, 2) in the crop."""

    crop: Float[Tensor, "3 256 256"]
    landmarks: Float[Tensor, "68 2"]


@dataclass(frozen=True, eq=False)
class FrameSolution:
    """``expression`` and ``pose`` codes, ``light`` in the method's basis, the landmarks' distance in crop pixels."""

    expression: Float[Tensor, " 8"]
    pose: Float[Tensor, " 6"]
    light: Float[Tensor, "9 3"]
    landmarks_px: float


def solve_frames(network: InorigNetwork, rig: NeuralRig, frames: Iterable[FrameInput]) -> Iterator[FrameSolution]:
    """Frames in order, one after the other; each starts from the expression before it."""
    slopes = RigSlopes(rig)
    code = rig.neutral.new_zeros(N_CODE)
    for frame in frames:
        solution = _solve(network, rig, slopes, frame, code)
        code = solution.expression
        yield solution


class RigSlopes:
    """How the rig's points move with the expression code: measured by differences where that is needed, and otherwise
    corrected by how they moved since (Broyden 1965). A rig bends strongly, and measuring costs nine evaluations."""

    def __init__(self, rig: NeuralRig) -> None:
        self._rig = rig
        self._code: Tensor | None = None
        self._here = self._slopes = rig.neutral

    def at(self, code: Float[Tensor, " 8"]) -> Float[Tensor, "8 N 3"]:
        """Displacement (µm) per unit of each number of the code."""
        if self._code is None:
            self._measure(code)
        elif bool((step := code - self._code).any()):
            here = self._rig.displacement(code[None])[0]
            moved = here - self._here
            missed = moved - torch.einsum("e,end->nd", step, self._slopes)
            if float(missed.norm()) > _TRUST * float(moved.norm()):
                self._measure(code)
            else:
                self._slopes = self._slopes + (step / step.square().sum())[:, None, None] * missed
                self._code, self._here = code.clone(), here
        return self._slopes

    def _measure(self, code: Float[Tensor, " 8"]) -> None:
        probes = torch.cat([code[None], code + _PROBE * torch.eye(N_CODE).to(code)])
        moved = self._rig.displacement(probes)
        self._code, self._here, self._slopes = code.clone(), moved[0], (moved[1:] - moved[0]) / _PROBE


@torch.no_grad()
def _solve(
    network: InorigNetwork, rig: NeuralRig, slopes: RigSlopes, frame: FrameInput, code: Float[Tensor, " 8"]
) -> FrameSolution:
    features = network.opt_layer.fpn(network.opt_layer.rgb_net(normalised(frame.crop[None]))[1:])
    x = torch.cat([regress_pose(network, frame.crop[None])[0], code])
    for level, reference in zip((1, 2), rig.appearance.features, strict=True):
        maps = Maps.from_channels(features[level])
        points = _chosen_points(rig, frame, x)
        match = _Match(rig, points, maps, reference[points.seen], frame.landmarks, slopes)
        precision = torch.cat([x.new_zeros(N_POSE), x.new_full((N_CODE,), _PRIOR)])
        problem = Problem(match.residuals, match.linearise, prior_precision=precision)
        x = levenberg_marquardt(problem, x[None], max_iterations=_ITERATIONS, tolerance=1e-4).x[0]
    return _finished(rig, frame, x)


@dataclass(frozen=True, eq=False)
class _Points:
    """The vertices a frame is compared at: first one for each landmark, then those the rig's photos know; ``seen`` are
    the latter's places in the rig's list."""

    vertices: Int[Tensor, " K"]
    seen: Int[Tensor, " M"]
    used: Bool[Tensor, " 68"]


def _chosen_points(rig: NeuralRig, frame: FrameInput, x: Float[Tensor, " 14"]) -> _Points:
    template = rig.template
    vertices = pose_vertices(x[None, :N_POSE], rig.object_vertices(x[None, N_POSE:]))
    not_hidden = visible_vertices(vertices, template.triangles)
    visible = not_hidden & template.face_region
    index, used = matched_vertices(vertices, frame.landmarks[None], template.landmarks, not_hidden, visible)
    seen = visible[0, rig.appearance.vertices].nonzero()[:, 0]
    return _Points(torch.cat([index[0], rig.appearance.vertices[seen]]), seen, used[0])


class _Match:
    """Residuals of a frame at chosen points, weighted like the descent's energies, and their slopes."""

    def __init__(
        self,
        rig: NeuralRig,
        points: _Points,
        maps: Maps,
        reference: Float[Tensor, "M 64"],
        landmarks: Float[Tensor, "68 2"],
        slopes: RigSlopes,
    ) -> None:
        self._rig = _restricted(rig, points.vertices)
        self._maps, self._reference, self._landmarks = maps, reference, landmarks
        self._slopes, self._vertices = slopes, points.vertices
        self._landmark_scale = (LANDMARK_WEIGHT / 68) ** 0.5 * points.used.float()[:, None]
        self._feature_scale = (FEATURE_WEIGHT / max(len(reference), 1)) ** 0.5

    def residuals(self, x: Float[Tensor, "1 14"]) -> Float[Tensor, "1 R"]:
        return self._compare(self._pixels(x, self._object_vertices(x)))

    def linearise(self, x: Float[Tensor, "1 14"]) -> tuple[Float[Tensor, "1 R"], Float[Tensor, "1 R 14"]]:
        vertices = self._object_vertices(x)
        pixels = self._pixels(x, vertices)
        by_pose = torch.func.jacfwd(lambda pose: self._pixels(pose, vertices)[0])(x[:, :N_POSE])[..., 0, :]
        slopes = self._slopes.at(x[0, N_POSE:])[:, self._vertices]
        moved = (self._pixels(x, vertices + slopes) - pixels).permute(1, 2, 0)
        by_x = torch.cat([by_pose, moved], -1)
        landmarks = by_x[:68] * self._landmark_scale[..., None]
        along_x, along_y = self._maps.slopes_at(pixels[:, 68:])
        features = along_x[0, :, :, None] * by_x[68:, None, 0] + along_y[0, :, :, None] * by_x[68:, None, 1]
        jacobian = torch.cat([landmarks.flatten(0, 1), features.flatten(0, 1) * self._feature_scale])
        return self._compare(pixels), jacobian[None]

    def _object_vertices(self, x: Tensor) -> Float[Tensor, "1 K 3"]:
        return self._rig.object_vertices(x[:, N_POSE:])

    def _pixels(self, x: Tensor, vertices: Float[Tensor, "B K 3"]) -> Float[Tensor, "B K 2"]:
        # The camera is linear in the vertices, so that moving them by a slope gives the pixels' slope exactly.
        return crop_to_pixels(pose_vertices(x[:, :N_POSE], vertices))

    def _compare(self, pixels: Float[Tensor, "1 K 2"]) -> Float[Tensor, "1 R"]:
        landmarks = (pixels[0, :68] - self._landmarks) * self._landmark_scale
        features = (self._maps.at(pixels[:, 68:])[0] - self._reference) * self._feature_scale
        return torch.cat([landmarks.flatten(), features.flatten()])[None]


def _restricted(rig: NeuralRig, vertices: Int[Tensor, " K"]) -> NeuralRig:
    """The rig as it moves some of its vertices only."""
    template = rig.template
    tables = {size: replace(table, grid=table.grid[:, vertices]) for size, table in template.tables.items()}
    basis = template.expression_basis.unflatten(0, (-1, 3))[vertices].flatten(0, 1)
    return replace(
        rig,
        neutral=rig.neutral[vertices],
        base_albedo=rig.base_albedo[vertices],
        template=replace(template, expression_basis=basis, tables=tables),
    )


def _finished(rig: NeuralRig, frame: FrameInput, x: Float[Tensor, " 14"]) -> FrameSolution:
    """The frame's light, and how well the landmarks are met."""
    template, pose, code = rig.template, x[None, :N_POSE], x[None, N_POSE:]
    vertices = pose_vertices(pose, rig.object_vertices(code))
    found = crop_to_pixels(vertices[:, template.landmarks])[0]
    light = light_of(rig, frame.crop, vertices, rig.albedo(code))
    off = float((found - frame.landmarks).square().sum(-1).mean().sqrt())
    return FrameSolution(code[0], pose[0], light, off)


def light_of(
    rig: NeuralRig,
    crop: Float[Tensor, "3 256 256"],
    vertices: Float[Tensor, "1 N 3"],
    albedo: Float[Tensor, "1 N 3"],
    previous: Float[Tensor, "1 9 3"] | None = None,
) -> Float[Tensor, "9 3"]:
    """The light that makes the rig's albedo look like a frame."""
    template = rig.template
    basis = light_basis(outward_normals(vertices, template.triangles, template.vertex_triangles))
    visible = visible_vertices(vertices, template.triangles) & template.face_region
    seen = Maps.from_channels(crop[None]).at(crop_to_pixels(vertices))
    previous = ambient_light(1).to(vertices) if previous is None else previous
    return solve_light(basis, albedo, seen, visible, previous)[0]
