"""The identity network of Deep3D's perceptual loss (PyTorch code): ArcFace's iResNet-50, and the crop it sees.

Deng et al., *ArcFace*, 2019. Keys are those of ``backbone.pth``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.methods.deep3d.alignment import CROP

SIZE = 112
# Where eyes, nose tip and mouth corners lie in ArcFace's crop.
_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
_EPSILON = 1e-5


class IdentityNetwork(nn.Module):
    """iResNet-50: (B, 3, 112, 112) RGB in [-1, 1] → (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64, _EPSILON)
        self.prelu = nn.PReLU(64)
        stages, n_in = [], 64
        for width, n_units in ((64, 3), (128, 4), (256, 14), (512, 3)):
            stages.append(nn.Sequential(*(_Unit(n_in if k == 0 else width, width, k == 0) for k in range(n_units))))
            n_in = width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn2 = nn.BatchNorm2d(512, _EPSILON)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512, _EPSILON)

    def forward(self, x: Float[Tensor, "B 3 112 112"]) -> Float[Tensor, "B 512"]:
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


class _Unit(nn.Module):
    def __init__(self, n_in: int, width: int, strides: bool) -> None:
        super().__init__()
        stride = 2 if strides else 1
        self.bn1 = nn.BatchNorm2d(n_in, _EPSILON)
        self.conv1 = nn.Conv2d(n_in, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, _EPSILON)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width, _EPSILON)
        self.downsample = None
        if strides:
            convolution = nn.Conv2d(n_in, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(width, _EPSILON))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(x)) + shortcut


def identity_features(
    network: nn.Module, images: Float[Tensor, "B 3 224 224"], crop: Float[Tensor, "B 2 3"]
) -> Float[Tensor, "B 512"]:
    """Unit features of RGB crops in [0, 1], each warped by its similarity (`identity_crop`)."""
    return F.normalize(network(2 * warp(images, crop) - 1), dim=-1, eps=1e-12)


def identity_crop(landmarks: Float[Tensor, "B 68 2"]) -> Float[Tensor, "B 2 3"]:
    """The similarity from the crop (y down) to ArcFace's, from iBUG landmarks of the crop, y up.

    Umeyama 1991, with scale. The identity where the points determine none.
    """
    eyes = [landmarks[:, [36, 39]].mean(1), landmarks[:, [42, 45]].mean(1)]
    points = torch.stack([*eyes, *landmarks[:, [30, 48, 54]].unbind(1)], 1).double()
    points = torch.stack([points[..., 0], CROP - 1 - points[..., 1]], -1)
    template = torch.tensor(_TEMPLATE, dtype=torch.float64, device=points.device)
    mean, template_mean = points.mean(1, keepdim=True), template.mean(0)
    p, q = points - mean, template - template_mean
    spread = p.square().sum((1, 2)).clamp_min(torch.finfo(torch.float64).tiny)
    # A plane similarity is one complex number: q ≈ z · p.
    along = (p * q).sum((1, 2)) / spread
    across = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(1) / spread
    turn = torch.stack([torch.stack([along, -across], -1), torch.stack([across, along], -1)], -2)
    shift = template_mean - (turn @ mean.mT)[..., 0]
    found = torch.cat([turn, shift[..., None]], -1).float()
    singular = (torch.hypot(along, across) == 0) | ~torch.isfinite(along)
    return torch.where(singular[:, None, None], torch.eye(2, 3, device=points.device), found)


def warp(images: Float[Tensor, "B 3 H W"], matrix: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B 3 112 112"]:
    """Pictures moved by a similarity of pixel centres: bilinear, zeros from outside."""
    height, width = images.shape[2:]
    inverse = torch.linalg.inv(torch.cat([matrix, matrix.new_tensor([[[0.0, 0, 1]]]).expand(len(matrix), 1, 3)], 1))
    axis = torch.arange(SIZE, device=images.device, dtype=images.dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    target = torch.stack([x, y, torch.ones_like(x)], -1).reshape(1, -1, 3)
    source = (target @ inverse[:, :2].mT.to(images.dtype)).reshape(-1, SIZE, SIZE, 2)
    grid = 2 * source / source.new_tensor([width - 1, height - 1]) - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
