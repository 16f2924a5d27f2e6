"""Lag and noise of the filters of `likeness.animate.filters`, on a made-up face whose truth is known.

    python benchmarks/bench_filters.py [--fps 30]

A minute of it: blinks of a tenth of a second (two frames down, two up at 30 frames a second), speech (a jaw that opens
and shuts 3 to 6 times a second), a head that turns and rests, and a resting channel; each with the noise of a tracker.
*lag* is the shift, in milliseconds, at which the filtered signal best agrees with the truth; *jitter* the rms of second
differences while the truth rests, over that of the raw signal; *kept* how high the filtered blinks (speech: swings)
reach, over the truth's; *error* the rms error over the raw signal's.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from likeness.animate.filters import filter_live, smooth
from likeness.motion import Motion

NAMES = ("eyeBlinkLeft", "jawOpen", "browInnerUp")
NOISE = 0.02
HEAD_NOISE = np.radians(0.3)
SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fps", type=float, default=30.0)
    fps = parser.parse_args().fps
    truth, raw = signals(fps)
    filters = {
        "none": lambda motion: motion,
        "One-Euro (live)": filter_live,
        "smooth (ours)": smooth,
        "Gaussian, 1.5 frames": lambda motion: each(motion, lambda x: gaussian_filter1d(x, 1.5, axis=0)),
        "Savitzky-Golay, 7 frames": lambda motion: each(motion, lambda x: savgol_filter(x, 7, 2, axis=0)),
    }
    columns = ("lag blink", "lag speech", "lag head", "jitter rest", "kept blink", "kept speech", "error", "µs/frame")
    print(f"{'filter':>26} " + " ".join(f"{column:>11}" for column in columns))
    for name, run in filters.items():
        began = time.process_time()
        found = run(raw)
        cost = 1e6 * (time.process_time() - began) / len(raw)
        print(f"{name:>26} " + " ".join(f"{value:>11.2f}" for value in (*scores(truth, raw, found), cost)))


def each(motion: Motion, run) -> Motion:
    return Motion(motion.fps, motion.names, run(motion.weights), run(motion.head), motion.eyes)


def signals(fps: float) -> tuple[Motion, Motion]:
    rng = np.random.default_rng(7)
    t = np.arange(int(SECONDS * fps)) / fps
    blinks = np.arange(1.0, SECONDS - 1, 2.7) + rng.uniform(0, 0.5, len(np.arange(1.0, SECONDS - 1, 2.7)))
    blink = np.clip(1.3 - np.abs(t[:, None] - blinks) / 0.075, 0, 1).max(1)
    rate = 4.5 + 1.5 * np.sin(2 * np.pi * 0.11 * t)
    speech = (np.sin(2 * np.pi * 0.2 * t) > 0) * (0.25 - 0.25 * np.cos(2 * np.pi * np.cumsum(rate) / fps))
    weights = np.stack([blink, speech, np.zeros_like(t)], 1)
    head = np.stack([0.1 * np.sin(2 * np.pi * 0.3 * t), 0.5 * np.tanh(3 * np.sin(2 * np.pi * 0.1 * t)), 0 * t], 1)
    still = np.zeros((len(t), 2, 3))
    truth = Motion(fps, NAMES, weights, head, still)
    noisy = weights + NOISE * rng.normal(size=weights.shape)
    return truth, Motion(fps, NAMES, noisy, head + HEAD_NOISE * rng.normal(size=head.shape), still)


def scores(truth: Motion, raw: Motion, found: Motion) -> tuple[float, ...]:
    true, got = truth.weights, found.weights
    lags = [lag(true[:, 0], got[:, 0]), lag(true[:, 1], got[:, 1]), lag(truth.head[:, 1], found.head[:, 1])]
    jitter = rms(np.diff(got[:, 2], 2)) / rms(np.diff(raw.weights[:, 2], 2))
    kept = [float(np.percentile(got[:, k], 99.5) / np.percentile(true[:, k], 99.5)) for k in range(2)]
    error = rms(got[:, :2] - true[:, :2]) / rms(raw.weights[:, :2] - true[:, :2])
    return (*(1000 * value / truth.fps for value in lags), jitter, *kept, error)


def lag(true: np.ndarray, got: np.ndarray, *, most: float = 6.0) -> float:
    """Frames by which `got` is behind: where the two correlate best (how high it reaches does not count)."""
    shifts = np.arange(-most, most + 0.01, 0.05)
    # Shifted by a phase, so that no interpolation smooths one of the two.
    spectrum, cycles = np.fft.rfft(true - true.mean()), np.fft.rfftfreq(len(true))
    shifted = np.fft.irfft(spectrum * np.exp(-2j * np.pi * shifts[:, None] * cycles), len(true))
    return float(shifts[int(np.argmax(shifted @ (got - got.mean())))])


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


if __name__ == "__main__":
    main()
