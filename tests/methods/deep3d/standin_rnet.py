"""Files with stand-in weights in the layout of the official ones, written without TensorFlow."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path

import numpy as np
import torch

import standin

GOLDENS = Path(__file__).parents[2] / "goldens" / "deep3d"
SALT = "deep3d"
_RENAMED = {
    "weights": "weight",
    "biases": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@cache
def keys(name: str) -> dict[str, list[int]]:
    return json.loads((GOLDENS / f"keys_{name}.json").read_text())


@cache
def pytorch_state(name: str = "recon", salt: str = SALT) -> dict[str, torch.Tensor]:
    """Shared: do not write into it."""
    return standin.state_dict(keys(name), salt)


@cache
def tensorflow_variables(salt: str = SALT) -> dict[str, np.ndarray]:
    """Shared: do not write into it."""
    return {name: tensorflow_value(name, shape, salt) for name, shape in keys("recon_tf").items()}


def tensorflow_value(name: str, shape: list[int], salt: str = SALT) -> np.ndarray:
    """Drawn under PyTorch's last name and in its axis order, laid out as TensorFlow has it."""
    head, last = name.rsplit("/", 1)
    key = f"{head}/{_RENAMED[last]}"
    if len(shape) == 4:
        height, width, n_in, n_out = shape
        return standin.values(key, (n_out, n_in, height, width), salt).transpose(2, 3, 1, 0)
    if len(shape) == 2:
        return standin.values(key, tuple(reversed(shape)), salt).T
    return standin.values(key, tuple(shape), salt)


def write_pytorch(path: Path, name: str = "recon", salt: str = SALT) -> Path:
    """``epoch_20.pth``."""
    checkpoint = {
        "net_recon": pytorch_state(name, salt),
        "opt_00": {"state": {}, "param_groups": []},
        "sched_00": {"last_epoch": 20},
    }
    torch.save(checkpoint, path)
    return path


def write_tensorflow(path: Path, *, light: int = 27, strides: dict[str, int] | None = None, salt: str = SALT) -> Path:
    """``FaceReconModel.pb``; ``strides`` adds convolution nodes by name."""
    with path.open("wb") as file:
        file.write(node("input_imgs", "Placeholder"))
        file.write(constant("resnet_v1_50/Pad/paddings", np.array([[0, 0], [3, 3], [3, 3], [0, 0]], np.int32)))
        for name, value in tensorflow_variables(salt).items():
            file.write(constant(name, value[..., :light] if name.startswith("fc-gamma") else value))
            file.write(node(f"{name}/read", "Identity", [name]))
        for name, stride in (strides or {}).items():
            listed = field(1, field(3, b"".join(varint(value) for value in (1, stride, stride, 1))))
            file.write(node(name, "Conv2D", [], {"strides": listed}))
        file.write(constant("concat/axis", np.array(1, np.int32)))
        file.write(node("coeff", "ConcatV2", ["concat/axis"]))
    return path


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def tensor(array: np.ndarray) -> bytes:
    """``TensorProto``: one number in float_val or int_val, more as raw content, as TensorFlow writes them."""
    is_int = array.dtype == np.int32
    head = integer(1, 3 if is_int else 1) + field(2, b"".join(field(2, integer(1, size)) for size in array.shape))
    if array.size > 1:
        return head + field(4, np.ascontiguousarray(array).tobytes())
    if is_int:
        return head + field(7, varint(int(array.reshape(-1)[0]) % 2**64))
    return head + field(5, struct.pack("<f", float(array.reshape(-1)[0])))


def node(name: str, op: str, inputs: list[str] = (), attributes: dict[str, bytes] | None = None) -> bytes:
    body = field(1, name.encode()) + field(2, op.encode()) + b"".join(field(3, each.encode()) for each in inputs)
    for key, value in (attributes or {}).items():
        body += field(5, field(1, key.encode()) + field(2, value))
    return field(1, body)


def constant(name: str, array: np.ndarray) -> bytes:
    return node(name, "Const", [], {"value": field(8, tensor(array))})
