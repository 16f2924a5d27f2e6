"""Motion: a Rig's companion. Blendshape weights by name over time, head and eye rotations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from likeness.errors import InputError

MAX_FRAMES = 1_000_000
"""More than nine hours at 30 frames a second; longer motion is refused when it is read."""


@dataclass(frozen=True, eq=False)
class Motion:
    """F frames at ``fps``.

    ``names``       N blendshape names; ``weights`` (F, N).
    ``head``        (F, 3) rotation vectors of the head in the camera's upright frame (+x to the left of a subject who
                    faces it, +y up, +z towards the camera), radians; zero looks into the camera.
    ``eyes``        (F, 2, 3) rotation vectors of the left and the right eye in the head frame, radians: the eyeball's
                    whole turn, whether a rig turns it by bones, by its eyeLook… shapes or by both.
    ``position``    (F, 3) mm, where the head's origin is in the camera's upright frame, where it was measured.
    ``confidence``  (F,) in [0, 1], how far a tracker trusts each frame; 0 where it saw no face and held the one before.
    """

    fps: float
    names: tuple[str, ...]
    weights: Float[np.ndarray, "F N"]
    head: Float[np.ndarray, "F 3"]
    eyes: Float[np.ndarray, "F 2 3"]
    position: Float[np.ndarray, "F 3"] | None = None
    confidence: Float[np.ndarray, " F"] | None = None

    def __post_init__(self) -> None:
        n = len(self.weights)
        expected = {"weights": (n, len(self.names)), "head": (n, 3), "eyes": (n, 2, 3)}
        optional = {"position": (n, 3), "confidence": (n,)}
        expected |= {name: shape for name, shape in optional.items() if getattr(self, name) is not None}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"Motion.{name} has shape {getattr(self, name).shape}, expected {shape}.")
        if len(set(self.names)) < len(self.names):
            raise InputError("Motion.names holds a name twice; each blendshape has one column.")
        if not 0 < self.fps <= 1000:
            raise InputError(f"Motion.fps is {self.fps}; it must be positive and at most 1000.")

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, frames: slice) -> Motion:
        """The motion of some of the frames, at the same rate."""
        if not isinstance(frames, slice):
            raise InputError("choose frames of a motion with a slice, motion[10:20].")
        kept = {name: value[frames] for name in _PER_FRAME if (value := getattr(self, name)) is not None}
        return replace(self, **kept)

    def named(self, frame: int) -> dict[str, float]:
        """One frame's weights by name."""
        return dict(zip(self.names, self.weights[frame].tolist(), strict=True))

    def save(self, path: str | Path) -> None:
        """Write in the format that the ending names; see docs/animation.md.

        ``.safetensors`` and ``.json`` lose nothing. ``.csv`` is Live Link Face's: ARKit's 52 names only, neither
        position nor confidence. A GLB needs a head to animate: `Rig.save(path, motion=…)`. Raises InputError on other
        endings and on names that a format lacks, OutputError.
        """
        from likeness.files.motion import write_motion

        write_motion(path, self)

    @staticmethod
    def load(path: str | Path, *, fps: float | None = None) -> Motion:
        """Read ``.safetensors``, Live Link Face ``.csv``, ``.json`` or the animation of a ``.glb``.

        ``fps`` is for recordings that do not tell: a CSV shorter than a second (taken for 60 otherwise). Raises
        FileFormatError, InputError on another ending.
        """
        from likeness.files.motion import read_motion

        return read_motion(path, fps=fps)


_PER_FRAME = ("weights", "head", "eyes", "position", "confidence")
