from __future__ import annotations

import numpy as np
import pytest
import torch

import standin_heads
from animate.test_retarget import face_on
from likeness.animate.transfer import transfer
from likeness.heads import load_head

EXPRESSIONS = {
    "open": {"jawOpen": 0.8},
    "shut": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "smile": {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "jawOpen": 0.2},
    "hum": {"jawOpen": 0.6, "mouthClose": 0.6},
}


@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.parametrize("make", [standin_heads.flame_head, standin_heads.bfm_head])
def test_an_expression_comes_back_from_another_head(make, name):
    head = load_head("open")
    driver, person = face_on(head, 3, **EXPRESSIONS[name]), face_on(make(), 1)
    worn = transfer(person, driver)
    assert torch.equal(worn.identity, person.identity)
    back = transfer(face_on(head, 3), worn)
    error = (back.vertices - driver.vertices).norm(dim=1).numpy()[head.topology.region("face")]
    assert error.mean() < 0.5
    for key, value in EXPRESSIONS[name].items():
        assert back.weights[key] == pytest.approx(value, abs=0.2), key


def test_flames_jaw_turns_and_its_eyes_follow():
    driver, person = face_on(load_head("open"), 3, jawOpen=0.8), face_on(standin_heads.flame_head(), 1)
    driver.joints[3] = torch.tensor([0.0, 0.2, 0.0])
    worn = transfer(person, driver)
    assert 0.15 < float(worn.joints[2, 0]) < 0.5
    torch.testing.assert_close(worn.joints[3], driver.joints[3])
    assert not worn.joints[:2].any()


def test_a_resting_face_is_worn_as_rest():
    for make in (standin_heads.flame_head, standin_heads.bfm_head):
        worn = transfer(face_on(make(), 1), face_on(load_head("open"), 3))
        assert not worn.expression.any() and not worn.joints.any()


def test_on_one_head_coefficients_are_taken_as_they_are():
    head = load_head("open")
    driver = face_on(head, 3, jawOpen=0.8, browInnerUp=0.3)
    driver.joints[0] = 0.3
    worn = transfer(face_on(head, 1), driver)
    np.testing.assert_array_equal(worn.expression, driver.expression)
    # The pose is the photo's own.
    assert not worn.joints[0].any()
