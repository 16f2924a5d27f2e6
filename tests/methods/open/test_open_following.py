"""Wrinkles of the open method: exact in the photo, gone or grown elsewhere, the same for a Face and its Rig."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from likeness.detail import Detail
from likeness.detail.chart import face_chart
from likeness.detail.patterns import wrinkle_zones
from likeness.detail.wrinkles import activation_of, blend, wrinkle_maps
from likeness.face import Face
from likeness.methods import detail_maps, follow_expression
from likeness.methods.open.following import with_detail, with_details
from wrinkled_person import SIZE, person, wrinkles


def wearing(face, **weights):
    names = face.head.expression_names
    assert set(weights) <= set(names)
    return replace(face, expression=torch.tensor([weights.get(name, 0.0) for name in names]))


RAISED = {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0}


@pytest.fixture(scope="module")
def smooth():
    return person()


@pytest.fixture(scope="module")
def zones(smooth):
    return {zone.name: zone for zone in wrinkle_zones(smooth.head, SIZE)}


def forehead(face, displacement):
    zones = [zone for zone in wrinkle_zones(face.head, SIZE) if zone.name.startswith("forehead")]
    square = sum((zone.of(displacement).square() * zone.mask).sum() for zone in zones)
    return float((square / sum(zone.mask.sum() for zone in zones)).sqrt())


@pytest.fixture(scope="module")
def frowner(smooth):
    """Photographed with raised brows, and forehead lines to show for it."""
    face = wearing(smooth, browInnerUp=0.6, browOuterUpLeft=0.6, browOuterUpRight=0.6)
    chart = face_chart(face, SIZE)
    return with_detail(face, Detail(wrinkles(face), chart.whole(chart.skin)))


def test_in_the_photo_relief_is_the_photos(frowner):
    again = follow_expression(frowner)
    torch.testing.assert_close(again.displacement, frowner.displacement, atol=1e-6, rtol=0)


def test_forehead_lines_go_with_the_brows(frowner):
    seen, rest, raised = (
        forehead(frowner, follow_expression(face).displacement)
        for face in (frowner, frowner.neutral(), wearing(frowner, **RAISED))
    )
    assert rest < 0.75 * seen < seen < 0.95 * raised


def test_other_wrinkles_do_not_heed_the_brows(frowner, smooth, zones):
    fold = zones["nasolabial_left"]
    moved = follow_expression(wearing(frowner, **RAISED)).displacement - follow_expression(frowner).displacement
    assert fold.of(moved)[fold.mask > 0.5].abs().max() < 0.02


def test_the_wrinkled_grow_deeper_lines_than_the_smooth(smooth):
    chart = face_chart(smooth, SIZE)
    nothing = with_detail(wearing(smooth, **RAISED), Detail(torch.zeros(SIZE, SIZE), chart.whole(chart.skin)))
    unseen = with_detail(smooth, Detail(torch.zeros(SIZE, SIZE), torch.zeros(SIZE, SIZE)))
    lined = with_detail(smooth, Detail(wrinkles(smooth), chart.whole(chart.skin)))
    never, usual, own = (
        forehead(face, follow_expression(wearing(face, **RAISED)).displacement) for face in (nothing, unseen, lined)
    )
    # Brows that were seen raised without a line tell more than skin that was not seen.
    assert never < 0.01 < 0.03 < usual < own


@pytest.mark.parametrize(
    ("zone", "weights"),
    [
        ("forehead", {"browInnerUp": 1.0}),
        ("glabella", {"browDownLeft": 1.0, "browDownRight": 1.0}),
        ("crow_left", {"eyeSquintLeft": 1.0}),
        ("crow_right", {"mouthSmileRight": 1.0}),
        ("nasolabial_left", {"mouthSmileLeft": 1.0}),
        ("nasolabial_right", {"noseSneerRight": 1.0}),
        ("chin", {"mouthShrugLower": 1.0}),
    ],
)
def test_each_zone_has_its_expressions(zones, zone, weights):
    assert activation_of(zones[zone], weights) >= 0.3
    assert activation_of(zones[zone], {}) == 0


def test_sides_are_apart(zones):
    assert abs(activation_of(zones["crow_left"], {"eyeSquintRight": 1.0})) < 0.1
    assert activation_of(zones["forehead"], {"browDownLeft": 1.0, "browDownRight": 1.0}) < 0


def test_lines_run_across_the_squeeze(zones):
    """Forehead lines and crow's feet lie level, the 'eleven' upright."""
    for name, axis in (("forehead", 0), ("crow_left", 0), ("crow_right", 0), ("glabella", 1)):
        zone = zones[name]
        weight = zone.lines.square()
        mean = (zone.direction.square() * weight).sum((1, 2)) / weight.sum()
        assert mean[axis] > 0.75, name


def test_rig_and_face_agree(frowner):
    rig = frowner.rig()
    weights = {"browInnerUp": 0.9, "mouthSmileLeft": 0.7, "jawOpen": 0.2}
    blended = sum(detail.strength(weights) * detail.displacement for detail in rig.details)
    followed = follow_expression(wearing(frowner, **weights)).displacement
    np.testing.assert_allclose(blended, followed.numpy(), atol=1e-5)
    assert detail_maps(frowner)[0].name == "static"
    assert all(set(detail.weights) <= set(rig.blendshape_names) for detail in rig.details)


def test_no_relief_exceeds_what_skin_does(frowner):
    everything = {name: 1.0 for name in frowner.head.expression_names}
    assert follow_expression(wearing(frowner, **everything)).displacement.abs().max() < 3.0


def test_wrinkles_survive_a_file(frowner, tmp_path):
    frowner.save(tmp_path / "face.safetensors")
    back = Face.load(tmp_path / "face.safetensors")
    one, other = (follow_expression(wearing(face, **RAISED)).displacement for face in (frowner, back))
    assert torch.equal(one, other)


def test_a_face_without_wrinkles_stays_as_it_is(smooth):
    assert follow_expression(smooth) is smooth
    assert detail_maps(smooth) == ()


def test_several_photos_tell_rest_from_motion(smooth, zones):
    """The same person calm and with raised brows: lines that only the second shows belong to the brows."""
    chart = face_chart(smooth, SIZE)
    calm, raised = smooth, wearing(smooth, **RAISED)
    parts = [zones[f"forehead{part}"] for part in ("", "_left", "_right")]
    forehead_only = sum(zone.whole(zone.mask, SIZE) for zone in parts).clamp(0, 1)
    relief = wrinkles(smooth)
    everywhere = chart.whole(chart.skin)
    details = [Detail(relief * (1 - forehead_only), everywhere), Detail(relief, everywhere)]
    first, second = with_details([calm, raised], details)
    assert forehead(smooth, first.displacement) < 0.45 * forehead(smooth, relief)
    assert forehead(smooth, second.displacement) > 0.7 * forehead(smooth, relief)
    model_maps = wrinkle_maps(smooth.head, _model(first))
    torch.testing.assert_close(blend(model_maps, first.weights), first.displacement)


def _model(face):
    from likeness.methods.open import following

    return following._model(face)
