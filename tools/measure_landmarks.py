"""Measure where a landmark detector's points sit on the open head: `python tools/measure_landmarks.py`.

Renders painted people, finds their landmarks, places all 478 on the surface, measures how far detections stray on
other people, and writes `open_head/landmarks.npz`, from which `bake_open_head.py` makes the embedding. Needs the dev
extra. A detector's floats differ in their last bits between machines, so this file is kept, not made again in the bake.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from open_head.assemble import bake_geometry
from open_head.embedding import measure, place_landmarks
from open_head.landmark_file import LANDMARKS, write_landmarks
from open_head.masks import painted_masks
from open_head.noise import landmark_noise, report
from open_head.painting import Painter
from open_head.scenes import shoot
from open_head.source import load_source
from open_head.topology import build_topology

from likeness.heads.open_head import OpenHead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=LANDMARKS)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--check-pictures", type=int, default=300)
    options = parser.parse_args()
    tensors, metadata = bake_geometry()
    head = OpenHead(
        {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, metadata | {"digest": "unbaked"}
    )
    painter = Painter(head, painted_masks(build_topology(load_source())))
    placed = place_landmarks(head, shoot(head, painter, count=options.pictures, seed=1))
    unseen = shoot(head, painter, count=options.check_pictures, seed=2)
    checked = measure(head, unseen, placed.triangle, placed.barycentric)
    noise = landmark_noise(checked.residual, checked.facing)
    print(report(noise.spread))
    write_landmarks(options.output, placed, noise, tensors["triangles"])


if __name__ == "__main__":
    main()
