"""How alike two textures are to the eye: VGG-19's features, compared patch by patch (ID-MRF).

Wang et al. 2018, *Image Inpainting via Generative Multi-column Convolutional Neural Networks*, section 3.3: each patch
of the target looks for the generated patch that is nearest to it relative to all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.errors import FileFormatError
from likeness.methods.deca.files import load_torch_file

# Channels of VGG-19's convolutions; "pool" halves the size.
_LAYERS = (64, 64, "pool", 128, 128, "pool", *(256,) * 4, "pool", *(512,) * 4, "pool", *(512,) * 4, "pool")
# DECA calls these relu3_2 and relu4_2; by the usual count they are relu3_1 and relu4_1.
STYLE_LAYERS, CONTENT_LAYERS = (11, 20), (20,)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BANDWIDTH, _EPSILON = 0.5, 1e-5


class Vgg19(nn.Module):
    """The convolutions of VGG-19, frozen. ``forward`` gives the activations after the named layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = 3
        for layer in _LAYERS:
            if isinstance(layer, str):
                layers.append(nn.MaxPool2d(2, stride=2))
            else:
                layers += [nn.Conv2d(n_in, layer, 3, padding=1), nn.ReLU()]
                n_in = layer
        self.features = nn.Sequential(*layers)

    def forward(self, images: Float[Tensor, "B 3 H W"], layers: tuple[int, ...]) -> dict[int, Tensor]:
        """RGB in [0, 1]."""
        mean, deviation = (images.new_tensor(numbers)[:, None, None] for numbers in (_MEAN, _DEVIATION))
        found, features = {}, (images - mean) / deviation
        for index, layer in enumerate(self.features):
            features = layer(features)
            if index in layers:
                found[index] = features
            if index == max(layers):
                return found
        return found


class MrfLoss(nn.Module):
    """ID-MRF between generated and target pictures. A sum over the batch, as the authors have it."""

    def __init__(self, network: Vgg19) -> None:
        super().__init__()
        self.network = network

    def forward(self, generated: Float[Tensor, "B 3 H W"], target: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
        """RGB in [0, 1]. Style counts at two depths, content at the deeper."""
        found = self.network(generated, STYLE_LAYERS)
        with torch.no_grad():
            expected = self.network(target, STYLE_LAYERS)
        each = {layer: mrf_loss(found[layer], expected[layer]) for layer in STYLE_LAYERS}
        return torch.stack([each[layer] for layer in (*STYLE_LAYERS, *CONTENT_LAYERS)]).sum()


def mrf_loss(generated: Float[Tensor, "B C H W"], target: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """ID-MRF of one layer's features, patches of one position, summed over the batch."""
    mean = target.mean(1, keepdim=True)
    own, other = (_directions(features - mean) for features in (generated, target))
    total = generated.new_zeros(())
    for g, t in zip(own, other, strict=True):
        # Rows are the target's patches, columns the generated positions.
        distance = (1 - t.T @ g) / 2
        relative = distance / (distance.amin(0, keepdim=True) + _EPSILON)
        weight = torch.exp((1 - relative) / _BANDWIDTH)
        share = weight / weight.sum(0, keepdim=True)
        total = total - share.amax(1).mean().log()
    return total


def _directions(features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C HW"]:
    return torch.nn.functional.normalize(features.flatten(2), dim=1, eps=1e-12)


def read_vgg19(path: str | Path) -> Vgg19:
    """Read torchvision's ``vgg19-….pth``. Raises FileFormatError when it holds another network."""
    content: Any = load_torch_file(path)
    network = Vgg19()
    expected = network.state_dict()
    for key, tensor in expected.items():
        found = content.get(key) if isinstance(content, Mapping) else None
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            raise FileFormatError(f"{path}: {key} should be a tensor of shape {tuple(tensor.shape)}; is this VGG-19?")
    network.load_state_dict({key: content[key] for key in expected})
    return network.eval().requires_grad_(False)
