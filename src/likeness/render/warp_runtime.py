"""Starting Warp quietly, and lending it torch's memory and stream."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

import torch
import warp as wp

_NO_DRIVER = b"Could not find or load the NVIDIA CUDA driver"


@cache
def start_warp() -> None:
    """Initialise Warp once, without its greeting and without its remark that this machine has no GPU."""
    if wp.config.log_level == wp.LOG_INFO:  # a level that the user chose is left alone
        wp.config.log_level = wp.LOG_WARNING
    with _without_stderr_lines(_NO_DRIVER):
        wp.init()


def torch_stream(device: torch.device):
    """A context in which Warp's launches are ordered with torch's on `device`."""
    if device.type == "cpu":
        return nullcontext()
    return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device)))


@contextmanager
def _without_stderr_lines(phrase: bytes) -> Iterator[None]:
    """Hold back the process's error stream, then pass on its lines that lack `phrase`.

    Warp's native library writes to file descriptor 2, below Python's `sys.stderr`.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            os.write(2, b"".join(line for line in held if phrase not in line))
