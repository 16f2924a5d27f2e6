"""Reading the official checkpoints: a bare state dict of 1008 tensors, loaded strictly, never unpickled freely."""

from __future__ import annotations

from pathlib import Path

import torch

from likeness.errors import AssetError
from likeness.methods.inorig.backbone import Backbone, fold_batch_norms
from likeness.methods.inorig.network import InorigNetwork


def load_network(path: str | Path) -> InorigNetwork:
    """The network with a checkpoint's weights, made ready for inference (batch norms folded into convolutions).

    Raises AssetError when the file is no INORig checkpoint.
    """
    network = InorigNetwork()
    state = read_state(path)
    expected = network.state_dict()
    wrong = sorted(
        key for key in expected.keys() | state.keys() if key not in expected or _differs(expected, state, key)
    )
    if wrong:
        raise AssetError(
            f"{path}: not an INORig checkpoint: {len(wrong)} of its tensors are missing, unknown or of another shape "
            f"(the first is '{wrong[0]}'); use the authors' Ours.pth or Ours(R).pth."
        )
    network.load_state_dict(state, strict=True)
    return prepare(network)


def prepare(network: InorigNetwork) -> InorigNetwork:
    """Ready for inference, in place: evaluation mode, no gradients to weights, batch norms folded."""
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, Backbone):
            fold_batch_norms(module)
    return network


def read_state(path: str | Path) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors by name. Raises AssetError when it cannot be read as plain tensors."""
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise AssetError(f"{path}: there is no such file.") from error
    except Exception as error:  # torch raises nearly every type there is on a damaged or hostile file
        raise AssetError(
            f"{path}: cannot be read as a checkpoint of plain tensors ({type(error).__name__}); download it again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise AssetError(f"{path}: holds no state dict of tensors; use the authors' Ours.pth or Ours(R).pth.")
    return state


def _differs(expected: dict, state: dict, key: str) -> bool:
    return key not in state or state[key].shape != expected[key].shape
