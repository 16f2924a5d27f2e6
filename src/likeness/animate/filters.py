"""Smoothing of motion: One-Euro while it is recorded, a smoother without lag once it is.

Live, only the past is known, and every filter trades noise for lag. `OneEuro` (Casiez, Roussel and Vogel 2012) trades
by speed: a still face is smoothed much, a fast one hardly.

Afterwards the future is known too. `smooth` replaces each frame by the mean of a window that is symmetric about it,
so nothing is late, and as wide as the motion allows: the window grows while the means of all smaller ones lie within
their confidence intervals (Goldenshluger and Nemirovski 1997; Katkovnik 1999). A blink, which no noise explains, stops
the growth at once and stays as sharp as it was measured; a resting face is averaged over half a second. Whether lips
and lids are closed is a sum over many weights, each of which may hide its part in its noise: so these sums are smoothed
by themselves, and the weights made to agree with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation
from scipy.special import ndtri

from likeness.animate.closing import closure_gradients
from likeness.errors import InputError
from likeness.motion import Motion

# Half-widths of the windows in seconds; the last one smooths a resting face.
_HALF_WIDTHS_S = (0.034, 0.067, 0.12, 0.2, 0.3)
# A window is too wide when its mean leaves the others' intervals of so many standard deviations.
_CONFIDENCE = 1.8
# A face moves for much of a clip: this share of its frames, those that change least, is taken for noise alone.
_CALM = 0.2
# More than this is no noise of a tracker but motion: it bounds what is measured from the motion itself.
WEIGHT_NOISE = 0.03
CLOSURE_NOISE = 0.4
ROTATION_NOISE = np.radians(0.4)
DIRECTION_NOISE, DISTANCE_NOISE = 1e-3, 0.01


# ---------------------------------------------------------------- afterwards


def smooth(motion: Motion, *, strength: float = 1.0) -> Motion:
    """The motion without its noise and without lag; blinks, lip closures and fast turns stay.

    ``strength`` multiplies the noise that is assumed: 0 changes nothing, 1 is what the motion itself shows. Rotations
    are averaged as quaternions, and channels that move together (a rotation, a position) share their windows. Raises
    InputError when the strength is negative.
    """
    if not 0 <= strength <= 100:
        raise InputError(f"a smoothing strength of {strength:g}; give a number from 0 (none) up, 1 being the usual.")
    if strength == 0 or len(motion) < 3:
        return motion
    eyes = [smooth_rotations(motion.eyes[:, side], fps=motion.fps, strength=strength) for side in range(2)]
    position = None if motion.position is None else _smooth_position(motion.position, motion.fps, strength)
    return replace(
        motion,
        weights=_smooth_weights(motion, strength).astype(np.float32),
        head=smooth_rotations(motion.head, fps=motion.fps, strength=strength).astype(np.float32),
        eyes=np.stack(eyes, 1).astype(np.float32),
        position=position,
    )


def _smooth_weights(motion: Motion, strength: float) -> Float[np.ndarray, "F N"]:
    raw = motion.weights.astype(np.float64)
    smoothed = smooth_values(raw, fps=motion.fps, limit=WEIGHT_NOISE, strength=strength)
    gradients = closure_gradients(motion.names)
    if not gradients.any():
        return smoothed
    wanted = smooth_values(raw @ gradients.T, fps=motion.fps, limit=CLOSURE_NOISE, strength=strength)
    # The least change of weights, where those change most that move most; rounding keeps it regular.
    moved = gradients * raw.std(0)
    system = moved @ gradients.T + 1e-9 * np.eye(len(gradients))
    change = np.linalg.solve(system, (wanted - smoothed @ gradients.T).T).T @ moved
    return np.where(raw.std(0) > 0, (smoothed + change).clip(raw.min(0), raw.max(0)), smoothed)


def smooth_rotations(
    rotvec: Float[np.ndarray, "F 3"], *, fps: float, strength: float = 1.0
) -> Float[np.ndarray, "F 3"]:
    """Rotation vectors smoothed as quaternions: for the small spread within a window, their mean is the rotations'."""
    quaternions = Rotation.from_rotvec(rotvec.astype(np.float64)).as_quat()
    flips = np.cumprod(np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0))
    quaternions[1:] *= flips[:, None]
    # A quaternion turns by half the angle.
    means = smooth_values(quaternions, fps=fps, limit=ROTATION_NOISE / 2, strength=strength, together=True)
    return Rotation.from_quat(means).as_rotvec()


