"""How well are expressions followed? Scores tracking on rendered sequences of known weights, and on a still face.

    python benchmarks/eval_sequences.py SET_DIR [--keep DIR] [--still PHOTO]

SET_DIR holds ``idNN/seq/frameFF.jpg`` with their truth ``idNN/seq.npz`` and the metric ``now_like.py`` (correlation of
each weight over time with the truth's, mean absolute error, weights of silent shapes, jitter, landmark acceleration).
Every sequence is scored as each frame's photo alone would give it, then tracked raw, smoothed, and smoothed with the
person's rest taken off. ``--still`` repeats one photo under noise and JPEG of changing quality, and tells by how much
the vertices of the face tremble (root mean square about their mean, mm). The set is not part of this repository.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from eval_heads import load_metric
from PIL import Image

from likeness.animate.posing import Puppet
from likeness.api import Reconstructor
from likeness.heads import load_head
from likeness.images import read_image
from likeness.landmarks import Landmarks
from likeness.methods import Photo
from likeness.methods.open.calibration import calibrate
from likeness.methods.open.method import OpenMethod
from likeness.motion import Motion
from likeness.tracking.assembly import Solved, assemble, rest_weights
from likeness.tracking.key_frames import choose_key_frames
from likeness.tracking.sightings import FaceFollower, Sightings, sharpness
from likeness.tracking.solving import (
    N_KEY_FRAMES,
    TrackedPerson,
    head_of_photos,
    person_model,
    solve_sightings,
    with_rest_in_it,
)

FPS = 25.0
N_STILL = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--keep", type=Path, default=None, help="keep the predictions in this folder")
    parser.add_argument("--still", type=Path, default=None, help="a photo to repeat")
    arguments = parser.parse_args()
    metric = load_metric(arguments.set)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        for person in sorted({path.parent.parent for path in arguments.set.glob("*/seq/frame*.jpg")}):
            pictures = [read_image(path) for path in sorted(person.glob("seq/frame*.jpg"))]
            for name, frames in variants(pictures).items():
                write(folder / name / person.name / "seq", frames)
        for name in sorted(path.name for path in folder.iterdir() if path.is_dir()):
            print(f"=== {name}")
            metric.run_video(str(arguments.set), str(folder / name))
    if arguments.still:
        raw, smoothed = (tremble(arguments.still, smoothing) for smoothing in (0.0, 1.0))
        print(f"=== still face: {raw:.3f} mm raw, {smoothed:.3f} mm smoothed")


Frame = tuple[dict[str, float], np.ndarray]
"""Weights by name, and 68 landmarks in pixels."""


def variants(pictures: list[np.ndarray]) -> dict[str, list[Frame]]:
    seen = follow(pictures)
    face, solved = solve(pictures, seen)
    rest = rest_weights(solved.weights, face.head.expression_names)
    calibrated = with_rest_in_it(face, rest), replace(solved, weights=solved.weights - rest)
    return {
        "1 each photo alone": alone(pictures),
        "2 tracked": described(face, solved, 0.0),
        "3 smoothed": described(face, solved, 1.0),
        "4 smoothed, rest taken off": described(*calibrated, 1.0),
    }


def follow(pictures: list[np.ndarray]) -> Sightings:
    follower = FaceFollower()
    rows = []
    for number, pixels in enumerate(pictures):
        for track in follower.update(pixels)[:1]:
            found = track.landmarks
            rows.append((number, track.id, found.points, found.score, sharpness(pixels, found.points)))
    return Sightings(*(np.array(column) for column in zip(*rows, strict=True)))


def solve(pictures: list[np.ndarray], seen: Sightings):
    calibration = calibrate(load_head("open"), "mediapipe478")
    chosen = choose_key_frames([seen], calibration, count=N_KEY_FRAMES)
    rows = {int(frame): row for row, frame in enumerate(seen.frame)}
    landmarks = [Landmarks("mediapipe478", seen.points[rows[f]], float(seen.score[rows[f]])) for f in chosen.tolist()]
    photos = [Photo(pictures[f], f"frame {f}") for f in chosen.tolist()]
    face, focal = head_of_photos(OpenMethod(quality="fast"), photos, landmarks)
    model = person_model(face, focal, calibration, [torch.from_numpy(points).clone() for points in seen.points])
    began = time.process_time()
    solved = Solved(**solve_sightings(model, seen, lambda _: None))
    print(f"{1e3 * (time.process_time() - began) / len(seen.frame):.1f} ms of processor time a frame", file=sys.stderr)
    return replace(face, codes={"focal": torch.tensor(focal)}), solved


def alone(pictures: list[np.ndarray]) -> list[Frame]:
    reconstructor = Reconstructor(method="open", quality="fast", max_faces=1)
    faces = [reconstructor(Photo(pixels, "frame")).faces[0] for pixels in pictures]
    return [(face.weights, face.landmarks("ibug68").image) for face in faces]


def described(face, solved: Solved, smoothing: float) -> list[Frame]:
    person = followed(face, solved, smoothing)
    puppet = Puppet(person.rig)
    columns = puppet.columns(person.motion)
    embedding = face.head.embeddings["ibug68"]
    frames = []
    for k in range(len(person.motion)):
        vertices = torch.from_numpy(puppet.vertices(columns[k], np.zeros(3), person.motion.eyes[k]))
        points = person.camera(k).project(embedding.points(vertices)[None])[0].numpy()
        frames.append((person.motion.named(k), points))
    return frames


def followed(face, solved: Solved, smoothing: float) -> TrackedPerson:
    n_frames = int(solved.frame[-1]) + 1
    motion: Motion = assemble(solved, face.rig(), fps=FPS, n_frames=n_frames, smoothing=smoothing)
    return TrackedPerson(face, motion, float(face.codes["focal"]))


def write(folder: Path, frames: list[Frame]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (weights, points) in enumerate(frames):
        (folder / f"frame{number:02d}.weights.json").write_text(json.dumps(weights))
        (folder / f"frame{number:02d}.lmk2d.json").write_text(json.dumps(points.tolist()))


def tremble(photo: Path, smoothing: float) -> float:
    """How far vertices of the face stray from their mean, in the camera's frame but for its depth, mm."""
    pictures = list(trembling(read_image(photo)))
    face, solved = solve(pictures, follow(pictures))
    person = followed(face, solved, smoothing)
    puppet = Puppet(person.rig)
    columns, inner = puppet.columns(person.motion), face.head.topology.region("face")
    seen = []
    for k in range(len(person.motion)):
        vertices = torch.from_numpy(puppet.vertices(columns[k], np.zeros(3), person.motion.eyes[k])[inner])
        camera = person.camera(k)
        # Millimetres in the picture: what a viewer sees tremble.
        seen.append(camera.project(vertices[None])[0].numpy() * -person.motion.position[:, 2].mean() / person.focal)
    stray = np.stack(seen) - np.mean(seen, 0)
    return float(np.sqrt(np.square(stray).sum(-1).mean()))


def trembling(picture: np.ndarray) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(7)
    image = Image.fromarray(picture)
    image.thumbnail((720, 720))
    pixels = np.asarray(image)
    for number in range(N_STILL):
        noisy = (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=(60, 75, 90)[number % 3])
        yield np.asarray(Image.open(buffer))


if __name__ == "__main__":
    main()
