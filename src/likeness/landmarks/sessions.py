"""Running the networks that ship with the package, each loaded at its first use, once a process and device."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import onnxruntime
from jaxtyping import UInt8

from likeness.errors import InputError

Device = Literal["auto", "cpu", "cuda"]
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


def run_network(
    name: str, outputs: list[str], images: UInt8[np.ndarray, "B n n 3"], device: Device
) -> list[np.ndarray]:
    """The named outputs of the network `name`, float32, for a batch of RGB images.

    Raises `InputError` if `device` is "cuda" and this ONNX Runtime has no working CUDA.
    """
    return [np.asarray(output) for output in _open_network(name, device).run(outputs, {"image": images})]


@cache
def _open_network(name: str, device: Device) -> onnxruntime.InferenceSession:
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise InputError(_NO_CUDA)
    options = onnxruntime.SessionOptions()
    # The networks are many small operations: a second thread costs more in meetings than it saves (measured).
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    network = (files("likeness.landmarks") / "networks" / f"{name}.onnx").read_bytes()
    providers = [CUDA, CPU] if has_cuda and device != "cpu" else [CPU]
    session = onnxruntime.InferenceSession(network, options, providers=providers)
    if device == "cuda" and CUDA not in session.get_providers():
        raise InputError(_NO_CUDA)
    return session


_NO_CUDA = (
    "device is 'cuda' but ONNX Runtime has no working CUDA provider here; "
    "run `pip install onnxruntime-gpu` on a machine with an NVIDIA GPU, or use device='cpu'."
)
