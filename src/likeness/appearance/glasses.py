"""Does the person wear glasses? Then something crosses the bridge of the nose between the eyes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from likeness.appearance.openings import landmarks_in_view
from likeness.appearance.photo_view import PhotoView

_INNER_CORNERS = {"mediapipe478": (133, 362), "ibug68": (39, 42)}
# Of the way between the inner corners of the eyes, and mm down from them: where a bridge crosses bare skin.
_ACROSS, _FROM, _TO = 0.28, -7.0, 12.0
_BARE = 0.4


def wears_glasses(view: PhotoView, confidence: Float[Tensor, " P"]) -> bool:
    """Whether some line across the bridge of the nose shows no skin, by the mask's ``confidence`` of the P pixels.

    False where no landmarks say where the eyes are, and in profile, where the bridge is not seen.
    """
    points, detected = landmarks_in_view(view), view.face.detected
    if points is None or detected is None or detected.convention not in _INNER_CORNERS:
        return False
    right, left = (points[i] for i in _INNER_CORNERS[detected.convention])
    along = left - right
    down = normalize(torch.stack([-along[1], along[0]]), dim=0)
    across = torch.linspace(-_ACROSS, _ACROSS, 9)[None, :, None] * along
    below = torch.linspace(_FROM, _TO, 24)[:, None, None] * view.px_per_mm * down
    grid = ((right + left) / 2 + across + below) * (2 / len(view.where)) - 1
    # Where the mesh turns away there is no confidence either: that is no bridge.
    values = torch.stack([confidence, (view.facing > 0.35).float()], -1)
    seen, faces_us = grid_sample(view.image(values)[None], grid[None], align_corners=False)[0]
    bare = (seen * faces_us).sum(-1) / faces_us.sum(-1).clamp_min(1e-3)
    looked_at = faces_us.mean(-1) > 0.6
    return bool((bare[looked_at] < _BARE).any())
