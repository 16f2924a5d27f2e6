"""Time of the face landmarks beside MediaPipe's own.

    python benchmarks/bench_landmarks.py [--mediapipe-python PYTHON]

`PYTHON` is the interpreter of an environment that has `mediapipe==0.10.21` (it forces numpy below 2, so it needs one of
its own). Both sides see the same pictures in turns, a few calls each, so that what else the machine does falls on both;
the ratio is of medians. "static" finds the face in each picture anew, "video" follows it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import skimage.data

SIDES = (512, 2000, 6000)
MODES = ("static", "video")
N_ROUNDS = 12
N_CALLS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mediapipe-python", help="interpreter of an environment with mediapipe==0.10.21")
    parser.add_argument("--serve", choices=("mediapipe",), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    ours = likeness_cases()
    theirs = Peer(arguments.mediapipe_python or sys.executable)
    print(f"{'picture':>9} {'mode':>8} {'ours, ms':>9} {'MediaPipe, ms':>14} {'ratio':>6}")
    for side in SIDES:
        for mode in MODES:
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(N_ROUNDS):
                times[0].extend(measure(ours[mode], picture(side)))
                times[1].extend(theirs.measure(mode, side))
            mine, other = (1e3 * float(np.median(t)) if t else float("nan") for t in times)
            print(f"{side:>9} {mode:>8} {mine:>9.2f} {other:>14.2f} {mine / other:>6.2f}")


def picture(side: int) -> np.ndarray:
    repeats = -(-side // 512)
    return np.ascontiguousarray(skimage.data.astronaut().repeat(repeats, 0).repeat(repeats, 1)[:side, :side])


def measure(run: Callable[[np.ndarray], object], image: np.ndarray) -> list[float]:
    run(image)
    times = []
    for _ in range(N_CALLS):
        begin = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - begin)
    return times


def likeness_cases() -> dict[str, Callable[[np.ndarray], object]]:
    from likeness.landmarks import MediaPipe

    detector = MediaPipe(device="cpu")
    return {
        "static": lambda image: detector.detect(image, max_faces=1),
        "video": lambda image: detector.track(image, max_faces=1),
    }


class Peer:
    """MediaPipe in its own interpreter: asked for (mode, side) on its stdin, it answers with a list of seconds."""

    def __init__(self, python: str) -> None:
        command = [python, __file__, "--serve", "mediapipe"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.is_there = self.process.stdout is not None and self.process.stdout.readline().strip() == "ready"
        if not self.is_there:
            print(f"{python} has no mediapipe: see --mediapipe-python.", file=sys.stderr)

    def measure(self, mode: str, side: int) -> list[float]:
        if not self.is_there or self.process.stdin is None or self.process.stdout is None:
            return []
        self.process.stdin.write(json.dumps([mode, side]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def serve() -> None:
    from mediapipe.python.solutions.face_mesh import FaceMesh

    meshes = {mode: FaceMesh(mode == "static", max_num_faces=1, refine_landmarks=True) for mode in MODES}
    print("ready", flush=True)
    for line in sys.stdin:
        mode, side = json.loads(line)
        print(json.dumps(measure(meshes[mode].process, picture(side))), flush=True)


if __name__ == "__main__":
    main()
