"""Heads for FaceScape's tests: a tiny one always, the full-size stand-in where FaceScape's tables are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import synthetic_facescape
from likeness.heads.facescape import FaceScapeHead, facescape_head
from likeness.heads.facescape_files import TABLE_FILES, read_core, read_factors, read_tables
from likeness.methods.facescape.landmark_model import LandmarkModel

GOLDENS = Path(__file__).parents[2] / "goldens" / "facescape"
# The `predef` folder of FaceScape's release: its data, and no part of this project.
BESIDE = Path(__file__).parents[4] / "shared" / "goldens" / "facescape" / "predef"


@pytest.fixture(scope="session")
def golden():
    return lambda name: np.load(GOLDENS / f"{name}.npz")


@pytest.fixture(scope="session")
def tiny_paths(tmp_path_factory):
    return synthetic_facescape.write_tiny_model(tmp_path_factory.mktemp("facescape_tiny"))


@pytest.fixture(scope="session")
def tiny_head(tiny_paths) -> FaceScapeHead:
    return _head(tiny_paths["facescape_faces"].parent, read_tables(tiny_paths))


@pytest.fixture(scope="session")
def full_head(tmp_path_factory) -> FaceScapeHead:
    predef = Path(os.environ.get("FACESCAPE_PREDEF", BESIDE))
    paths = {name: predef / filename for name, (filename, _) in TABLE_FILES.items()}
    if not all(path.is_file() for path in paths.values()):
        pytest.skip("needs the predef folder of FaceScape's release; name it in FACESCAPE_PREDEF.")
    folder = tmp_path_factory.mktemp("facescape_full")
    tables = read_tables(paths)
    synthetic_facescape.write_full_model(folder, tables)
    head = _head(folder, tables)
    # 800 MB: what is mapped stays readable without a name.
    (folder / "core_847_50_52.npy").unlink()
    return head


@pytest.fixture(scope="session")
def full_model(full_head) -> LandmarkModel:
    return LandmarkModel.from_head(full_head)


@pytest.fixture(scope="session")
def tiny_model(tiny_head) -> LandmarkModel:
    return LandmarkModel.from_head(tiny_head)


def _head(folder: Path, tables) -> FaceScapeHead:
    core, factors = read_core(folder / "core_847_50_52.npy"), read_factors(folder / "factors_id_847_50_52.npy")
    return facescape_head(core, factors, tables)
