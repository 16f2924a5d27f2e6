"""Stand-in weights: networks filled by rule, so that a golden recorded elsewhere applies without a licensed checkpoint.

The value of a tensor depends on its state-dict key, its shape and a salt alone. The reference numbers under
``tests/goldens`` were recorded from networks filled by this rule.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch


def values(key: str, shape: Sequence[int], salt: str = "") -> np.ndarray:
    """Numbers for one tensor, scaled so that a deep network neither dies nor explodes."""
    drawn = np.random.Generator(np.random.PCG64(zlib.crc32(f"{salt}{key}".encode()))).standard_normal(tuple(shape))
    match re.split(r"[./]", key)[-1]:
        case "num_batches_tracked":
            return np.zeros(tuple(shape), np.int64)
        case "running_var":
            return (np.abs(drawn) + 0.5).astype(np.float32)
        case "running_mean":
            return (drawn * 0.1).astype(np.float32)
        case "bias":
            return (drawn * 0.05).astype(np.float32)
    if len(shape) < 2:  # the scale of a normalisation layer
        return (drawn * 0.1 + 1.0).astype(np.float32)
    return (drawn * math.sqrt(1.0 / math.prod(shape[1:]))).astype(np.float32)


def state_dict(shapes: Mapping[str, Sequence[int]], salt: str = "") -> dict[str, torch.Tensor]:
    """A whole checkpoint for a manifest of key -> shape."""
    return {key: torch.from_numpy(values(key, shape, salt)) for key, shape in shapes.items()}


def fill(module: torch.nn.Module, salt: str = "") -> torch.nn.Module:
    """Fill a module in place, by its own keys, and return it."""
    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    module.load_state_dict(state_dict(shapes, salt), strict=True)
    return module
