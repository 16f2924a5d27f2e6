"""Motion: a Rig's companion. Blendshape weights by name over time, head and eye rotations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from likeness.errors import InputError
from likeness.files.tensors import read_tensors, write_tensors

_KIND, _VERSION = "motion", 1


@dataclass(frozen=True, eq=False)
class Motion:
    """F frames at ``fps``.

    ``names``   N blendshape names; ``weights`` (F, N).
    ``head``    (F, 3) rotation vectors of the head in the camera's upright frame (+x right of the picture's subject,
                +y up, +z towards the camera), radians; zero looks into the camera.
    ``eyes``    (F, 2, 3) rotation vectors of the left and the right eye in the head frame, radians.
    """

    fps: float
    names: tuple[str, ...]
    weights: Float[np.ndarray, "F N"]
    head: Float[np.ndarray, "F 3"]
    eyes: Float[np.ndarray, "F 2 3"]

    def __post_init__(self) -> None:
        n_frames = len(self.weights)
        expected = {"weights": (n_frames, len(self.names)), "head": (n_frames, 3), "eyes": (n_frames, 2, 3)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"Motion.{name} has shape {getattr(self, name).shape}, expected {shape}.")
        if not self.fps > 0:
            raise InputError(f"Motion.fps is {self.fps}; it must be positive.")

    def save(self, path: str | Path) -> None:
        """Write without loss to a ``.safetensors`` file."""
        tensors = {"weights": self.weights, "head": self.head, "eyes": self.eyes}
        write_tensors(path, _KIND, _VERSION, {"fps": self.fps, "names": list(self.names)}, tensors)

    @staticmethod
    def load(path: str | Path) -> Motion:
        """Read what `save` wrote. Raises FileFormatError."""
        header, tensors = read_tensors(path, _KIND, _VERSION, required=("weights", "head", "eyes"))
        return Motion(float(header["fps"]), tuple(header["names"]), *(tensors[k] for k in ("weights", "head", "eyes")))