def _smooth_position(position: Float[np.ndarray, "F 3"], fps: float, strength: float) -> Float[np.ndarray, "F 3"]:
    """Direction and log distance apart: cameras see the one to a fraction of a millimetre, the other to centimetres."""
    distance = np.maximum(np.abs(position[:, 2:].astype(np.float64)), 1.0)
    direction = smooth_values(
        position[:, :2] / distance, fps=fps, limit=DIRECTION_NOISE, strength=strength, together=True
    )
    distance = np.exp(smooth_values(np.log(distance), fps=fps, limit=DISTANCE_NOISE, strength=strength))
    return np.concatenate([direction * distance, np.sign(position[:, 2:]) * distance], 1).astype(np.float32)


def smooth_values(
    values: Float[np.ndarray, "F C"], *, fps: float, limit: float, strength: float = 1.0, together: bool = False
) -> Float[np.ndarray, "F C"]:
    """Means over the widest symmetric windows that the signal allows; ``limit`` is the largest noise believed.

    ``together`` gives all channels one window a frame, the narrowest that any of them asks for.
    """
    values = values.astype(np.float64)
    noise = strength * np.minimum(noise_of(values), limit)
    widths = sorted({round(seconds * fps) for seconds in _HALF_WIDTHS_S} - {0})
    widths = [width for width in widths if width < len(values)]
    if not widths:
        return values
    means = np.stack([values, *(_window_means(values, width) for width in widths)])
    chosen = _widest(means, np.array([0, *widths]), noise)
    if together:
        chosen = np.broadcast_to(chosen.min(1, keepdims=True), chosen.shape)
    return np.take_along_axis(means, chosen[None], 0)[0]


def noise_of(values: Float[np.ndarray, "F C"]) -> Float[np.ndarray, " C"]:
    """Standard deviation of white noise, as the smaller second differences tell it: the larger ones are motion."""
    if len(values) < 3:
        return np.zeros(values.shape[1])
    second = np.abs(np.diff(values, 2, axis=0))
    # A channel at rest on its bound for most of the time shows its noise only where it moves.
    moving = np.where(second > 1e-9, second, np.nan)
    found = np.zeros(values.shape[1])
    any_moving = np.isfinite(moving).any(0)
    found[any_moving] = np.nanquantile(moving[:, any_moving], _CALM, axis=0)
    # The same quantile of a normal deviate's size, and what second differences make of white noise.
    return found / (ndtri((1 + _CALM) / 2) * np.sqrt(6))


def _window_means(values: Float[np.ndarray, "F C"], width: int) -> Float[np.ndarray, "F C"]:
    """Means over 2 width + 1 frames. Beyond the ends the signal goes on as its own image turned half round."""
    before = 2 * values[0] - values[width:0:-1]
    after = 2 * values[-1] - values[-2 : -width - 2 : -1]
    padded = np.concatenate([np.zeros_like(values[:1]), before, values, after])
    sums = np.cumsum(padded, 0)
    return (sums[2 * width + 1 :] - sums[: -2 * width - 1]) / (2 * width + 1)


def _widest(
    means: Float[np.ndarray, "S F C"], widths: Int[np.ndarray, " S"], noise: Float[np.ndarray, " C"]
) -> Int[np.ndarray, "F C"]:
    """The index of the widest window whose interval still meets all smaller ones' intervals."""
    low, high = np.full(means.shape[1:], -np.inf), np.full(means.shape[1:], np.inf)
    chosen = np.zeros(means.shape[1:], int)
    open_ = np.ones(means.shape[1:], bool)
    for index, (mean, width) in enumerate(zip(means, widths, strict=True)):
        reach = _CONFIDENCE * noise / np.sqrt(2 * width + 1)
        low, high = np.maximum(low, mean - reach), np.minimum(high, mean + reach)
        open_ &= low <= high
        chosen[open_] = index
    return chosen


# ---------------------------------------------------------------- live


