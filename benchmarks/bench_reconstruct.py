"""Where does the time of `likeness.reconstruct` go? Per photo, everything loaded and compiled ("warm").

    python benchmarks/bench_reconstruct.py [--rounds 20] [--threads 2]

One run over the sample photo (a face of about 75 pixels in 512 x 512) and the same enlarged four times: detection, fit,
texture, detail, the whole call at each quality, and the picture of the result folder. Best and median of the rounds,
taken in turn so that a busy moment hits every row alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import skimage
import torch
from PIL import Image

from likeness.api import Reconstructor, read_photo
from likeness.detail import detail_from_photo
from likeness.landmarks import MediaPipe
from likeness.methods.open.fit import fit_landmarks
from likeness.methods.open.method import _calibration
from likeness.portraits import overview
from likeness.texture import albedo_from_photo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    small = skimage.data.astronaut()
    large = np.asarray(Image.fromarray(small).resize((2048, 2048), Image.Resampling.LANCZOS))
    for name, pixels in (("512 x 512", small), ("2048 x 2048", large)):
        report(name, measure(stages(pixels), arguments.rounds))


def stages(pixels: np.ndarray) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    photo = read_photo(pixels)
    fast, balanced, best = (Reconstructor(quality=name, max_faces=1) for name in ("fast", "balanced", "best"))
    detector, calibration = MediaPipe(), _calibration("mediapipe478")
    face = balanced(photo).faces[0]
    points = torch.from_numpy(detector.detect(pixels, max_faces=1)[0].points)[None].clone()
    return {
        "detection": lambda: detector.detect(pixels, max_faces=1),
        "fit": lambda: fit_landmarks(calibration, points, [pixels.shape[:2]], [None]),
        "texture 1024": lambda: albedo_from_photo(face, pixels),
        "detail 1024": lambda: detail_from_photo(face, pixels),
        "reconstruct, fast": lambda: fast(photo),
        "reconstruct, balanced": lambda: balanced(photo),
        "reconstruct, best": lambda: best(photo),
        "overview picture": lambda: overview(pixels, face),
    }


def measure(rows: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each row in each round, after one round unmeasured."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, run in rows.items():
            began = time.perf_counter()
            run()
            if number:
                times[name].append(1000 * (time.perf_counter() - began))
    return times


def report(title: str, times: dict[str, list[float]]) -> None:
    print(f"{title}\n{'':24}{'best ms':>10}{'median ms':>12}")
    for name, values in times.items():
        print(f"{name:24}{min(values):10.1f}{statistics.median(values):12.1f}")


if __name__ == "__main__":
    main()
