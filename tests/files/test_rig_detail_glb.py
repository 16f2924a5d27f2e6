"""A Rig's relief in a GLB: what is written can be read and blended by the rule that stands beside it."""

from __future__ import annotations

import json
import re
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.files.glb import read_glb, write_glb
from likeness.files.rig_glb import rig_to_glb
from likeness.heads import load_head
from likeness.rig import DetailMap, Rig

SIZE = 128


@pytest.fixture(scope="module")
def rig():
    head = load_head("open")
    rest = head.vertices(torch.zeros(1, head.n_identity))[0].numpy()
    v = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None] * np.ones((1, SIZE), np.float32)
    blendshapes = np.zeros((2, *rest.shape), np.float32)
    blendshapes[0, :, 1] = 1.0
    return Rig(
        topology=head.topology,
        neutral=rest,
        blendshape_names=("browInnerUp", "jawOpen"),
        blendshapes=blendshapes,
        weights=np.zeros(2, np.float32),
        joint_names=("root",),
        joint_parents=(-1,),
        joint_positions=np.zeros((1, 3), np.float32),
        skin_weights=np.ones((len(rest), 1), np.float32),
        details=(
            DetailMap("static", 0.2 * np.sin(40 * v)),
            DetailMap("forehead", -0.5 * v, -0.25, {"browInnerUp": 1.0, "jawOpen": -0.5}),
        ),
    )


@pytest.fixture(scope="module")
def model(rig, tmp_path_factory):
    path = tmp_path_factory.mktemp("glb") / "head.glb"
    write_glb(path, rig_to_glb(rig))
    return read_glb(path)


def test_maps_come_back_and_blend_by_the_rule(rig, model):
    record = model.extras["likeness_detail"]
    assert [entry["name"] for entry in record["maps"]] == ["static", "forehead"]
    weights = {"browInnerUp": 0.8, "jawOpen": 0.1}
    total = np.zeros((SIZE, SIZE))
    for entry in record["maps"]:
        picture = np.asarray(Image.open(BytesIO(model.payloads[entry["payload"]].data))).astype(float)
        millimetres = picture * entry["millimetres_per_step"] + entry["millimetres_at_0"]
        strength = entry["bias"] + sum(k * weights.get(name, 0) for name, k in entry["weights"].items())
        total += np.clip(strength, 0, 1) * millimetres
    expected = sum(detail.strength(weights) * detail.displacement for detail in rig.details)
    assert 0 < rig.details[1].strength(weights) < 1
    # Half a step a map.
    np.testing.assert_allclose(total, expected, atol=2 * 0.00026)


def test_the_rule_is_said_in_words(model):
    assert re.search(r"clip\(bias .* 0, 1\)", model.extras["likeness_detail"]["rule"])
    json.dumps(model.extras)


def test_skin_wears_the_normal_map_of_the_face_at_rest(rig, model):
    skin, *others = sorted(model.parts, key=lambda part: part.name != "skin")
    assert others and all(part.material.normal_image is None for part in others)
    picture = np.asarray(Image.open(BytesIO(skin.material.normal_image.data)))
    assert picture.shape == (SIZE, SIZE, 3)
    # Only the static map shows at rest: its slope is all along v.
    assert picture[..., 1].std() > 3 * max(picture[..., 0].std(), 0.1)


def test_a_rig_without_relief_has_none_of_it(rig):
    from dataclasses import replace

    plain = rig_to_glb(replace(rig, details=()))
    assert not plain.payloads and "likeness_detail" not in plain.extras
    assert all(part.material.normal_image is None for part in plain.parts)
