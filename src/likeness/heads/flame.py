"""FLAME as a head of Likeness: millimetres, the head frame, found in the store of assets.

This is the door where metres become millimetres: a point of FLAME's frame minus ``centre`` (the mean of the 68 fixed
landmarks of the average face), times 1000. FLAME's axes are the head frame's already.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.assets import find, require
from likeness.heads.flame_files import (
    JOINT_NAMES,
    FlameChart,
    FlameModel,
    read_flame,
    read_flame_chart,
    read_flame_landmarks,
    read_flame_mediapipe,
)
from likeness.heads.flame_landmarks import FlameEmbeddings, triangle_embedding
from likeness.heads.flame_layer import Flame
from likeness.heads.protocol import Embedding
from likeness.topology import Topology

MM_PER_M = 1000.0


class FlameHead:
    """The FLAME head behind the protocol of all heads. ``layer`` is the plain model in metres.

    ``embeddings`` has ``ibug68`` (fixed points) and, where its owners' file is installed, ``mediapipe105``: those of
    MediaPipe's 478 points that have a fixed place on FLAME, ``mediapipe_indices`` saying which. The contour that moves
    with the pose is in ``landmarks``.
    """

    name: str = "flame"
    joint_names: tuple[str, ...] = JOINT_NAMES

    def __init__(
        self,
        layer: Flame,
        *,
        version: str,
        topology: Topology,
        landmarks: FlameEmbeddings,
        centre: Float[Tensor, "3"],
        mediapipe: tuple[Embedding, Tensor] | None = None,
    ) -> None:
        self.layer = layer
        self.version = version
        self.topology = topology
        self.landmarks = landmarks
        self.centre = centre
        self._mediapipe = mediapipe
        self.n_identity, self.n_expression = layer.n_shape, layer.n_expression
        self.expression_names = tuple(f"expression_{k + 1:03d}" for k in range(layer.n_expression))
        self.joint_parents = tuple(layer.parents)
        self.embeddings: Mapping[str, Embedding] = {"ibug68": landmarks.fixed}
        if mediapipe is not None:
            self.embeddings = {**self.embeddings, "mediapipe105": mediapipe[0]}
        self.mediapipe_indices = None if mediapipe is None else mediapipe[1]

    def vertices(
        self,
        identity: Float[Tensor, "B I"],
        expression: Float[Tensor, "B E"] | None = None,
        joints: Float[Tensor, "B J 3"] | None = None,
        offsets: Float[Tensor, "*B V 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Posed surface, mm; see `likeness.heads.Head`."""
        if offsets is not None:
            offsets = (offsets if offsets.ndim == 3 else offsets[None]) / MM_PER_M
        return self.to_head_frame(self.layer(identity, expression, joints, offsets=offsets))

    def joint_positions(
        self, identity: Float[Tensor, "B I"], expression: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B J 3"]:
        """Rest positions of the joints, mm. An expression moves them a little, as FLAME has it."""
        return self.to_head_frame(self.layer.joints(identity, expression))

    def skin_weights(self) -> Float[Tensor, "V J"]:
        """How much each joint carries each vertex."""
        return self.layer.weights.T

    def to_head_frame(self, points_m: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3"]:
        """FLAME's metres → millimetres in the head frame."""
        return (points_m - self.centre) * MM_PER_M

    def to_metres(self, points_mm: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3"]:
        """Millimetres in the head frame → FLAME's metres."""
        return points_mm / MM_PER_M + self.centre

    def to(self, device: torch.device | str) -> FlameHead:
        """This head with its tensors on another device."""
        device = torch.device(device)
        if self.centre.device == device:
            return self
        mediapipe = self._mediapipe and (self._mediapipe[0].to(device), self._mediapipe[1].to(device))
        return FlameHead(
            copy.deepcopy(self.layer).to(device),
            version=self.version,
            topology=self.topology,
            landmarks=self.landmarks.to(device),
            centre=self.centre.to(device),
            mediapipe=mediapipe,
        )


def load_flame() -> FlameHead:
    """The installed FLAME, with all its components. Raises AssetError when its files are missing."""
    paths = (require("flame"), require("flame-landmarks"), find("flame-chart"), find("flame-mediapipe"))
    # A replaced file is another model.
    return _load(*paths, stamps=tuple(path and path.stat().st_mtime_ns for path in paths))


def flame_head(
    model: FlameModel, landmarks: FlameEmbeddings, chart: FlameChart | None = None, *, mediapipe=None
) -> FlameHead:
    """A head from what the official files hold."""
    # The chart lists the same triangles, and its UV triangles go with its own order.
    topology = Topology(model.triangles)
    if chart is not None:
        topology = Topology(chart.triangles, uv=chart.uv, uv_triangles=chart.uv_triangles)
    centre = landmarks.fixed.points(torch.from_numpy(model.template)).mean(0)
    return FlameHead(
        Flame(model),
        version=model.version,
        topology=topology,
        landmarks=landmarks,
        centre=centre,
        mediapipe=mediapipe,
    )


@lru_cache(maxsize=2)
def _load(
    model_path: Path, landmarks_path: Path, chart_path: Path | None, mediapipe_path: Path | None, *, stamps: tuple
) -> FlameHead:
    model = read_flame(model_path)
    landmarks = FlameEmbeddings.from_arrays(read_flame_landmarks(landmarks_path), model.triangles)
    chart = None if chart_path is None else read_flame_chart(chart_path)
    mediapipe = None
    if mediapipe_path is not None:
        found = read_flame_mediapipe(mediapipe_path)
        embedding = triangle_embedding(model.triangles, found.triangles, found.barycentric)
        mediapipe = (embedding, torch.from_numpy(found.indices))
    return flame_head(model, landmarks, chart, mediapipe=mediapipe)
