"""What was tracked, drawn over the video: the mesh where the face is, and where the eyes look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

from likeness.animate.posing import Puppet, driven_joints
from likeness.cameras import Pinhole, Similarity
from likeness.render.pictures import over, shaded_view, to_uint8, wireframe
from likeness.rig import Rig
from likeness.topology import Topology
from likeness.tracking.solving import TrackedPerson

Style = Literal["mesh", "clay"]
_OPACITY = {"mesh": 0.6, "clay": 0.9}
# The picture is drawn no larger than this, and enlarged: lines stay thin enough, and time bounded.
_LARGEST_SIDE = 480
_GAZE_COLOUR, _GAZE_MM = (255, 225, 40), 55.0
_SHUT = 0.6


class Overlay:
    """Draws frame by frame. ``style`` "mesh" shows lines, "clay" a shaded surface; ``side_by_side`` puts the untouched
    picture to the left."""

    def __init__(self, person: TrackedPerson, *, style: Style = "mesh", side_by_side: bool = False) -> None:
        self._person, self._style, self._side_by_side = person, style, side_by_side
        self._puppet = Puppet(person.rig)
        self._columns = self._puppet.columns(person.motion)
        self._topology = person.face.head.topology
        self._triangles = self._topology.triangles_tensor
        self._edges = quad_edges(self._topology)

    def show(self, person: TrackedPerson) -> None:
        """Go on with another motion of the same person, as it comes from a camera."""
        self._person, self._columns = person, self._puppet.columns(person.motion)

    def draw(self, pixels: UInt8[np.ndarray, "H W 3"], frame: int) -> UInt8[np.ndarray, "H W2 3"]:
        """A frame of the video with what was found in it; untouched where no face was seen."""
        drawn = pixels
        motion = self._person.motion
        if motion.confidence is None or motion.confidence[frame] > 0:
            vertices = self._vertices(frame)
            camera = self._person.camera(frame)
            drawn = self._with_surface(pixels, vertices, camera)
            drawn = self._with_gaze(drawn, frame, camera)
        return np.concatenate([pixels, drawn], 1) if self._side_by_side else drawn

    def frames(self, pictures: Iterator[UInt8[np.ndarray, "H W 3"]]) -> Iterator[UInt8[np.ndarray, "H W2 3"]]:
        """Every picture of the video, drawn upon."""
        return (self.draw(pixels, frame) for frame, pixels in enumerate(pictures))

    def _vertices(self, frame: int) -> Float[torch.Tensor, "1 V 3"]:
        """In the head frame; the head's own turn is in the camera."""
        motion = self._person.motion
        return torch.from_numpy(self._puppet.vertices(self._columns[frame], np.zeros(3), motion.eyes[frame]))[None]

    def _with_surface(self, pixels: np.ndarray, vertices: torch.Tensor, camera: Pinhole) -> np.ndarray:
        x0, y0, x1, y1 = _box(camera.project(vertices)[0].numpy(), pixels.shape)
        if x1 <= x0 or y1 <= y0:
            return pixels
        scale = min(1.0, _LARGEST_SIDE / max(x1 - x0, y1 - y0))
        size = (max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale)))
        # Whole pixels of the frame, so that the cut-out lies on it exactly.
        crop = Similarity(torch.tensor([scale]), torch.zeros(1), torch.tensor([[-x0 * scale, -y0 * scale]]))
        layer = self._layer(vertices, camera.apply(crop), size)
        if scale < 1:
            layer = torch.nn.functional.interpolate(layer, (y1 - y0, x1 - x0), mode="bilinear", align_corners=False)
        under = torch.from_numpy(pixels[y0:y1, x0:x1].copy()).permute(2, 0, 1)[None].float() / 255
        drawn = pixels.copy()
        drawn[y0:y1, x0:x1] = to_uint8(over(layer, under, opacity=_OPACITY[self._style]))
        return drawn

    def _layer(self, vertices: torch.Tensor, camera: Pinhole, size: tuple[int, int]) -> torch.Tensor:
        if self._style == "clay":
            return shaded_view(vertices, self._triangles, camera, size, supersampling=1)
        return wireframe(vertices, self._triangles, camera, size, edges=self._edges, width=0.6, supersampling=1)

    def _with_gaze(self, pixels: np.ndarray, frame: int, camera: Pinhole) -> np.ndarray:
        lines = gaze_lines(self._puppet.rig, self._person.motion.eyes[frame])
        weights = self._person.motion.named(frame)
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        for side, line in zip(("Left", "Right"), lines, strict=True):
            if line is None or weights.get(f"eyeBlink{side}", 0.0) > _SHUT:
                continue
            start, end = camera.project(torch.from_numpy(line)[None].float())[0].tolist()
            draw.line([*start, *end], fill=_GAZE_COLOUR, width=2)
        return np.asarray(image)


def gaze_lines(rig: Rig, eyes: Float[np.ndarray, "2 3"]) -> list[Float[np.ndarray, "2 3"] | None]:
    """From each pupil a point ahead of it, head frame, mm; None for an eye that the rig has no joint for."""
    lines: list[np.ndarray | None] = []
    for joint, turn in zip(driven_joints(rig.joint_names).eyes, eyes, strict=True):
        if joint is None:
            lines.append(None)
            continue
        ball = rig.neutral[rig.skin_weights[:, joint] > 0.9]
        ahead = Rotation.from_rotvec(turn.astype(float)).apply([0.0, 0.0, 1.0])
        pupil = rig.joint_positions[joint] + (ball[:, 2].max() - rig.joint_positions[joint][2]) * ahead
        lines.append(np.stack([pupil, pupil + _GAZE_MM * ahead]))
    return lines


def quad_edges(topology: Topology) -> Bool[torch.Tensor, "T 3"] | None:
    """Which edges of the triangles are edges of quads; None for a mesh of triangles alone."""
    if topology.quads is None:
        return None
    quads = np.asarray(topology.quads)
    real = {tuple(sorted(edge)) for i in range(4) for edge in zip(quads[:, i], quads[:, (i + 1) % 4], strict=True)}
    diagonals = {tuple(sorted(edge)) for i in range(2) for edge in zip(quads[:, i], quads[:, i + 2], strict=True)}
    hidden = diagonals - real
    triangles = np.asarray(topology.triangles)
    shown = [[tuple(sorted((row[k], row[(k + 1) % 3]))) not in hidden for k in range(3)] for row in triangles.tolist()]
    return torch.tensor(shown)


def _box(outline: Float[np.ndarray, "V 2"], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    height, width = shape[:2]
    low = np.floor(outline.min(0)).clip(0, (width, height)).astype(int)
    high = np.ceil(outline.max(0)).clip(0, (width, height)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
