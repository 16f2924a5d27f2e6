"""C-Net: how far to trust each identity coefficient of a photo (Deng et al. 2019, section on image sets).

It reads two features of a frozen R-Net, that of the first residual stage and the pooled one. Its weights were never
released; this is its published form, to train and to load. Fresh, its last layer is zero, so that it starts as plain
averaging.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.errors import FileFormatError
from likeness.files.tensors import read_tensors, write_tensors
from likeness.methods.deep3d.coefficients import N_IDENTITY

_KIND, _VERSION = "deep3d C-Net", 1
_N_EARLY, _N_POOLED, _N_HIDDEN = 256, 2048, 512


class CNet(nn.Module):
    """(first stage's feature, pooled feature) → confidence (B, 80) in (0, 1). 3.0 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = []
        for _ in range(3):
            convolutions += [nn.Conv2d(_N_EARLY, _N_EARLY, 3, 2, 1), nn.ReLU()]
        self.early = nn.Sequential(*convolutions)
        self.hidden = nn.Linear(_N_EARLY + _N_POOLED, _N_HIDDEN)
        self.last = nn.Linear(_N_HIDDEN, N_IDENTITY)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, early: Float[Tensor, "B 256 h w"], pooled: Float[Tensor, "B 2048"]) -> Float[Tensor, "B 80"]:
        # Any size of map will do: 28 × 28 from the TensorFlow R-Net, 56 × 56 from the PyTorch one.
        summary = self.early(early).mean((2, 3))
        return self.last(self.hidden(torch.cat([summary, pooled], 1)).relu()).sigmoid()


def save_cnet(path: str | Path, network: CNet, *, variant: str) -> None:
    """Write trained weights; ``variant`` is the R-Net they were trained on. Raises OutputError."""
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}
    write_tensors(path, _KIND, _VERSION, {"variant": variant}, tensors)


def load_cnet(path: str | Path, *, variant: str) -> CNet:
    """Read what `save_cnet` wrote. Raises FileFormatError, also when it was trained on the other R-Net."""
    network = CNet().requires_grad_(False).eval()
    wanted = network.state_dict()
    header, tensors = read_tensors(path, _KIND, _VERSION, required=wanted)
    if header.get("variant") != variant:
        raise FileFormatError(
            f"{Path(path).name}: was trained on the {header.get('variant')} R-Net, not the {variant} one, whose "
            "features differ. Use it with that one."
        )
    for name, tensor in wanted.items():
        if tensors[name].shape != tuple(tensor.shape):
            raise FileFormatError(f"{Path(path).name}: '{name}' has shape {tensors[name].shape}, not C-Net's.")
    network.load_state_dict({name: torch.from_numpy(tensors[name]) for name in wanted}, strict=True)
    return network
