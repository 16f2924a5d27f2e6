"""FaceScape: our fit beside the release's, and the generator beside the plain network.

    python benchmarks/bench_facescape.py [--predef FOLDER] [--rounds 5] [--threads 2]

Fit: `fit_landmarks` against `fit_as_released` (the release's optimisers, limits and forward differences; less than
the release itself does, which also multiplies out the whole mesh at every evaluation), on landmarks drawn from the
stand-in model with a third of a pixel of noise. With ``--predef``, FaceScape's published tables under a full-size
stand-in of the model; without, the tiny model of the tests.

Generator: one picture of 1024² through the plain float32 network, through `FastGenerator`, and through channels-last
with bfloat16 autocast, with the largest and the mean difference of the displacement. Weights are stand-ins.

Both sides of a comparison run in turns, so that what else the machine does falls on both. "wall" is the median of the
ratios of neighbouring runs, "work" the same of processor time, which hardly minds neighbours; the times are the best
of all runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import standin
import synthetic_facescape
from likeness.heads.facescape import FaceScapeHead, facescape_head
from likeness.heads.facescape_files import TABLE_FILES, read_core, read_factors, read_tables
from likeness.methods.facescape.displacement import REACH_MM
from likeness.methods.facescape.fast_generator import FastGenerator
from likeness.methods.facescape.fit import fit_landmarks
from likeness.methods.facescape.generator import DisplacementGenerator
from likeness.methods.facescape.landmark_model import LandmarkModel
from likeness.methods.facescape.official_fit import fit_as_released
from likeness.methods.facescape.pose import Pose

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predef", type=Path, help="the predef folder of FaceScape's release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["fit", "generator"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only != "generator":
        bench_fit(options.predef, options.rounds)
    if options.only != "fit":
        bench_generator(options.rounds)


def bench_fit(predef: Path | None, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        head = stand_in_head(Path(folder), predef)
        model = LandmarkModel.from_head(head)
        for seed, yaw in enumerate((0.05, 0.25, -0.4)):
            landmarks = drawn_landmarks(model, seed, yaw)
            runs: list[Run] = [
                lambda lm=landmarks: fit_as_released(model, lm),
                lambda lm=landmarks: fit_landmarks(model, lm),
            ]
            print(f"fit, yaw {yaw:+.2f}:  {report(runs, rounds, ('as released', 'ours'))}")
            official, ours = (run() for run in runs)
            print(f"    energy {official.energy:.1f} as released, {ours.energy:.1f} ours")  # type: ignore[attr-defined]


def stand_in_head(folder: Path, predef: Path | None) -> FaceScapeHead:
    if predef is None:
        tables = read_tables(synthetic_facescape.write_tiny_model(folder))
    else:
        tables = read_tables({name: predef / filename for name, (filename, _) in TABLE_FILES.items()})
        synthetic_facescape.write_full_model(folder, tables)
    core, factors = read_core(folder / "core_847_50_52.npy"), read_factors(folder / "factors_id_847_50_52.npy")
    return facescape_head(core, factors, tables)


def drawn_landmarks(model: LandmarkModel, seed: int, yaw: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    factors = rng.normal(model.identity_mean, np.sqrt(model.identity_variance))
    weights = model.prior.means[seed % len(model.prior.means)].clip(0, 1)
    pose = Pose(2.0, np.array([300.0, 300.0]), np.array([0.05, yaw, 0.02]))
    positions = model.positions(factors, weights)
    vertices = model.slide_contour(model.start_landmarks, pose.project, positions)
    points = pose.project(positions[np.searchsorted(model.candidates, vertices)])
    return np.rint(points + rng.normal(0, 0.33, points.shape))


def bench_generator(rounds: int) -> None:
    plain = standin.fill(DisplacementGenerator(3), "facescape").eval().requires_grad_(False)
    began = time.perf_counter()
    fast = FastGenerator(plain)
    print(f"generator: prepared in {time.perf_counter() - began:.1f} s, once for all pictures")
    half = DisplacementGenerator(3).to(memory_format=torch.channels_last).requires_grad_(False)
    half.load_state_dict(plain.state_dict())
    row, column = np.mgrid[:1024, :1024] / 1024
    picture = np.stack([np.sin(9 * row + 5 * column + phase) * np.cos(40 * column * row) for phase in (0, 1, 2)])
    x = torch.from_numpy(picture).float()[None]

    def bfloat16() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return half(x.contiguous(memory_format=torch.channels_last)).float()

    def eager() -> torch.Tensor:
        with torch.inference_mode():
            return plain(x)

    expected = eager()
    for name, run in (("fast", lambda: fast(x)), ("bfloat16", bfloat16)):
        difference = (run() - expected).abs() * REACH_MM
        print(f"generator, 1024²:  {report([eager, run], rounds, ('plain float32', name))}")
        print(f"    displacement differs by {difference.max():.5f} mm at most, {difference.mean():.5f} mm on average")


def report(runs: list[Run], rounds: int, names: tuple[str, str]) -> str:
    walls, works = [], []
    for _ in range(rounds):
        measured = [timed(run) for run in runs]
        walls.append([wall for wall, _ in measured])
        works.append([work for _, work in measured])
    best = [min(row[i] for row in walls) for i in range(2)]
    wall, work = (statistics.median(a / b for a, b in rows) for rows in (walls, works))
    return f"{names[0]} {best[0]:.3f} s, {names[1]} {best[1]:.3f} s; wall {wall:.2f}x, work {work:.2f}x"


def timed(run: Run) -> tuple[float, float]:
    wall, work = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - work


if __name__ == "__main__":
    main()
