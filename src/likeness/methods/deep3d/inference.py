"""R-Net for use: the same numbers as the plain network, on the CPU by a packed trunk, sooner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from likeness.methods.deep3d.networks import Bottleneck, RNet, Variant, to_input
from likeness.methods.packed_resnet import PackedTrunk, has_onednn

Precision = Literal["float32", "bfloat16"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class RNetRunner:
    """An R-Net ready to run on a device. ``__call__`` takes uint8 RGB crops.

    ``precision`` concerns the trunk on a CPU; heads are float32 always.
    """

    def __init__(self, network: RNet, device: torch.device | str = "cpu", *, precision: Precision = "float32") -> None:
        self.device = torch.device(device)
        self.network = network.eval().to(self.device)
        self.variant: Variant = network.variant
        # ResNet-18 is small and rare: it runs as it is.
        packable = self.device.type == "cpu" and isinstance(network.backbone.layer1[0], Bottleneck) and has_onednn()
        self._trunk: Callable[[Tensor], Tensor] = network.backbone
        if packable:
            self._trunk = PackedTrunk(network.backbone, network.backbone.pool, _DTYPES[precision])

    @torch.inference_mode()
    def __call__(self, crops: UInt8[Tensor, "B 224 224 3"]) -> Float[Tensor, "B K"]:
        """Coefficients."""
        return self.network.predict(self.pooled(crops))

    @torch.inference_mode()
    def pooled(self, crops: UInt8[Tensor, "B 224 224 3"]) -> Float[Tensor, "B F"]:
        """The feature the heads read."""
        return self._trunk(to_input(crops.to(self.device), self.variant))
