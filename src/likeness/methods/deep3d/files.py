"""The official weights of R-Net: ``epoch_*.pth`` (PyTorch) and ``FaceReconModel.pb`` (frozen TensorFlow graph).

What a file is, is read from its content. The two networks share every tensor shape, so weights of one would load into
the other and give plausible nonsense; `read_weights` tells them apart and `load_rnet` refuses the wrong one by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor

from likeness.errors import AssetError, FileFormatError
from likeness.files.frozen_graph import GraphNode, read_graph
from likeness.methods.deep3d.coefficients import HEAD_SIZES, N_LIGHT
from likeness.methods.deep3d.networks import RNet, Variant

_MAX_BYTES = 2 << 30
_NAMES: dict[Variant, str] = {"pytorch": "the PyTorch R-Net", "tensorflow": "the TensorFlow R-Net"}
_TENSORFLOW_HEADS = ("fc-id", "fc-ex", "fc-tex", "fc-angles", "fc-gamma", "fc-XY", "fc-Z")
_UNITS = (3, 4, 6, 3)
# What a tensor is called last, in TensorFlow and in PyTorch.
_LAST = {
    "weights": "weight",
    "biases": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Keys by which other files people have in the same folder are recognised.
_OTHERS = (
    (r"E_flame|E_detail|D_detail", "DECA's checkpoint"),
    (r"(^|\.)opt_layer\.", "INORig's checkpoint"),
    (r"(^|\.)prelu\.weight$|layer1\.0\.prelu", "the ArcFace network of Deep3D's training"),
    (r"^layer4\.\d\.conv1\.weight$", "a plain ImageNet ResNet"),
    (r"(^|\.)resnet_v1_50[/.]", "weights of the TensorFlow R-Net under TensorFlow's names"),
)


@dataclass(frozen=True, eq=False)
class RNetWeights:
    """A state dict for `RNet` and which one it belongs to."""

    variant: Variant
    depth: Literal[18, 50]
    head_sizes: tuple[int, ...]
    single_head: bool
    state: Mapping[str, Tensor]

    def build(self) -> RNet:
        """The network with these weights, in evaluation mode."""
        with torch.device("meta"):
            network = RNet(
                self.variant, depth=self.depth, head_sizes=self.head_sizes, single_head=self.single_head
            ).eval()
        network.load_state_dict(dict(self.state), strict=True, assign=True)
        return network.requires_grad_(False)


def load_rnet(path: str | Path, *, variant: Variant | None = None) -> RNet:
    """R-Net with the weights of a file; ``variant``, if given, is what the file must be.

    Raises AssetError when the file holds the other R-Net or something else, and says what; FileFormatError when it is
    damaged.
    """
    weights = read_weights(path)
    if variant is not None and weights.variant != variant:
        raise AssetError(
            f"{Path(path).name}: holds {_NAMES[weights.variant]}, not {_NAMES[variant]}. Both have the same shapes but "
            f"not the same strides and input; ask for the variant '{weights.variant}' instead."
        )
    return weights.build()


def read_weights(path: str | Path) -> RNetWeights:
    """The weights of either official file, told by content. Raises AssetError or FileFormatError as `load_rnet`."""
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file.")
    with path.open("rb") as file:
        start = file.read(8)
    # A zip (PyTorch since 1.6), a pickle (before), or the first field of a GraphDef.
    if start.startswith(b"PK\x03\x04") or start.startswith(b"\x80"):
        return _read_pytorch(path)
    return _read_tensorflow(path)


def tensorflow_key(name: str) -> str | None:
    """What a variable of the TensorFlow R-Net is called in `RNet`; None for a name that is not one of its 279."""
    head, _, last = name.rpartition("/")
    if head in _TENSORFLOW_HEADS and last in ("weights", "biases"):
        return f"final_layers.{_TENSORFLOW_HEADS.index(head)}.{_LAST[last]}"
    normalised = head.endswith("/BatchNorm")
    layer = head.removesuffix("/BatchNorm")
    # In the trunk no convolution has a bias: normalisation follows.
    if last not in (("gamma", "beta", "moving_mean", "moving_variance") if normalised else ("weights",)):
        return None
    if layer == "resnet_v1_50/conv1":
        return f"backbone.{'bn1' if normalised else 'conv1'}.{_LAST[last]}"
    match = re.fullmatch(r"resnet_v1_50/block([1-4])/unit_(\d)/bottleneck_v1/(conv[123]|shortcut)", layer)
    if match is None or not 1 <= int(match[2]) <= _UNITS[int(match[1]) - 1]:
        return None
    if match[3] == "shortcut":
        part = f"downsample.{int(normalised)}" if match[2] == "1" else None
    else:
        part = match[3].replace("conv", "bn") if normalised else match[3]
    return part and f"backbone.layer{match[1]}.{int(match[2]) - 1}.{part}.{_LAST[last]}"


def _read_tensorflow(path: Path) -> RNetWeights:
    nodes = read_graph(path)
    state: dict[str, Tensor] = {}
    for node in nodes.values():
        key = tensorflow_key(node.name) if node.op == "Const" else None
        if key is not None:
            state[key] = _to_pytorch(node)
            if key.endswith("running_var"):
                state[key.replace("running_var", "num_batches_tracked")] = torch.zeros((), dtype=torch.long)
    if not state:
        raise AssetError(
            f"{path.name}: is a TensorFlow graph without R-Net's variables (resnet_v1_50, fc-id, …). Deep3D's is "
            "called FaceReconModel.pb; its landmark detectors are other files."
        )
    _check_strides(path, nodes)
    sizes = tuple(len(state.get(f"final_layers.{k}.bias", ())) for k in range(len(_TENSORFLOW_HEADS)))
    return _checked(path, RNetWeights("tensorflow", 50, sizes, False, state))


def _to_pytorch(node: GraphNode) -> Tensor:
    """Convolutions are stored (height, width, in, out)."""
    array = node.tensor()
    array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return torch.from_numpy(np.array(array, np.float32, order="C"))


def _check_strides(path: Path, nodes: Mapping[str, GraphNode]) -> None:
    """A graph that has its operations must stride where slim's network does."""
    for node in nodes.values():
        match = re.fullmatch(r"resnet_v1_50/block(\d)/unit_(\d)/bottleneck_v1/conv2/Conv2D", node.name)
        strides = node.integers("strides") if match and node.op == "Conv2D" else ()
        if match is None or not strides:
            continue
        last = int(match[1]) < 4 and int(match[2]) == _UNITS[int(match[1]) - 1]
        if max(strides) != (2 if last else 1):
            raise AssetError(
                f"{path.name}: block {match[1]}, unit {match[2]} strides by {max(strides)}, unlike the TensorFlow "
                "R-Net; these may be the PyTorch R-Net's weights in a graph. Use the original FaceReconModel.pb or "
                "epoch_20.pth."
            )


