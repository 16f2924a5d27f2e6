"""The pose regressor: one photo → six normalised pose numbers."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from likeness.methods.inorig.backbone import BLOCKS_DRN22, Backbone


class PoseRegressor(nn.Module):
    """Photo (B, 3, 256, 256) → normalised pose (B, 6): pitch, yaw, roll, scale, x, y. See `camera.Pose`."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb_net = Backbone(BLOCKS_DRN22)
        self.pose_fc = nn.Sequential(
            nn.Linear(512, 256, bias=False), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(256, 6)
        )

    def forward(self, photos: Float[Tensor, "B 3 256 256"]) -> Float[Tensor, "B 6"]:
        return self.pose_fc(self.rgb_net(photos)[-1].mean((-2, -1)))
