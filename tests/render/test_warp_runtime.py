"""Warp starts quietly, finds a place for its kernels, and its kernels also compile for GPUs."""

import os
import subprocess
import sys

import pytest
import torch
import warp as wp

from likeness.render import kernels
from likeness.render.warp_runtime import load_kernels, run_in_threads, start_warp

_FIRST_PICTURE = (
    "import torch; from likeness.render import rasterize; "
    "rasterize(torch.rand(1, 3, 3), torch.tensor([[0, 1, 2]]), (4, 4))"
)


def first_picture(**environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WARP_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-c", _FIRST_PICTURE], env=kept | environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_nothing_is_said(tmp_path):
    run = first_picture(WARP_CACHE_PATH=str(tmp_path))
    assert run.returncode == 0
    assert run.stdout == ""
    assert "Warp" not in run.stderr
    assert any(tmp_path.rglob("*likeness.render.kernels*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is moved by XDG_CACHE_HOME")
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = first_picture(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert run.returncode == 0
    assert "cannot be written" in run.stderr


@pytest.mark.slow
def test_a_chosen_cache_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = first_picture(WARP_CACHE_PATH=str(tmp_path / "file"))
    assert run.returncode != 0
    assert "OutputError" in run.stderr and "set WARP_CACHE_PATH" in run.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="Warp for macOS has no CUDA compiler")
def test_the_same_source_compiles_for_cuda(tmp_path):
    start_warp()
    written = wp.compile_aot_module(kernels, device=None, arch=75, module_dir=str(tmp_path))
    assert [path.suffix for path in written] == [".cubin"]


def test_threads_do_all_the_work_and_pass_errors_on():
    load_kernels(kernels.__name__, torch.device("cpu"))
    done = []
    run_in_threads(lambda i: done.append(i), [(i,) for i in range(20)])
    assert sorted(done) == list(range(20))

    def fail_at_three(i):
        if i == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        run_in_threads(fail_at_three, [(i,) for i in range(5)])