@dataclass
class OneEuro:
    """The One-Euro filter: exponential smoothing whose cutoff rises with the speed of the signal.

    ``min_cutoff`` in Hz is what a still signal gets, ``beta`` how much the cutoff rises for each unit a second,
    ``speed_cutoff`` in Hz smooths the speed itself. Feed it frame by frame.
    """

    fps: float
    min_cutoff: float = 1.0
    beta: float = 1.0
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if not (self.fps > 0 and self.min_cutoff > 0 and self.beta >= 0 and self.speed_cutoff > 0):
            raise InputError("One-Euro needs positive rates and cutoffs, and a beta of 0 or more.")
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | None = None

    def __call__(self, value: Float[np.ndarray, "*C"]) -> Float[np.ndarray, "*C"]:
        """The filtered value of this frame; each channel by itself."""
        value = np.asarray(value, np.float64)
        if self._value is None or self._speed is None:
            self._value, self._speed = value, np.zeros_like(value)
            return value
        step = value - self._value
        self._speed = self._speed + self._share(self.speed_cutoff) * (step * self.fps - self._speed)
        self._value = self._value + self._share(self.min_cutoff + self.beta * np.abs(self._speed)) * step
        return self._value

    def _share(self, cutoff):
        """How much of a new sample a first-order low-pass of this cutoff takes."""
        return 1 / (1 + self.fps / (2 * np.pi * cutoff))


class OneEuroRotation:
    """`OneEuro` for rotation vectors: the step from the filtered to the new rotation is scaled along its geodesic."""

    def __init__(self, fps: float, *, min_cutoff: float = 1.0, beta: float = 1.0, speed_cutoff: float = 1.0) -> None:
        self._settings = OneEuro(fps, min_cutoff, beta, speed_cutoff)
        self._rotation: Rotation | None = None
        self._speed = 0.0

    def __call__(self, rotvec: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
        """The filtered rotation vector of this frame."""
        new, settings = Rotation.from_rotvec(np.asarray(rotvec, np.float64)), self._settings
        if self._rotation is None:
            self._rotation = new
            return new.as_rotvec()
        step = (self._rotation.inv() * new).as_rotvec()
        speed = float(np.linalg.norm(step)) * settings.fps
        self._speed += float(settings._share(settings.speed_cutoff)) * (speed - self._speed)
        share = settings._share(settings.min_cutoff + settings.beta * self._speed)
        self._rotation = self._rotation * Rotation.from_rotvec(share * step)
        return self._rotation.as_rotvec()


class LiveFilter:
    """One-Euro on all channels of a motion, a frame at a time."""

    def __init__(self, fps: float) -> None:
        # Weights run from 0 to 1 in a tenth of a second; a head turns a radian a second.
        self._weights = OneEuro(fps, min_cutoff=1.5, beta=4.0, speed_cutoff=3.0)
        self._position = OneEuro(fps, min_cutoff=1.0, beta=0.02)
        self._turns = [OneEuroRotation(fps, min_cutoff=1.5, beta=4.0, speed_cutoff=2.0) for _ in range(3)]

    def __call__(self, frame: Motion) -> Motion:
        """A motion of one frame, filtered by those that came before it."""
        head, left, right = (
            turn(vector) for turn, vector in zip(self._turns, (frame.head[0], *frame.eyes[0]), strict=True)
        )
        position = None if frame.position is None else self._position(frame.position[0])[None].astype(np.float32)
        return replace(
            frame,
            weights=self._weights(frame.weights[0])[None].astype(np.float32),
            head=head[None].astype(np.float32),
            eyes=np.stack([left, right])[None].astype(np.float32),
            position=position,
        )


def filter_live(motion: Motion) -> Motion:
    """A whole motion as `LiveFilter` would have given it frame by frame."""
    live = LiveFilter(motion.fps)
    frames = [live(motion[i : i + 1]) for i in range(len(motion))]
    if not frames:
        return motion
    return replace(
        motion,
        weights=np.concatenate([frame.weights for frame in frames]),
        head=np.concatenate([frame.head for frame in frames]),
        eyes=np.concatenate([frame.eyes for frame in frames]),
        position=None
        if motion.position is None
        else np.concatenate([frame.position for frame in frames if frame.position is not None]),
    )
