"""FaceScape's camera: a scaled orthographic view, in fit image space.

Fit image space: pixels, x right, y *up*, origin at the bottom left of the photo; y_up = height − y_down. Points are
in FaceScape's own model frame (mm, the axes of the head frame).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from likeness.cameras import WeakPerspective


@dataclass(frozen=True, eq=False)
class Pose:
    """p = scale · (R X)_xy + translation, R of the rotation vector ``rotation`` about the model's origin."""

    scale: float
    translation: Float[np.ndarray, "2"]
    rotation: Float[np.ndarray, "3"]

    @classmethod
    def from_vector(cls, vector: Float[np.ndarray, "6"]) -> Pose:
        """(scale, t_x, t_y, r_x, r_y, r_z), the order in which the release solves for them."""
        return cls(float(vector[0]), np.asarray(vector[1:3], np.float64), np.asarray(vector[3:6], np.float64))

    @property
    def vector(self) -> Float[np.ndarray, "6"]:
        return np.concatenate([[self.scale], self.translation, self.rotation])

    @property
    def matrix(self) -> Float[np.ndarray, "3 3"]:
        return Rotation.from_rotvec(self.rotation).as_matrix()

    def project(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
        """Model frame → fit image space."""
        return self.scale * points @ self.matrix[:2].T + self.translation

    def project_with_depth(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """x and y in fit image space, and scale · (R X)_z: depth in pixels, growing *towards* the viewer."""
        turned = self.scale * points @ self.matrix.T
        turned[:, :2] += self.translation
        return turned

    def camera(self, height: int, origin: Float[np.ndarray, "3"], *, pixel_offset: float = 0.0) -> WeakPerspective:
        """The same view as a camera from the head frame, whose origin lies at ``origin`` of the model frame.

        ``pixel_offset`` is added to x and y: 0.5 when the fit took landmarks as pixel *indices*, as the release does.
        """
        flip = np.diag([1.0, -1.0, -1.0])
        shift = self.project(origin[None])[0]
        translation = np.array([shift[0], height - shift[1]]) + pixel_offset
        return WeakPerspective(
            rotation=torch.tensor(flip @ self.matrix, dtype=torch.float32)[None],
            scale=torch.tensor([self.scale], dtype=torch.float32),
            translation=torch.tensor(translation, dtype=torch.float32)[None],
        )


def to_fit_space(points: Float[np.ndarray, "N 2"], height: int) -> Float[np.ndarray, "N 2"]:
    """Image points with y down → y up, and back: the map undoes itself."""
    return np.stack([points[:, 0], height - points[:, 1]], -1).astype(np.float64)
