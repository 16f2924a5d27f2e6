"""Measure how the landmark detector errs on the open head, at every yaw: the open method's `landmark_noise`.

    python tools/calibrate_landmarks.py [--count 4000] [--jobs 2]

Renders known people in known poses and expressions, finds their landmarks, and keeps the statistics of the differences:
mean, largest common directions, and the rest. Needs the bake extra. A detector's floats differ in their last bits
between machines, so the file is kept, not made again in a test.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from open_head.masks import painted_masks
from open_head.painting import Painter, draw_look
from open_head.source import load_source
from open_head.topology import build_topology
from safetensors.numpy import save
from scipy.spatial.transform import Rotation

from likeness.cameras import Pinhole
from likeness.heads.open_head import OpenHead, load_open_head
from likeness.landmarks import MediaPipe
from likeness.landmarks.conventions import MIRROR

OUTPUT = Path(__file__).parents[1] / "src/likeness/methods/open/landmark_noise.safetensors"
SIZE = 256
YAWS = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0)
YAW_WIDTH = 9.0  # degrees: standard deviation of the window about each yaw of the table
N_MODES = 20
CLIP_MM = 15.0  # a farther stray is an accident of the detector and counts as this much
SEED = 20261


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    # Blocks of 100, each with its own seed: the result does not depend on the number of jobs.
    blocks = range(-(-arguments.count // 100))
    with ProcessPoolExecutor(arguments.jobs) as pool:
        yaws, errors = (np.concatenate(part) for part in zip(*pool.map(measure, blocks), strict=True))
    print(f"{len(errors)} faces found of {100 * len(blocks)} rendered")
    tensors = statistics(yaws, errors)
    OUTPUT.write_bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))
    report(tensors)


def measure(block: int) -> tuple[np.ndarray, np.ndarray]:
    """Yaws (N) in degrees and detection errors (N, 478, 3) in mm, axes of the upright head in the picture."""
    torch.set_num_threads(1)
    rng, head, detector = np.random.default_rng([SEED, block]), load_open_head(), MediaPipe(device="cpu", min_score=0.2)
    painter = Painter(head, painted_masks(build_topology(load_source())))
    rows = []
    for _ in range(100):
        identity = _float(rng.normal(0, rng.uniform(0.5, 1.1), head.n_identity))[None]
        expression = _float(draw_expression(head.expression_names, rng))[None]
        shape = head.vertices(identity, expression)
        yaw, camera = draw_camera(rng)
        found = detector.detect(painter.render(shape[0].numpy(), camera, SIZE, draw_look(rng)), max_faces=1)
        if found:
            rows.append((yaw, detection_error(head, shape, camera, found[0].points)))
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def detection_error(head: OpenHead, shape: torch.Tensor, camera: Pinhole, detected: np.ndarray) -> np.ndarray:
    """Detected less true, in mm at the face, the head's roll taken out; the zero of depth is the face's median."""
    true = camera.project_with_depth(head.embeddings["mediapipe478"].points(shape))[0].numpy().astype(float)
    scale = float(camera.focal[0] / camera.translation[0, 2])
    shift = (detected[:, :2] - true[:, :2]) / scale
    depth = detected[:, 2] / scale - (true[:, 2] - float(camera.translation[0, 2]))
    down = -camera.rotation[0, :2, 1].numpy().astype(float)
    down /= np.linalg.norm(down)
    upright = shift @ np.array([[down[1], down[0]], [-down[0], down[1]]])
    return np.concatenate([upright, (depth - np.median(depth[:468]))[:, None]], 1)


def draw_expression(names: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """At rest three times of ten; otherwise a few random shapes, mostly the same on both sides, often with an open jaw
    or a smile."""
    weights = dict.fromkeys(names, 0.0)
    if rng.random() < 0.3:
        return np.array(list(weights.values()))
    stems = sorted({_stem(name) for name in names} - {"tongueOut"})
    for stem in rng.choice(stems, rng.integers(1, 7)):
        strength, lopsided = rng.uniform() ** 1.3, rng.random() < 0.1
        for name in _sides(stem, weights):
            weights[name] = strength * (rng.random() if lopsided else rng.uniform(0.8, 1.2))
    if rng.random() < 0.25:
        weights["jawOpen"] = rng.uniform(0, 0.8)
    if rng.random() < 0.25:
        weights["mouthSmileLeft"] = weights["mouthSmileRight"] = rng.uniform(0, 1)
    # Shapes that exclude each other: lips cannot close over more than the jaw opens, a wide eye is not shut.
    weights["mouthClose"] = min(weights["mouthClose"], weights["jawOpen"])
    for side in ("Left", "Right"):
        if weights[f"eyeWide{side}"] > 0:
            weights[f"eyeBlink{side}"] = 0.0
    return np.clip(list(weights.values()), 0, 1)


def _stem(name: str) -> str:
    whole = name.startswith(("jaw", "mouthLeft", "mouthRight"))
    return name if whole else name.removesuffix("Left").removesuffix("Right")


def _sides(stem: str, weights: dict[str, float]) -> list[str]:
    return [stem] if stem in weights else [stem + "Left", stem + "Right"]


def draw_camera(rng: np.random.Generator) -> tuple[float, Pinhole]:
    """Yaw in degrees, and a camera that has the turned face in the picture."""
    yaw, pitch, roll = np.clip(rng.normal(0, 32), -82, 82), rng.normal(0, 9), rng.normal(0, 7)
    turn = Rotation.from_euler("ZXY", [roll, pitch, yaw], degrees=True).as_matrix()
    rotation = np.diag([1.0, -1.0, -1.0]) @ turn
    distance = float(np.exp(rng.uniform(np.log(420), np.log(2000))))
    focal = rng.uniform(0.55, 0.75) * SIZE * distance / 200
    translation = np.array([*rng.uniform(-15, 15, 2), distance])
    camera = Pinhole.from_focal(
        rotation=_float(rotation[None]),
        translation=_float(translation[None]),
        focal=_float([focal]),
        centre=torch.full((1, 2), SIZE / 2),
    )
    return float(yaw), camera


def statistics(yaws: np.ndarray, errors: np.ndarray) -> dict[str, np.ndarray]:
    """The table `NoiseTable` reads. Each face counts twice, as itself and mirrored."""
    mirrored = errors[:, MIRROR["mediapipe478"]] * np.array([-1.0, 1.0, 1.0])
    yaws, errors = np.concatenate([yaws, -yaws]), np.concatenate([errors, mirrored])
    flat = np.clip(errors, -CLIP_MM, CLIP_MM).reshape(len(errors), -1)
    means, modes, deviations = [], [], []
    for yaw in YAWS:
        weight = np.exp(-0.5 * ((yaws - yaw) / YAW_WIDTH) ** 2)
        near = weight > 0.01
        weight = weight[near] / weight[near].sum()
        mean = weight @ flat[near]
        centred = (flat[near] - mean) * np.sqrt(weight)[:, None]
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        directions, singular = directions[:N_MODES], singular[:N_MODES]
        # An eigenvector's sign is the solver's whim: fix it.
        signs = np.sign(directions[np.arange(N_MODES), np.abs(directions).argmax(1)])
        modes.append((directions * (signs * singular)[:, None]).reshape(N_MODES, -1, 3))
        left = (centred**2).sum(0) - (directions**2 * singular[:, None] ** 2).sum(0)
        deviations.append(np.sqrt(left.clip(0)).reshape(-1, 3))
        means.append(mean.reshape(-1, 3))
    return {
        "yaws": np.array(YAWS, np.float32),
        "mean": np.stack(means).astype(np.float16),
        "modes": np.stack(modes).astype(np.float16),
        "deviation": np.stack(deviations).astype(np.float16),
    }


def report(tensors: dict[str, np.ndarray]) -> None:
    print("  yaw    mean error   in modes   beside them   (root mean square, mm, in the picture)")
    for i, yaw in enumerate(YAWS):
        mean, modes, rest = (tensors[name][i][..., :2].astype(float) for name in ("mean", "modes", "deviation"))
        common = np.sqrt((modes**2).sum(0).mean())
        print(f"{yaw:5.0f} {np.sqrt((mean**2).mean()):12.2f} {common:10.2f} {np.sqrt((rest**2).mean()):13.2f}")


def _float(array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


if __name__ == "__main__":
    main()
