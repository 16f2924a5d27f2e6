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
    return network_from_state(read_checkpoint(path))


def network_from_state(state: dict[str, torch.Tensor]) -> InorigNetwork:
    """The network with these tensors, made ready for inference."""
    with torch.device("meta"):  # no time for weights that are replaced at once
        network = InorigNetwork()
    network.load_state_dict(state, strict=True, assign=True)
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, Backbone):
            fold_batch_norms(module)
    return network


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors by name. Raises AssetError unless they are exactly INORig's, all finite."""
    state = _read_tensors(Path(path))
    with torch.device("meta"):
        expected = InorigNetwork().state_dict()
    wrong = sorted(
        key
        for key in expected.keys() | state.keys()
        if key not in expected or key not in state or state[key].shape != expected[key].shape
    )
    if wrong:
        raise AssetError(
            f"{path}: not an INORig checkpoint: {len(wrong)} of its tensors are missing, unknown or of another shape "
            f"(the first is '{wrong[0]}'); use the authors' Ours.pth or Ours(R).pth."
        )
    broken = [key for key, tensor in state.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise AssetError(f"{path}: '{broken[0]}' holds numbers that are not finite; download the file again.")
    return state


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
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
