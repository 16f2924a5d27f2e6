"""One thread a test process: the suite runs one process a core, and more threads only get in each other's way.

And a cache of its own, so that no test meets what another run left.
"""

import os

import pytest
import torch

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    os.environ["LIKENESS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def fixed_draws():
    """What a test draws does not depend on which tests ran before it in the same process."""
    torch.manual_seed(0)
