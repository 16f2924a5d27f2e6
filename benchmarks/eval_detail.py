"""How well wrinkles are read from a photo: known relief, rendered with pigment, grain and known light.

    python benchmarks/eval_detail.py

Prints, for each light and size of the face, the correlation of the recovered map with the truth and how much of its
depth it has (slope of the regression) where there are wrinkles; the root mean square that blotched but smooth skin
gives; and the CPU time of each step.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from likeness.detail import detail_from_photo
from likeness.detail.chart import face_chart
from likeness.filters import gaussian_blur
from likeness.methods import follow_expression
from likeness.methods.open.following import with_detail
from wrinkled_person import LIGHTS, SIZE, correlation, person, photograph, recoverable, wrinkles


def main() -> None:
    torch.set_num_threads(1)
    print("light   face px   correlation   depth   smooth skin, mm rms")
    for size in (1400, 900, 600):
        face = person(size)
        mm = face_chart(face, SIZE).mm_per_texel
        width = float(np.ptp(face.landmarks().image[:, 0]))
        truth = wrinkles(face)
        about = gaussian_blur((truth.abs() > 0.03).float()[None], 4.0)[0] > 0.1
        for light in LIGHTS:
            found = detail_from_photo(face, photograph(face, truth, light))
            alike, depth = correlation(found.displacement, recoverable(truth, mm), found.visibility * about)
            smooth = detail_from_photo(face, photograph(face, torch.zeros_like(truth), light))
            seen = smooth.visibility > 0.5 * smooth.visibility.max()
            rms = float(smooth.displacement[seen].square().mean().sqrt())
            print(f"{light:6}  {width:7.0f}   {alike:11.2f}   {depth:5.2f}   {rms:.3f}")
    _times()


def _times() -> None:
    """CPU seconds, warm, single-threaded."""
    face = person(900)
    photo = photograph(face, wrinkles(face), "above")
    detail = detail_from_photo(face, photo)
    moving = with_detail(face, detail)
    steps = {
        "read detail": lambda: detail_from_photo(face, photo),
        "learn wrinkles": lambda: with_detail(face, detail),
        "follow an expression": lambda: follow_expression(moving),
    }
    for name, step in steps.items():
        step()
        start = time.process_time()
        for _ in range(3):
            step()
        print(f"{name}: {(time.process_time() - start) / 3:.2f} s")


if __name__ == "__main__":
    main()
