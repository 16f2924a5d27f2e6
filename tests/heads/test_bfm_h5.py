import json

import numpy as np
import pytest

from likeness.errors import FileFormatError
from likeness.heads.bfm_h5 import read_h5

h5py = pytest.importorskip("h5py")

GRID = 9
N_VERTICES = GRID * GRID


def surface():
    y, x = np.mgrid[1 : -1 : GRID * 1j, -1 : 1 : GRID * 1j]
    return np.stack([60 * x, 80 * y, 40 * np.sqrt(4 - x**2 - y**2)], -1).reshape(-1, 3)


def write(path, *, transposed=False, inward=False, drop=None, landmarks=True):
    """A small model in the layout of the official files."""
    rng = np.random.default_rng(5)
    i = np.arange(N_VERTICES - GRID).reshape(-1, GRID)[:, :-1].reshape(-1)
    cells = np.concatenate([np.stack([i, i + GRID, i + 1], 1), np.stack([i + 1, i + GRID, i + GRID + 1], 1)])
    cells = cells[:, ::-1] if inward else cells
    content = {"shape/representer/cells": cells.T if transposed else cells}
    scale = {
        "shape": surface().reshape(-1),
        "expression": np.full(3 * N_VERTICES, 0.5),
        "color": np.full(3 * N_VERTICES, 0.6),
    }
    for group, mean in scale.items():
        basis, _ = np.linalg.qr(rng.standard_normal((3 * N_VERTICES, 4)))
        content |= {
            f"{group}/model/mean": mean.astype(np.float32),
            f"{group}/model/pcaBasis": basis.astype(np.float32),
            f"{group}/model/pcaVariance": np.array([16.0, 9, 4, 1], np.float32),
        }
    if landmarks:
        named = [{"id": "center.nose.tip", "coordinates": surface()[40].tolist()}]
        named += [{"id": "left.ear.tragus.tip", "coordinates": [0, 0, 0]}]
        content["metadata/landmarks/json"] = np.bytes_(json.dumps(named))
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if name != drop:
                file[name] = value
    return content


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("inward", [False, True])
def test_bases_come_in_standard_deviations(tmp_path, transposed, inward):
    content = write(tmp_path / "model2019_bfm.h5", transposed=transposed, inward=inward)
    model = read_h5(tmp_path / "model2019_bfm.h5")
    np.testing.assert_allclose(model.mean, surface() + 0.5, rtol=1e-6)
    np.testing.assert_allclose(
        model.identity_basis.reshape(-1, 4), content["shape/model/pcaBasis"] * [4, 3, 2, 1], rtol=1e-6
    )
    np.testing.assert_allclose(model.mean_albedo, 153, rtol=1e-6)
    a, b, c = (model.mean[model.triangles[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert model.anchors == {30: 40}


def test_a_file_without_landmarks_has_no_anchors(tmp_path):
    write(tmp_path / "m.h5", landmarks=False)
    assert read_h5(tmp_path / "m.h5").anchors == {}


@pytest.mark.parametrize("drop", ["shape/model/mean", "expression/model/pcaBasis", "shape/representer/cells"])
def test_lacking_parts_are_named(tmp_path, drop):
    write(tmp_path / "m.h5", drop=drop)
    with pytest.raises(FileFormatError, match=drop):
        read_h5(tmp_path / "m.h5")


def test_broken_files_are_refused(tmp_path):
    write(tmp_path / "m.h5")
    whole = (tmp_path / "m.h5").read_bytes()
    for cut in (0, 10, len(whole) // 2):
        (tmp_path / "cut.h5").write_bytes(whole[:cut])
        with pytest.raises(FileFormatError):
            read_h5(tmp_path / "cut.h5")


def test_links_out_of_the_file_are_not_followed(tmp_path):
    write(tmp_path / "other.h5")
    write(tmp_path / "m.h5", drop="shape/model/mean")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["shape/model/mean"] = h5py.ExternalLink("other.h5", "shape/model/mean")
    with pytest.raises(FileFormatError, match="no array of a sensible size in this file"):
        read_h5(tmp_path / "m.h5")
