"""Deep3D: how fast R-Net runs, and whether weighted photos of one person beat plain averaging.

    python benchmarks/bench_deep3d.py speed [--threads 2] [--rounds 20] [--variant pytorch]
    python benchmarks/bench_deep3d.py sets  [--train 1500] [--sets 200]

No licensed file is needed. ``speed`` uses random weights: the plain network, run eagerly, and Likeness' runner take
turns on the same crops, so that a busy machine slows both.

``sets`` has no official R-Net to ask, so it trains a stand-in: ridge regression from small crops of rendered synthetic
faces to identity coefficients and pose, with all faults a photo can have in its training. Its errors are real ones,
of a regressor that saw the picture. Held-out people are then photographed several times each, with random faults, and
their identities averaged, plainly and with the weights of `likeness.methods.deep3d.aggregation`, which got neither the
truth nor which fault a photo has. Errors are of the shape, in mm, over all vertices.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from likeness.methods.deep3d.aggregation import Confidence, aggregate, confidence
from likeness.methods.deep3d.coefficients import Coefficients
from likeness.methods.deep3d.decoder import DecodedFace, Decoder
from likeness.methods.deep3d.inference import RNetRunner
from likeness.methods.deep3d.networks import RNet, to_input
from likeness.methods.deep3d.rendering import render_face
from synthetic_bfm import front_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("--threads", type=int, default=2)
    speed.add_argument("--rounds", type=int, default=20)
    speed.add_argument("--variant", choices=("pytorch", "tensorflow"), default="pytorch")
    sets = commands.add_parser("sets")
    sets.add_argument("--train", type=int, default=1500)
    sets.add_argument("--sets", type=int, default=200)
    sets.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "speed":
        measure_speed(arguments.threads, arguments.rounds, arguments.variant)
    else:
        compare_sets(arguments.train, arguments.sets, arguments.seed)


# ---------------------------------------------------------------------------- speed


def measure_speed(threads: int, rounds: int, variant: str) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = RNet(variant).eval().requires_grad_(False)
    runners = {"float32": RNetRunner(network), "bfloat16": RNetRunner(network, precision="bfloat16")}
    print(f"R-Net ({variant}), {threads} threads, {rounds} rounds in turns; torch {torch.__version__}")
    for batch in (1, 4, 8):
        crops = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8)

        @torch.no_grad()
        def plain(crops=crops) -> Tensor:
            return network(to_input(crops, network.variant))

        ways = {"plain": plain} | {name: lambda r=r, crops=crops: r(crops) for name, r in runners.items()}
        expected = plain()
        wall: dict[str, list[float]] = {name: [] for name in ways}
        processor: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                start, used = time.perf_counter(), time.process_time()
                way()
                wall[name].append(1e3 * (time.perf_counter() - start) / batch)
                processor[name].append(1e3 * (time.process_time() - used) / batch)
        for name, way in ways.items():
            difference = float((way() - expected).abs().max() / expected.std())
            ratio = statistics.median(a / b for a, b in zip(wall["plain"], wall[name], strict=True))
            used = statistics.median(a / b for a, b in zip(processor["plain"], processor[name], strict=True))
            line = f"{statistics.median(wall[name]):6.1f} ms an image (best {min(wall[name]):.1f}), {ratio:.2f} times"
            print(f"  batch {batch} {name:<9}{line} as fast ({used:.2f} by processor time), off by {difference:.1e} σ")


# ---------------------------------------------------------------------------- sets

# The stand-in regressor sees this few pixels and predicts this many coefficients; the others stay zero for everyone.
_SMALL = 32
_N_PREDICTED = 10
_PHOTOS = 5
# Units in which the regressor predicts pose: radians and decimetres.
_ANGLE, _SHIFT = 0.3, 0.1
FAULTS = ("none", "pose", "blur", "resolution", "occlusion", "alignment")


@dataclass(frozen=True, eq=False)
class Shots:
    """Photos of people: crops as a camera and an alignment would give them, and what was true."""

    crops: Tensor
    targets: Tensor
    scale: Tensor
    detected: Tensor
    fault: list[str]


def compare_sets(n_train: int, n_sets: int, seed: int) -> None:
    decoder = Decoder(front_model())
    generator = torch.Generator().manual_seed(seed)
    people = torch.randn(n_train, _N_PREDICTED, generator=generator)
    train = photograph(decoder, people, generator)
    regress = ridge(features(train.crops), train.targets)
    # Other people than in training.
    people = torch.randn(n_sets, _N_PREDICTED, generator=generator)
    test = photograph(decoder, people.repeat_interleave(_PHOTOS, 0), generator)
    predicted = regress(features(test.crops))
    judged = judge(decoder, test, predicted)
    identities = predicted[:, :_N_PREDICTED].unflatten(0, (n_sets, _PHOTOS))
    report(decoder, people, identities, judged, test.fault)


def photograph(decoder: Decoder, identity: Tensor, generator: torch.Generator) -> Shots:
    """One crop for each row of identity, each with a fault drawn at random."""
    crops, poses, scales, detected, faults = [], [], [], [], []
    for row in identity:
        fault = FAULTS[int(torch.randint(len(FAULTS), (1,), generator=generator))]
        coefficients = draw_coefficients(row, fault, generator)
        face = decoder.decode(coefficients)
        image, scale = spoil(draw(decoder, face), fault, generator)
        crops.append(image[0])
        poses.append(torch.cat([coefficients.angles[0] / _ANGLE, coefficients.translation[0] / _SHIFT]))
        scales.append(scale)
        # A detector's noise, and what a bad alignment does not hide from it.
        detected.append(face.landmarks[0] + torch.randn(68, 2, generator=generator))
        faults.append(fault)
    targets = torch.cat([identity, torch.stack(poses)], 1)
    return Shots(torch.stack(crops), targets, torch.tensor(scales), torch.stack(detected), faults)


def draw_coefficients(identity: Tensor, fault: str, generator: torch.Generator) -> Coefficients:
    def normal(n: int, deviation: float) -> Tensor:
        return torch.randn(1, n, generator=generator) * deviation

    full = torch.zeros(1, 80)
    full[0, : len(identity)] = identity
    angles = normal(3, 0.08)
    if fault == "pose":
        side = 1.0 if float(torch.rand(1, generator=generator)) < 0.5 else -1.0
        angles[0, 1] = side * (0.6 + 0.5 * float(torch.rand(1, generator=generator)))
    translation = normal(3, 0.02)
    if fault == "alignment":
        translation[0, :2] += normal(2, 0.15)[0]
    light = normal(27, 0.05)
    light[0, [2, 11, 20]] += 0.25
    return Coefficients(full, normal(64, 0.4), normal(80, 0.5), angles, light, translation)


@torch.no_grad()
def draw(decoder: Decoder, face: DecodedFace) -> Tensor:
    """(1, 3, 224, 224) the face over an even grey."""
    image, mask = render_face(face.world, face.colour, decoder.triangles)
    image = image.clamp(0, 1) * mask[..., None] + 0.5 * (1 - mask[..., None])
    return image.permute(0, 3, 1, 2)


def spoil(image: Tensor, fault: str, generator: torch.Generator) -> tuple[Tensor, float]:
    """The photo with its fault, and crop pixels per photo pixel. Every photo has a little sensor noise."""
    scale = 0.8
    strength = float(torch.rand(1, generator=generator))
    if fault == "blur":
        kernel = 2 * int(4 + 6 * strength) + 1
        image = F.avg_pool2d(image, kernel, 1, kernel // 2, count_include_pad=False)
    elif fault == "resolution":
        side = int(16 + 20 * strength)
        small = F.interpolate(image, size=(side, side), mode="area")
        small = small + 0.02 * torch.randn(small.shape, generator=generator)
        image, scale = F.interpolate(small, size=(224, 224), mode="bicubic", antialias=True), 224 / side
    elif fault == "occlusion":
        image = image.clone()
        top, left = (int(v) for v in torch.randint(30, 120, (2,), generator=generator))
        size = int(50 + 40 * strength)
        image[..., top : top + size, left : left + size] = torch.rand(3, 1, 1, generator=generator)
    return (image + 0.01 * torch.randn(image.shape, generator=generator)).clamp(0, 1), scale


def features(crops: Tensor) -> Tensor:
    """Small grey pictures as rows, each less its mean."""
    small = F.interpolate(crops.mean(1, keepdim=True), size=(_SMALL, _SMALL), mode="area").flatten(1)
    return small - small.mean(1, keepdim=True)


def ridge(x: Tensor, y: Tensor):
    """Ridge regression, its penalty chosen on a fifth of the training set."""
    n = len(x) * 4 // 5
    penalties = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    errors = [float((_solve(x[:n], y[:n], p)(x[n:]) - y[n:]).square().mean()) for p in penalties]
    best = penalties[int(np.argmin(errors))]
    print(f"stand-in regressor: penalty {best}, mean squared error {min(errors):.3f} on held-out training people")
    return _solve(x, y, best)


def _solve(x: Tensor, y: Tensor, penalty: float):
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred.T @ centred + penalty * torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, centred.T @ (y - mean_y))
    return lambda z: (z - mean_x) @ weights + mean_y


@torch.no_grad()
def judge(decoder: Decoder, shots: Shots, predicted: Tensor) -> Confidence:
    """The weights Likeness gives: from the picture and from what was predicted of it, not from the truth."""
    parts: dict[str, list[Tensor]] = {"pose": [], "resolution": [], "sharpness": [], "occlusion": [], "landmarks": []}
    for k in range(len(predicted)):
        full = torch.zeros(1, 80)
        full[0, :_N_PREDICTED], pose = predicted[k, :_N_PREDICTED], predicted[k : k + 1, _N_PREDICTED:]
        # Albedo and expression are not predicted: the average ones, in the average light.
        light = torch.zeros(1, 27)
        light[0, [2, 11, 20]] = 0.25
        angles, translation = pose[:, :3] * _ANGLE, pose[:, 3:] * _SHIFT
        coefficients = Coefficients(full, torch.zeros(1, 64), torch.zeros(1, 80), angles, light, translation)
        face = decoder.decode(coefficients)
        image, mask = render_face(face.world, face.colour, decoder.triangles)
        found = confidence(
            crops=shots.crops[k : k + 1],
            rendering=image.permute(0, 3, 1, 2),
            mask=mask,
            angles=angles,
            scale=shots.scale[k : k + 1],
            predicted=face.landmarks,
            detected=shots.detected[k : k + 1],
        )
        for name, values in parts.items():
            values.append(getattr(found, name))
    return Confidence(**{name: torch.cat(values) for name, values in parts.items()})


def report(decoder: Decoder, people: Tensor, predicted: Tensor, judged: Confidence, faults: list[str]) -> None:
    n_sets = len(people)
    basis = torch.from_numpy(decoder.front.model.identity_basis[..., :_N_PREDICTED]) * 100

    def millimetres(found: Tensor) -> Tensor:
        offsets = torch.einsum("vck,nk->nvc", basis, found - people)
        return offsets.square().sum(-1).mean(1).sqrt()

    weights = judged.total.unflatten(0, (n_sets, _PHOTOS))
    plain = millimetres(predicted.mean(1))
    weighted = millimetres(torch.stack([aggregate(a, w[:, None]) for a, w in zip(predicted, weights, strict=True)]))
    alone = [float(error) for k in range(_PHOTOS) for error in millimetres(predicted[:, k])]
    # In the order of the photos: person by person.
    alone = torch.tensor(alone).reshape(_PHOTOS, n_sets).T.flatten().tolist()
    print(f"{n_sets} people, {_PHOTOS} photos each")
    for fault in FAULTS:
        chosen = [k for k, each in enumerate(faults) if each == fault]
        error = statistics.mean(alone[k] for k in chosen)
        trust = float(judged.total[chosen].mean())
        print(f"  photos with fault {fault:<11} {len(chosen):4d}: error alone {error:.2f} mm, weight {trust:.2f}")
    gain = plain - weighted
    resampled = gain[torch.randint(n_sets, (2000, n_sets), generator=torch.Generator().manual_seed(0))].mean(1)
    low, high = resampled.quantile(torch.tensor([0.025, 0.975])).tolist()
    print(f"  plain mean     {plain.mean():.3f} mm")
    print(f"  weighted mean  {weighted.mean():.3f} mm, better in {float((gain > 0).float().mean()):.0%} of the sets")
    print(f"  gain {gain.mean():.3f} mm, 95 % interval [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
