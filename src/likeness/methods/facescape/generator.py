"""The generator of displacement maps: pix2pixHD's global generator (Wang et al., CVPR 2018, §3.1), as FaceScape sized
it.

Photo texture (and, for the rig, a deforming map) in; one channel in (−1, 1) out. Written from the architecture's
description with the official checkpoint's key names, so that its file loads strictly.
"""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.errors import AssetError

_WIDTH = 64
_N_DOWNSAMPLINGS = 4
_N_BLOCKS = 9


class ResidualBlock(nn.Module):
    """x + IN(conv(ReLU(IN(conv(x))))), reflection-padded; no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class DisplacementGenerator(nn.Module):
    """``n_inputs`` channels, 3 for a photo's texture, 6 with a deforming map, in [−1, 1] → one channel in (−1, 1).

    Instance norm has neither parameters nor running statistics, so training and evaluation mode are the same.
    """

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.model = nn.Sequential(*_layers(n_inputs))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H2 W2"]:
        """H2 and W2 are H and W rounded up to multiples of 16."""
        return self.model(x)


def _layers(n_inputs: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(n_inputs, _WIDTH, 7), *_normalised(_WIDTH)]
    widths = [_WIDTH * 2**i for i in range(_N_DOWNSAMPLINGS + 1)]
    for narrow, wide in itertools.pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), *_normalised(wide)]
    layers += [ResidualBlock(widths[-1]) for _ in range(_N_BLOCKS)]
    for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1), *_normalised(narrow)]
    return [*layers, nn.ReflectionPad2d(3), nn.Conv2d(_WIDTH, 1, 7), nn.Tanh()]


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU()]


def load_generator(path: Path, n_inputs: int) -> DisplacementGenerator:
    """The generator of an official checkpoint, strictly: every key and shape must fit.

    ``n_inputs`` is 3 for ``dpmap_single_net_G.pth``, 6 for ``dpmap_rig_net_G.pth``. Raises AssetError.
    """
    state = check_generator(path, n_inputs)
    with torch.device("meta"):
        generator = DisplacementGenerator(n_inputs)
    generator.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    return generator.eval().requires_grad_(False)


def check_generator(path: Path, n_inputs: int) -> dict[str, Tensor]:
    """The tensors of a checkpoint, if they are this generator's. Raises AssetError otherwise."""
    state = read_checkpoint(path)
    with torch.device("meta"):
        expected = DisplacementGenerator(n_inputs).state_dict()
    _check_state(path, state, {key: tuple(tensor.shape) for key, tensor in expected.items()})
    return state


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU, without running any code in it. Raises AssetError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files from before torch 1.6 are no zip archives and cannot be mapped
        state = _read_whole(path)
    except (OSError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise AssetError(f"{path}: holds no table of tensors; take the generator's checkpoint from FaceScape again.")
    return dict(state)


def _read_whole(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> AssetError:
    reason = str(error).split("\n")[0][:200]
    return AssetError(f"{path}: not a readable checkpoint ({reason}); was the download cut short?")


def _check_state(path: Path, state: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    missing, unknown = sorted(shapes.keys() - state.keys()), sorted(state.keys() - shapes.keys())
    wrong = [key for key, shape in shapes.items() if key in state and tuple(state[key].shape) != shape]
    if missing or unknown or wrong:
        found = ", ".join([*(f"lacks {key}" for key in missing[:2]), *(f"has {key}" for key in unknown[:2])])
        sizes = ", ".join(f"{key} is {tuple(state[key].shape)}, not {shapes[key]}" for key in wrong[:2])
        raise AssetError(
            f"{path}: is not this generator ({'; '.join(filter(None, [found, sizes]))}). The network for one map takes "
            "3 channels (dpmap_single_net_G.pth), that for the rig 6 (dpmap_rig_net_G.pth)."
        )
