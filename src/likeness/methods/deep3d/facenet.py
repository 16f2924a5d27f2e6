"""The identity network of Deep3D's perceptual loss (TensorFlow code): FaceNet's Inception-ResNet-v1.

Schroff et al. 2015, Szegedy et al. 2016, as in the checkpoint 20170512-110547. Modules carry TensorFlow's names, so
that a variable's path is its key: ``InceptionResnetV1/Mixed_6a/…/weights`` is ``Mixed_6a.….weight``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_EPSILON = 1e-3


class FaceNet(nn.Module):
    """(B, 3, H, W) BGR from 0 to 255 → (B, 128), not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3, same=True)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3)
        self.Conv2d_4b_3x3 = _Convolution(192, 256, 3, stride=2)
        self.Repeat = nn.ModuleDict({f"block35_{k}": _block35() for k in range(1, 6)})
        self.Mixed_6a = _Reduction(
            Branch_0={"Conv2d_1a_3x3": _Convolution(256, 384, 3, stride=2)},
            Branch_1={
                "Conv2d_0a_1x1": _Convolution(256, 192, 1),
                "Conv2d_0b_3x3": _Convolution(192, 192, 3, same=True),
                "Conv2d_1a_3x3": _Convolution(192, 256, 3, stride=2),
            },
        )
        self.Repeat_1 = nn.ModuleDict({f"block17_{k}": _block17() for k in range(1, 11)})
        self.Mixed_7a = _Reduction(
            Branch_0={"Conv2d_0a_1x1": _Convolution(896, 256, 1), "Conv2d_1a_3x3": _Convolution(256, 384, 3, stride=2)},
            Branch_1={"Conv2d_0a_1x1": _Convolution(896, 256, 1), "Conv2d_1a_3x3": _Convolution(256, 256, 3, stride=2)},
            Branch_2={
                "Conv2d_0a_1x1": _Convolution(896, 256, 1),
                "Conv2d_0b_3x3": _Convolution(256, 256, 3, same=True),
                "Conv2d_1a_3x3": _Convolution(256, 256, 3, stride=2),
            },
        )
        self.Repeat_2 = nn.ModuleDict({f"block8_{k}": _block8(0.2, relu=True) for k in range(1, 6)})
        self.Block8 = _block8(1.0, relu=False)
        self.Bottleneck = _Bottleneck()

    def forward(self, bgr: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 128"]:
        x = (bgr.clamp(0, 255) - 127.5) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, 2)
        x = self.Conv2d_4b_3x3(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for blocks, after in (
            (self.Repeat, self.Mixed_6a),
            (self.Repeat_1, self.Mixed_7a),
            (self.Repeat_2, self.Block8),
        ):
            for block in blocks.values():
                x = block(x)
            x = after(x)
        return self.Bottleneck(x.mean((2, 3)))


class _Normalisation(nn.Module):
    """Batch normalisation without a scale."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n))
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, None, self.bias, False, 0.0, _EPSILON)


class _Convolution(nn.Module):
    """Convolution, normalisation, ReLU. TensorFlow's SAME is symmetric at stride 1 with odd kernels."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int | tuple[int, int], *, stride: int = 1, same: bool = False
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = nn.Parameter(torch.zeros(n_out, n_in, height, width))
        self.BatchNorm = _Normalisation(n_out)
        self._stride = stride
        self._padding = (height // 2, width // 2) if same else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.BatchNorm(F.conv2d(x, self.weight, None, self._stride, self._padding)))


class _Branches(nn.Module):
    """Chains of convolutions on one input, side by side, in channels."""

    def __init__(self, **branches: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layers in branches.items():
            self.add_module(name, nn.ModuleDict(layers))
        self._names = tuple(branches)

    def _run(self, x: Tensor) -> list[Tensor]:
        found = []
        for name in self._names:
            y = x
            for layer in self.get_submodule(name).children():
                y = layer(y)
            found.append(y)
        return found


class _Reduction(_Branches):
    """Branches that halve the map, and a max-pool beside them."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*self._run(x), F.max_pool2d(x, 3, 2)], 1)


class _Residual(_Branches):
    """x + scale · 1×1(branches), with or without ReLU."""

    def __init__(
        self, n: int, n_mixed: int, scale: float, *, relu: bool = True, **branches: dict[str, nn.Module]
    ) -> None:
        super().__init__(**branches)
        self.Conv2d_1x1 = nn.Conv2d(n_mixed, n, 1)
        self._scale, self._relu = scale, relu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._scale * self.Conv2d_1x1(torch.cat(self._run(x), 1))
        return F.relu(x) if self._relu else x


class _Bottleneck(nn.Module):
    """The last matrix, with normalisation and no bias of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(128, 1792))
        self.BatchNorm = _Normalisation(128)

    def forward(self, x: Float[Tensor, "B 1792"]) -> Float[Tensor, "B 128"]:
        return self.BatchNorm(x @ self.weight.T)


def _block35() -> _Residual:
    return _Residual(
        256, 96, 0.17,
        Branch_0={"Conv2d_1x1": _Convolution(256, 32, 1)},
        Branch_1={"Conv2d_0a_1x1": _Convolution(256, 32, 1), "Conv2d_0b_3x3": _Convolution(32, 32, 3, same=True)},
        Branch_2={
            "Conv2d_0a_1x1": _Convolution(256, 32, 1),
            "Conv2d_0b_3x3": _Convolution(32, 32, 3, same=True),
            "Conv2d_0c_3x3": _Convolution(32, 32, 3, same=True),
        },
    )  # fmt: skip


def _block17() -> _Residual:
    return _Residual(
        896, 256, 0.1,
        Branch_0={"Conv2d_1x1": _Convolution(896, 128, 1)},
        Branch_1={
            "Conv2d_0a_1x1": _Convolution(896, 128, 1),
            "Conv2d_0b_1x7": _Convolution(128, 128, (1, 7), same=True),
            "Conv2d_0c_7x1": _Convolution(128, 128, (7, 1), same=True),
        },
    )  # fmt: skip


def _block8(scale: float, *, relu: bool) -> _Residual:
    return _Residual(
        1792, 384, scale, relu=relu,
        Branch_0={"Conv2d_1x1": _Convolution(1792, 192, 1)},
        Branch_1={
            "Conv2d_0a_1x1": _Convolution(1792, 192, 1),
            "Conv2d_0b_1x3": _Convolution(192, 192, (1, 3), same=True),
            "Conv2d_0c_3x1": _Convolution(192, 192, (3, 1), same=True),
        },
    )  # fmt: skip
