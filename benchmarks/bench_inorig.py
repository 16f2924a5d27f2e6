"""INORig: a rig from three photos, and a frame of video; ours against the reference's structure, run eagerly.

    python benchmarks/bench_inorig.py [--rounds 3] [--threads 2] [--small]

The face model is a made-up one with the real vertex count and the weights are stand-ins: their values do not matter for
speed. Processor time is what is compared, the two variants in turn, so that other work on the machine matters little.
Ends with the largest memory of the process and what it was before the first rig.

The reference's structure follows the published method step by step, on the same networks and the same fast
rasteriser (the original's takes minutes): batch norms unfolded; features read at every vertex by `grid_sample`, once
for the identity and once for the expression encoder; the nearest vertex of every landmark among all; one scalar energy
over all vertices of the face region, differentiated by autograd with the method's own gradient of sampling. It is our
own writing of that structure, kinder than the original, which was measured at 40 to 45 s of processor time for the same
task on two threads of a busy machine. Both variants must agree, or the benchmark fails.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from likeness.methods.inorig import decoding, descent, observation
from likeness.methods.inorig.energies import FEATURE_WEIGHT, LANDMARK_WEIGHT, PHOTO_WEIGHT
from likeness.methods.inorig.expression import coefficients
from likeness.methods.inorig.frames import FrameInput, solve_frames
from likeness.methods.inorig.illumination import light_basis, outward_normals, solve_light
from likeness.methods.inorig.network import ALBEDO_FEATURES, ALBEDO_SIZES, GEOMETRY_SIZES, InorigNetwork
from likeness.methods.inorig.official_frames import solve_frames_officially
from likeness.methods.inorig.pose import crop_to_pixels, pose_vertices
from likeness.methods.inorig.rig import rig_of
from likeness.methods.inorig.step_sizes import outputs_to_steps
from likeness.methods.inorig.template import Template, build_template
from likeness.methods.inorig.visibility import visible_vertices
from methods.inorig import recorded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="2,173 vertices instead of 53,215")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = {} if options.small else {"rows": 367, "columns": 145}
    template = build_template(recorded.make_face_model(**size))
    crops, landmarks = recorded.crops(), recorded.landmarks()
    ours, plain = recorded.network(), plain_network()
    before = peak_mib()

    def fast():
        seen = observation.observe(ours, crops, landmarks)
        return seen, descent.descend(ours, template, seen, observation.regress_pose(ours, crops))

    def reference():
        return ReferenceStructure(plain, template).solve(crops, landmarks)

    (seen, solution), memory = fast(), peak_mib()
    expected, memory_reference = reference(), peak_mib()
    check_agreement(solution, expected, template)
    times = [(processor_time(fast), processor_time(reference)) for _ in range(options.rounds)]
    report(f"rig from 3 photos, {len(template.mean):,} vertices, {options.threads} threads", times)
    print(
        f"peak memory: {before:.0f} MiB loaded, {memory:.0f} after ours, {memory_reference:.0f} after the reference's"
    )

    rig = rig_of(ours.opt_layer, template, seen, solution)
    code = torch.full((1, 8), 0.05)
    rig.displacement(code)
    each = [processor_time(lambda: rig.displacement(code)) for _ in range(10)]
    print(f"an expression code on a prepared rig: {1e3 * statistics.median(each):.0f} ms of processor time")
    frames = [FrameInput(crop, points) for crop, points in zip(crops, landmarks, strict=True)]
    five = (frames * 2)[:5]
    list(solve_frames(ours, rig, frames))
    each = [processor_time(lambda: list(solve_frames(ours, rig, frames))) / 3 for _ in range(options.rounds)]
    official = [processor_time(lambda: next(solve_frames_officially(ours, rig, five, frames[:1]))) for _ in range(2)]
    report("a frame of video: rig fixed, against solved with five neighbours", list(zip(each, official, strict=False)))


def processor_time(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def report(what: str, times: list[tuple[float, float]]) -> None:
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    print(f"{what}: {ours:.2f} s against {theirs:.2f} s of processor time, {ratio:.1f} times as fast")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plain_network() -> InorigNetwork:
    with torch.device("meta"):
        network = InorigNetwork()
    network.load_state_dict(recorded.state(), assign=True)
    return network.eval()


def check_agreement(solution: descent.Solution, vertices: Tensor, template: Template) -> None:
    moved = float((solution.estimate.object_vertices - template.mean).abs().max())
    apart = float((solution.estimate.object_vertices - vertices).abs().max())
    if apart > 0.02 * moved:
        raise SystemExit(f"the variants disagree: {apart:.0f} µm apart where the face moved {moved:.0f} µm")


class Sample(torch.autograd.Function):
    """`grid_sample` whose gradient in the grid comes from sampled central differences."""

    @staticmethod
    def forward(context, maps: Tensor, grid: Tensor) -> Tensor:
        context.save_for_backward(maps, grid)
        return F.grid_sample(maps, grid, align_corners=True)

    @staticmethod
    def backward(context, *upstream: Tensor):
        maps, grid = context.saved_tensors
        inner_x, inner_y = (maps[..., 2:] - maps[..., :-2]) / 2, (maps[..., 2:, :] - maps[..., :-2, :]) / 2
        along_x = torch.cat([inner_x[..., :1], inner_x, inner_x[..., -1:]], -1)
        along_y = torch.cat([inner_y[..., :1, :], inner_y, inner_y[..., -1:, :]], -2)
        slopes = F.grid_sample(torch.cat([along_x, along_y], 1), grid, align_corners=True)
        by_x, by_y = (upstream[0] * slope for slope in slopes.chunk(2, 1))
        height, width = maps.shape[-2:]
        return None, torch.stack([by_x.sum(1) * (width - 1) / 2, by_y.sum(1) * (height - 1) / 2], -1)


class ReferenceStructure:
    """The descent as published, term by term. Three photos; one person."""

    def __init__(self, network: InorigNetwork, template: Template) -> None:
        self.network, self.layers, self.template = network, network.opt_layer, template

    def solve(self, crops: Tensor, landmarks: Tensor) -> Tensor:
        """Object-space vertices at the end."""
        photos = observation.normalised(crops)
        with torch.no_grad():
            pose = self.network.regressor(photos)
            features = self.layers.rgb_net(photos)[1:]
            self.compared, self.shape = self.layers.fpn(features), self.layers.basis_fpn(features)
            self.tint = self.layers.albedo_fpn(self.layers.albedo_net(photos)[1:])
        self.crops, self.landmarks = crops, landmarks
        vertices = pose_vertices(pose, self.template.mean[None])
        self._look(vertices)
        light = solve_light(self.basis, self.template.albedo, self.seen, self.visible, descent.ambient_light(3))
        base = decoding.Base(torch.zeros_like(self.template.mean), self.template.albedo, decoding.Generators())
        expression = torch.zeros(3, 8)
        for index in range(3):
            level = self._level(index, base, vertices)
            codes = descent.zero_codes(pose, expression)
            state = self._decode(level, codes)
            for step in range(3):
                codes, light, state = self._step(level, state, light, relight=step == 2)
            pose, expression, vertices = codes.pose, codes.expression, state[1].detach()
            base = decoding.Base(state[2].detach(), state[3].detach()[0], state[4].detach())
        return state[5].detach()

    def _grid(self, vertices: Tensor) -> Tensor:
        return (2 * crop_to_pixels(vertices) / 255 - 1)[:, :, None]

    @torch.no_grad()
    def _look(self, vertices: Tensor) -> None:
        template = self.template
        self.not_hidden = visible_vertices(vertices, template.triangles)
        self.visible = self.not_hidden & template.face_region
        self.basis = light_basis(outward_normals(vertices, template.triangles, template.vertex_triangles))
        self.seen = F.grid_sample(self.crops, self._grid(vertices), align_corners=True)[..., 0].mT

    @torch.no_grad()
    def _uv(self, maps: Tensor, size: int, vertices: Tensor) -> Tensor:
        table, outside = self.template.tables[size], ~self.template.face_region
        features = F.grid_sample(maps, self._grid(vertices), align_corners=True)[..., 0]
        features = features * (self.visible | outside)[:, None]
        inputs = torch.cat([features, vertices.mT / 256], 1)
        chosen = inputs[:, :, table.vertices[table.corners]]
        return (chosen * table.weights).sum(-1).unflatten(-1, (size, size))

    @torch.no_grad()
    def _level(self, index: int, base: decoding.Base, vertices: Tensor) -> decoding.Level:
        layers, size = self.layers, GEOMETRY_SIZES[index]
        identity = layers.iden_model.encode(index, self._uv(self.shape[index], size, vertices))
        expression = layers.exp_model.encode(index, self._uv(self.shape[index], size, vertices))
        tint = self._uv(self.tint[ALBEDO_FEATURES[index]], ALBEDO_SIZES[index], vertices)
        albedo = layers.albedo_model.encode(index, tint)
        vector = layers.exp_model.person_vector(expression) if index == 0 else None
        return decoding.Level(index, layers, self.template, base, identity, expression, albedo, vector)

    def _decode(self, level: decoding.Level, codes: decoding.Codes) -> tuple:
        """Fresh codes, posed vertices, displacement, albedo, generators, object-space vertices."""
        fresh = {name: value.detach().clone().requires_grad_() for name, value in vars(codes).items()}
        codes = decoding.Codes(**fresh)
        displacement = level.neutral_displacement(codes.identity)
        generators = level.generators(codes.space)
        mixed = coefficients(generators.weights, codes.expression)
        moved = (mixed @ self.template.expression_basis.T).unflatten(-1, (-1, 3))
        for lower, gates in enumerate(generators.gates, start=1):
            maps = self._gated(gates, codes.expression, 32)
            maps = self.layers.exp_model.get_submodule(f"out_conv_level{lower}")(maps) * 1e4
            moved = moved + self.template.tables[GEOMETRY_SIZES[lower]].gather(maps)
        object_vertices = self.template.mean + displacement + moved
        vertices = pose_vertices(codes.pose, object_vertices)
        albedo, gates = level.albedo(codes.albedo, codes.expression.detach())
        self._look(vertices)
        generators = replace(generators, albedo_gates=gates)
        return codes, vertices, displacement, albedo, generators, object_vertices

    @staticmethod
    def _gated(gates: Tensor, codes: Tensor, width: int) -> Tensor:
        first, second = gates[:32].unflatten(0, (8, 4)), gates[32:].unflatten(0, (4, width))
        hidden = torch.tanh(torch.einsum("be,eayx->bayx", codes, first))
        return torch.tanh(torch.einsum("bayx,acyx->bcyx", hidden, second))

    def _step(self, level: decoding.Level, state: tuple, light: Tensor, *, relight: bool) -> tuple:
        codes, vertices, albedo = state[0], state[1], state[3]
        features, sizes = self._features(level.index, vertices)
        landmarks, offsets = self._landmarks(vertices)
        difference = (albedo * (self.basis @ light) - self.seen) * self.visible[..., None]
        photometric = difference.square().sum(-1).mean()
        energy = FEATURE_WEIGHT * features + LANDMARK_WEIGHT * landmarks + PHOTO_WEIGHT * photometric
        names = ("identity", "space", "albedo", "pose", "expression")
        slopes = dict(zip(names, torch.autograd.grad(energy, [getattr(codes, name) for name in names]), strict=True))
        with torch.no_grad():
            summary = torch.cat([sizes, offsets])[None]
            raw = self.layers.get_submodule(f"step_net{level.index + 2}")(summary)[0]
            tint = self.layers.get_submodule(f"ap_step_net{level.index}")(difference.square().mean((0, 1))[None])[0]
            steps = outputs_to_steps(level.index, raw, tint)
            shares = {"pose": 3, "expression": 3}
            moved = {
                name: getattr(codes, name) - getattr(steps, name) * slope * shares.get(name, 1)
                for name, slope in slopes.items()
            }
        state = self._decode(level, decoding.Codes(**moved))
        if relight:
            light = solve_light(self.basis, state[3].detach(), self.seen, self.visible, light)
        return state[0], light, state

    def _features(self, index: int, vertices: Tensor) -> tuple[Tensor, Tensor]:
        region = self.template.region
        features = Sample.apply(self.compared[index], self._grid(vertices[:, region]))[..., 0].mT
        energies, sizes = [], []
        for i, j in combinations(range(3), 2):
            both = self.visible[i, region] & self.visible[j, region]
            difference = features[i][both] - features[j][both]
            energies.append(difference.square().sum(-1).mean())
            sizes.append(difference.detach().abs().mean(0))
        return torch.stack(energies).mean(), torch.stack(sizes).mean(0)

    @torch.no_grad()
    def _nearest(self, pixels: Tensor) -> Tensor:
        """Each landmark's own vertex, or for the hidden ones of the jaw the nearest visible."""
        distance = (pixels[:, None] - self.landmarks[:, :, None]).norm(dim=-1) + 1e6 * ~self.visible[:, None]
        own = self.template.landmarks.expand(3, -1)
        slides = ~torch.take_along_dim(self.not_hidden, own, 1)
        slides[:, [*range(6, 11), *range(17, 68)]] = False
        return torch.where(slides, distance.argmin(-1), own)

    def _landmarks(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        index = self._nearest(crop_to_pixels(vertices.detach()))
        offsets = torch.take_along_dim(crop_to_pixels(vertices), index[..., None], 1) - self.landmarks
        return offsets.square().sum(-1).mean(), offsets.detach().abs().mean((0, 1)) / 255


if __name__ == "__main__":
    main()
