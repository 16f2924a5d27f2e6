"""Starting Warp quietly, and lending it torch's memory and stream."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
import torch
import warp as wp

from likeness.errors import OutputError

_log = logging.getLogger(__name__)
_NO_DRIVER = b"Could not find or load the NVIDIA CUDA driver"


@cache
def start_warp() -> None:
    """Initialise Warp once, without its greeting and without its remark that this machine has no GPU."""
    if wp.config.log_level == wp.LOG_INFO:  # a level that the user chose is left alone
        wp.config.log_level = wp.LOG_WARNING
    if wp.config.kernel_cache_dir is None and "WARP_CACHE_PATH" not in os.environ:
        wp.config.kernel_cache_dir = str(_kernel_cache())
    try:
        with _without_stderr_lines(_NO_DRIVER):
            wp.init()
    except OSError as error:
        raise OutputError(
            f"Compiled kernels cannot be kept in {error.filename}: set WARP_CACHE_PATH to a folder you can write."
        ) from error


@cache
def load_kernels(module: str, device: torch.device) -> None:
    """Compile (once per machine) and load (once per process) the kernels of a Python module."""
    start_warp()
    wp.load_module(module, device=str(wp.device_from_torch(device)))


def torch_stream(device: torch.device):
    """A context in which Warp's launches are ordered with torch's on `device`."""
    if device.type == "cpu":
        return nullcontext()
    return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device)))


def _kernel_cache() -> Path:
    folder = platformdirs.user_cache_path("likeness", appauthor=False) / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if writable:
        return folder
    _log.warning("%s cannot be written, so the render kernels are compiled in every run (about 2 s).", folder)
    return Path(_folder_of_this_run().name)


@cache
def _folder_of_this_run() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="likeness-kernels-")


def run_in_threads(function: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
    """Call `function` with each tuple of arguments, on as many threads as torch may use; Warp's launches free the GIL.

    Kernels must be loaded before: Warp loads them without minding other threads.
    """
    # A forked child has none of its parent's threads, so each process has a pool of its own.
    n_threads = min(torch.get_num_threads(), len(arguments))
    if n_threads == 1:
        for each in arguments:
            function(*each)
        return
    for future in [_pool(n_threads, os.getpid()).submit(function, *each) for each in arguments]:
        future.result()


@cache
def _pool(n_threads: int, _process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="likeness-render")


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
