"""The whole network under the official checkpoint's key names."""

from __future__ import annotations

import torch
from torch import nn

from likeness.methods.inorig.albedo import AlbedoDecoder
from likeness.methods.inorig.backbone import BLOCKS_DRN22, BLOCKS_DRN38, Backbone
from likeness.methods.inorig.expression import ExpressionDecoder
from likeness.methods.inorig.identity import IdentityDecoder
from likeness.methods.inorig.pyramid import FeaturePyramid
from likeness.methods.inorig.regressor import PoseRegressor
from likeness.methods.inorig.step_sizes import StepNetwork

GEOMETRY_SIZES = (32, 64, 128)
ALBEDO_SIZES = (64, 128, 128)
# Which of the albedo pyramid's outputs (32², 64², 128²) each level reads; the first is never used.
ALBEDO_FEATURES = (1, 2, 2)
ANCHOR_NAMES = ("angry", "disgust", "fear", "sad", "smileClosed", "smileOpen", "surprise")


class InorigNetwork(nn.Module):
    """1008 tensors: ``regressor`` for the first pose, ``opt_layer`` for everything in the descent."""

    def __init__(self) -> None:
        super().__init__()
        self.regressor = PoseRegressor()
        self.opt_layer = DescentNetworks()


class DescentNetworks(nn.Module):
    """Backbones, pyramids, decoders and step networks.

    ``anchor_ep_norms`` are expression codes of `ANCHOR_NAMES`, learned in training and not used by the descent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.anchor_ep_norms = nn.Parameter(torch.zeros(1, len(ANCHOR_NAMES), 8))
        self.rgb_net = Backbone(BLOCKS_DRN38)
        self.albedo_net = Backbone(BLOCKS_DRN22, truncated=True)
        self.fpn = FeaturePyramid((512, 512, 256, 128, 64, 32))
        self.basis_fpn = FeaturePyramid((512, 512, 256, 128, 64, 32))
        self.albedo_fpn = FeaturePyramid((256, 128, 64, 32))
        self.iden_model = IdentityDecoder(GEOMETRY_SIZES)
        self.exp_model = ExpressionDecoder(GEOMETRY_SIZES)
        self.albedo_model = AlbedoDecoder(ALBEDO_SIZES)
        for level in range(3):
            self.add_module(f"step_net{level + 2}", StepNetwork(66, 64, 4))
            self.add_module(f"ap_step_net{level}", StepNetwork(3, 8, 1))