def _read_pytorch(path: Path) -> RNetWeights:
    content = _load(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("net_recon"), Mapping):
        raise AssetError(
            f"{path.name}: holds {_described(content)}, not Deep3D's checkpoint (epoch_20.pth), which has an entry "
            "'net_recon'."
        )
    state = content["net_recon"]
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise FileFormatError(f"{path.name}: 'net_recon' should hold tensors by name.")
    _check_names(path, state)
    sizes = []
    while f"final_layers.{len(sizes)}.bias" in state:
        sizes.append(len(state[f"final_layers.{len(sizes)}.bias"]))
    depth = 50 if "backbone.layer1.0.conv3.weight" in state else 18
    weights = _checked(path, RNetWeights("pytorch", depth, tuple(sizes), "backbone.fc.weight" in state, state))
    _check_input_range(path, state)
    return weights


def _load(path: Path) -> Any:
    if path.stat().st_size > _MAX_BYTES:
        raise FileFormatError(f"{path.name}: {path.stat().st_size / 1e9:.1f} GB is far too large for a checkpoint.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, OSError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FileFormatError(
            f"{path.name}: cannot be read as a PyTorch file of plain tensors ({reason}). Was it cut short?"
        ) from error


def _check_names(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse the TensorFlow network's weights in a PyTorch file, as far as names tell."""
    if any(re.search(r"resnet_v1_50|^fc-", key) for key in state):
        _refuse_converted(path, "their names are TensorFlow's")
    if "backbone.bn1.running_mean" in state and "backbone.bn1.num_batches_tracked" not in state:
        _refuse_converted(
            path, "'num_batches_tracked' is missing, which PyTorch's training leaves and TensorFlow has not"
        )


def _refuse_converted(path: Path, trace: str) -> NoReturn:
    raise AssetError(
        f"{path.name}: holds weights of {_NAMES['tensorflow']} converted to a PyTorch file ({trace}). They would "
        "load and give wrong faces, since the two networks stride differently; use the original FaceReconModel.pb."
    )


def _check_input_range(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse a PyTorch checkpoint whose first normalisation saw more variance than pixels in [0, 1] can have.

    A convolution w of such pixels (or of zeros beyond the border) lies in an interval of length Σ|w|, so its variance
    is at most a quarter of that, squared. Natural photos from 0 to 255 exceed this far in nearly every channel.
    """
    weight, variance = state["backbone.conv1.weight"].double(), state["backbone.bn1.running_var"].double()
    largest = weight.abs().sum((1, 2, 3)).square() / 4
    if bool((variance > 4 * largest).double().mean() > 0.25):
        _refuse_converted(path, "its first layer was trained on pixels from 0 to 255")


def _described(content: Any) -> str:
    """What a file of another kind seems to be, in a phrase."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    keys = [str(key) for key in content]
    keys += [str(key) for value in content.values() if isinstance(value, Mapping) for key in value]
    for pattern, what in _OTHERS:
        if any(re.search(pattern, key) for key in keys):
            return what
    if any(key.startswith(("backbone.", "module.backbone.")) for key in keys):
        return "a bare state dict of R-Net"
    return f"entries {', '.join(sorted(map(str, content))[:6])}" if content else "nothing"


def _checked(path: Path, weights: RNetWeights) -> RNetWeights:
    """Strict: every tensor of the network, none besides, in its shape, finite."""
    sizes = weights.head_sizes
    light = HEAD_SIZES.index(N_LIGHT)
    if not weights.single_head:
        expected = (*HEAD_SIZES[:light], sizes[light] if len(sizes) > light else 0, *HEAD_SIZES[light + 1 :])
        if sizes != expected or sizes[light] not in (N_LIGHT, N_LIGHT // 3):
            raise AssetError(
                f"{path.name}: its heads predict {sizes} numbers; Deep3D's predict {HEAD_SIZES}, with 9 in place of 27 "
                "for white light."
            )
    with torch.device("meta"):
        network = RNet(weights.variant, depth=weights.depth, head_sizes=sizes, single_head=weights.single_head)
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    missing, unknown = sorted(set(wanted) - set(weights.state)), sorted(set(weights.state) - set(wanted))
    if missing or unknown:
        raise AssetError(f"{path.name}: is not {_NAMES[weights.variant]}: {_listed(missing, unknown)}.")
    for key, shape in wanted.items():
        tensor = weights.state[key]
        if tuple(tensor.shape) != shape:
            raise AssetError(f"{path.name}: '{key}' has shape {tuple(tensor.shape)}, {shape} is R-Net's.")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FileFormatError(f"{path.name}: '{key}' holds numbers that are not finite; the file is damaged.")
    return weights


def _listed(missing: list[str], unknown: list[str]) -> str:
    parts = []
    for what, keys in (("lacks", missing), ("has besides", unknown)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            parts.append(f"{what} {', '.join(keys[:3])}{more}")
    return "; ".join(parts)


__all__ = ["RNetWeights", "load_rnet", "read_weights", "tensorflow_key"]
