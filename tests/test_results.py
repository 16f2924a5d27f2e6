"""A result's files, whatever the face."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from likeness.cameras import Pinhole
from likeness.files.maps import read_depth
from likeness.methods import Photo
from likeness.results import write_result
from painted_person import SIZE, person, photograph


@pytest.mark.parametrize(("metres", "step"), [(0.5, 0.1), (6.9, 0.2), (40.0, 1.0)])
def test_a_face_far_away_has_its_depth_in_larger_steps(tmp_path, metres, step):
    face = person()
    away = Pinhole.from_focal(
        rotation=face.camera.rotation,
        translation=torch.tensor([[0.0, 0.0, 1000 * metres]]),
        focal=torch.tensor([660.0 * metres]),
        centre=torch.tensor([[SIZE[1] / 2, SIZE[0] / 2]]),
    )
    write_result(tmp_path, Photo(photograph(face), "far"), replace(face, camera=away), ["depth", "parameters"])
    record = json.loads((tmp_path / "parameters.json").read_text())["depth"]
    assert record["millimetres_per_step"] == step
    depth = read_depth(tmp_path / "depth.png", scale=step)
    assert abs(np.nanmedian(depth) - 1000 * metres) < 150
