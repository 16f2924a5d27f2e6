"""Time of live tracking, stage by stage, beside a loop of MediaPipe alone over the same frames.

    python benchmarks/bench_track.py VIDEO [--frames 200] [--mediapipe-python PYTHON]

Detection, solving, the mesh, and drawing the overlay apart, in milliseconds of wall time and of processor time a frame
(medians; the video is repeated until there are enough frames, decoding is not counted). PYTHON is the interpreter of an
environment with `mediapipe==0.10.21`; without one that has it, that column is left out. Both run in turns of 20 frames,
so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

TURN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--mediapipe-python", default=sys.executable)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.video)
        return
    report(arguments.video, arguments.frames, arguments.mediapipe_python)


def report(video: Path, n_frames: int, mediapipe_python: str) -> None:
    pictures = frames_of(video)
    stages = Stages(pictures)
    peer = Peer(mediapipe_python, video)
    for begin in range(0, n_frames, TURN):
        for k in range(begin, min(begin + TURN, n_frames)):
            stages.run(k)
        peer.turn(TURN)
    print(f"{len(pictures)} frames of {pictures[0].shape[1]} × {pictures[0].shape[0]}, {n_frames} measured")
    print(f"{'stage':>18} {'wall, ms':>9} {'processor, ms':>14}")
    total = np.zeros(2)
    for name, times in stages.times.items():
        median = 1e3 * np.median(np.array(times[TURN:]), 0)
        live = name != "overlay"
        total += median if live else 0
        print(f"{name:>18} {median[0]:>9.2f} {median[1]:>14.2f}")
    print(f"{'live, together':>18} {total[0]:>9.2f} {total[1]:>14.2f}   {1e3 / total[0]:.0f} frames a second")
    overlay = 1e3 * np.median(np.array(stages.times["overlay"][TURN:]), 0) + total
    print(f"{'with overlay':>18} {overlay[0]:>9.2f} {overlay[1]:>14.2f}   {1e3 / overlay[0]:.0f} frames a second")
    if peer.times:
        other = 1e3 * np.median(np.array(peer.times[TURN:]), 0)
        ratio = total / other
        print(
            f"{'MediaPipe alone':>18} {other[0]:>9.2f} {other[1]:>14.2f}   live takes {ratio[0]:.1f} times that, "
            f"{ratio[1]:.1f} of processor time"
        )
    else:
        print(f"MediaPipe was not measured: {peer.why}")


class Stages:
    """The live loop taken apart; `times` are (wall, processor) seconds of each frame by stage."""

    def __init__(self, pictures: list[np.ndarray]) -> None:
        from likeness.heads import load_head
        from likeness.methods.open.calibration import calibrate
        from likeness.tracking.live import LiveTracker

        self._pictures = pictures
        self._tracker = LiveTracker(calibrate(load_head("open"), "mediapipe478"), fps=25.0)
        for picture in itertools.islice(itertools.cycle(pictures), 30):  # the head is learnt and all is loaded
            self._tracker.update(picture)
        self._puppet, self._overlay = None, None
        self.times: dict[str, list[tuple[float, float]]] = {"detection": [], "solve": [], "mesh": [], "overlay": []}

    def run(self, k: int) -> None:
        from likeness.animate.posing import Puppet
        from likeness.tracking.overlay import Overlay
        from likeness.tracking.solving import TrackedPerson

        pixels = self._pictures[k % len(self._pictures)]
        found = self._timed("detection", lambda: self._tracker.detect(pixels))
        if found is None:
            return
        motion = self._timed("solve", lambda: self._tracker.solve(pixels, found))
        rig, face = self._tracker.rig, self._tracker.face
        assert rig is not None and face is not None
        if self._puppet is None:
            self._puppet = Puppet(rig)
            self._overlay = Overlay(TrackedPerson(face, motion, 1.0))
        puppet, overlay = self._puppet, self._overlay
        columns = puppet.columns(motion)[0]
        self._timed("mesh", lambda: puppet.vertices(columns, motion.head[0], motion.eyes[0]))
        person = TrackedPerson(face, motion, float(face.camera.intrinsics[0, 0, 0]))
        overlay.show(person)
        self._timed("overlay", lambda: overlay.draw(pixels, 0))

    def _timed(self, name: str, run: Callable):
        wall, processor = time.perf_counter(), time.process_time()
        result = run()
        self.times[name].append((time.perf_counter() - wall, time.process_time() - processor))
        return result


def frames_of(video: Path) -> list[np.ndarray]:
    from likeness.videos import VideoReader

    with VideoReader(video) as reader:
        return [np.ascontiguousarray(frame.pixels) for frame in itertools.islice(reader, 300)]


class Peer:
    """MediaPipe in its own interpreter: asked for a number of frames on stdin, it answers with a list of seconds."""

    def __init__(self, python: str, video: Path) -> None:
        self.times: list[list[float]] = []
        self.why = ""
        command = [python, __file__, str(video), "--serve"]
        pipe = subprocess.PIPE
        if shutil.which(python) is None:
            sys.exit(f"{python}: there is no such interpreter.")
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def turn(self, count: int) -> None:
        if self._process.poll() is not None or self._process.stdin is None or self._process.stdout is None:
            return
        try:
            self._process.stdin.write(f"{count}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            _, error = self._process.communicate()
            self.why = (error.strip().splitlines() or ["it ended"])[-1]
            return
        self.times += json.loads(answer)


def serve(video: Path) -> None:
    import cv2
    import mediapipe

    capture = cv2.VideoCapture(str(video))
    pictures = []
    while len(pictures) < 300:
        is_read, picture = capture.read()
        if not is_read:
            break
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=True)
    cycle = itertools.cycle(pictures)
    for line in sys.stdin:
        times = []
        for picture in itertools.islice(cycle, int(line)):
            wall, processor = time.perf_counter(), time.process_time()
            mesh.process(picture)
            times.append((time.perf_counter() - wall, time.process_time() - processor))
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
