"""A photo drawn again: what does not move is the photo to the byte, what moves is what a camera would have seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from likeness.errors import InputError
from likeness.face import Face
from likeness.landmarks import Landmarks
from likeness.reenactment.parts import Part, head_parts
from likeness.reenactment.portrait import Portrait
from likeness.reenactment.registration import landmark_shifts
from likeness.reenactment.sight import Window
from likeness.reenactment.slits import Slit, Slits, close_lids
from painted_person import SIZE, person, photograph
from tiny_head import TinyHead


@pytest.fixture(scope="module")
def anna() -> tuple[Face, np.ndarray]:
    face = person(mouthSmileLeft=0.2, mouthSmileRight=0.2)
    return face, photograph(face)


@pytest.fixture(scope="module")
def portrait(anna) -> Portrait:
    return Portrait(*anna)


def wearing(face: Face, **weights: float) -> Face:
    return replace(face, expression=person(**weights).expression)


# ------------------------------------------------------------------ what does not move


def test_the_own_expression_gives_the_photo_back_to_the_byte(anna, portrait):
    face, photo = anna
    frame = portrait.draw(face)
    assert np.array_equal(frame.picture, photo)


def test_what_is_far_from_the_face_is_the_photo(anna, portrait):
    face, photo = anna
    frame = portrait.draw(wearing(face, jawOpen=0.6, browInnerUp=1.0))
    assert (frame.picture != photo).any()
    window = portrait.window
    inside = np.zeros(SIZE, bool)
    inside[window.top : window.top + window.height, window.left : window.left + window.width] = True
    assert np.array_equal(frame.picture[~inside], photo[~inside])
    # No seam: the window's rim is the photo as well, but for a level.
    rim = inside.copy()
    rim[window.top + 2 : window.top + window.height - 2, window.left + 2 : window.left + window.width - 2] = False
    assert np.abs(frame.picture[rim].astype(int) - photo[rim]).max() <= 6


def test_there_is_no_step_at_the_masks_border(anna, portrait):
    """Where the mask ends the new picture differs from the photo no more than its own neighbourhood does."""
    face, photo = anna
    frame = portrait.draw(wearing(face, browInnerUp=1.0, eyeBlinkLeft=1.0, eyeBlinkRight=1.0))
    forehead = (frame.mask > 0.02) & (frame.mask < 0.3)
    change = np.abs(frame.picture.astype(int) - photo)[forehead]
    assert np.percentile(change, 90) <= 12


# ------------------------------------------------------------------ what moves


@pytest.mark.parametrize(
    "weights",
    [
        {"jawOpen": 0.35},
        {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
        {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
        {"mouthPucker": 0.7},
    ],
)
def test_the_picture_is_nearly_what_a_camera_would_have_seen(anna, portrait, weights):
    """Against a photograph of the head that really wears the expression; keeping the old photo is twice as wrong."""
    face, photo = anna
    worn = wearing(face, **weights)
    truth, frame = photograph(worn).astype(float), portrait.draw(worn)
    # Inside the mouth the photo says nothing, and the truth's teeth are spotted.
    target = portrait._see(worn.vertices).parts.numpy()
    step = round(portrait.window.scale)
    skin = np.zeros(SIZE, bool)
    window = portrait.window
    part = target[step // 2 :: step, step // 2 :: step]
    skin[window.top : window.top + part.shape[0], window.left : window.left + part.shape[1]] = part == Part.SKIN
    on_face = (frame.mask > 0.5) & skin
    ours = np.abs(frame.picture - truth)[on_face].mean()
    still = np.abs(photo - truth)[on_face].mean()
    assert ours < 0.6 * still, (ours, still)


def test_an_open_mouth_shows_its_inside_and_not_the_photos_lips(anna, portrait):
    face, _ = anna
    worn = wearing(face, jawOpen=0.8)
    frame = portrait.draw(worn)
    lips = portrait.landmarks(worn)
    x, y = lips[[62, 66]].mean(0)
    inside = frame.picture[int(y) - 1 : int(y) + 2, int(x) - 3 : int(x) + 4].astype(float)
    assert inside.mean() < 90  # deep in a mouth it is dark
    assert inside[..., 0].mean() > inside[..., 2].mean()  # and red rather than blue


def test_lids_meet_and_do_not_pass_each_other(anna, portrait):
    face, _ = anna
    worn = portrait._with_lids_that_meet(wearing(face, eyeBlinkLeft=1.0, eyeBlinkRight=1.0, eyeSquintLeft=1.0))
    gap = portrait._gap(worn.vertices)
    assert (gap > -0.5).all()
    assert (gap < 0.15 * portrait._gap(face.vertices)).all()


def test_depth_and_mask_follow_the_face(anna, portrait):
    face, _ = anna
    still, opened = portrait.draw(face), portrait.draw(wearing(face, jawOpen=0.8))
    chin = portrait.landmarks(wearing(face, jawOpen=0.8))[8].astype(int)
    assert np.isnan(still.depth[0, 0])
    assert 380 < np.nanmin(still.depth) < 480
    assert opened.mask[chin[1] - 4, chin[0]] > still.mask[chin[1] - 4, chin[0]]
    assert opened.mask.min() >= 0
    assert opened.mask.max() <= 1
    again = opened.masked.astype(float) + (1 - opened.mask[..., None]) * opened.picture
    assert np.abs(again - opened.picture).max() <= 1.01


def test_the_head_can_turn(anna):
    face, photo = anna
    portrait = Portrait(face, photo, head_moves=True)
    joints = face.joints.clone()
    joints[face.head.joint_names.index("neck")] = torch.tensor([0.0, 0.15, 0.0])
    frame = portrait.draw(replace(face, joints=joints))
    nose_before, nose_after = (portrait.landmarks(f)[30] for f in (face, replace(face, joints=joints)))
    assert nose_after[0] > nose_before[0] + 3
    assert (frame.picture != photo).any()


def test_a_head_that_does_not_say_where_its_face_is_is_refused():
    head = TinyHead()
    head.topology = replace(head.topology, regions={})
    with pytest.raises(InputError, match="where its face is"):
        head_parts(head)


# ------------------------------------------------------------------ registration, window, slits


def test_shifts_carry_the_landmarks_to_the_detected_ones():
    face = person()
    embedding = face.head.embeddings["mediapipe478"]
    points = face.camera.project(embedding.points(face.vertices)[None])[0]
    # A smooth error of two pixels, as fits leave.
    beside = points + 2 * torch.stack([torch.sin(points[:, 1] / 20), torch.cos(points[:, 0] / 25)], 1)
    detected = Landmarks("mediapipe478", beside.numpy(), 1.0)
    shifted = (
        points
        + embedding.points(torch.nn.functional.pad(landmark_shifts(replace(face, detected=detected)), (0, 1)))[:, :2]
    )
    seen = face.view.visible(embedding.points(face.vertices))
    assert (shifted - beside)[seen].norm(dim=1).quantile(0.95) < 0.25
    assert torch.equal(landmark_shifts(face), torch.zeros(len(face.vertices), 2))


def test_a_wrong_detection_moves_nothing_far():
    face = person()
    far = Landmarks("mediapipe478", np.full((478, 2), 900, np.float32), 1.0)
    assert landmark_shifts(replace(face, detected=far)).norm(dim=1).max() < 0.1 * SIZE[0]


@pytest.mark.parametrize("side", [60.0, 500.0, 5000.0])
def test_windows_are_drawn_at_a_power_of_two_and_bounded(side):
    window = Window.about(torch.tensor([[100.0, 100.0], [100 + side, 100 + side]]), (0.1,) * 4, (8000, 8000))
    assert np.log2(window.scale) == int(np.log2(window.scale))
    assert max(window.size) <= 1801
    assert max(window.size) >= min(560, 4 * side)
    assert window.left % max(1, round(1 / window.scale)) == 0


def test_a_slit_knows_its_lips():
    upper = torch.tensor([[0.0, 0.0], [5.0, -1.0], [10.0, 0.0]])
    lower = torch.tensor([[0.0, 0.0], [5.0, 3.0], [10.0, 0.0]])
    slit = Slit.between(upper, lower)
    below, above, between = slit.sides(torch.tensor([[5.0, 0.0], [5.0, -2.0], [12.0, 0.0]]))
    torch.testing.assert_close(below[:2], torch.tensor([0.1, -0.1]))
    torch.testing.assert_close(above[:2], torch.tensor([0.3, 0.5]))
    assert between.tolist() == [True, True, False]


def test_slits_allow_teeth_only_between_the_lips(portrait):
    slits = Slits.of(portrait.face.head, portrait.project(person(jawOpen=0.7).vertices))
    mouth = portrait.project(person(jawOpen=0.7).vertices)
    points = portrait.face.head.embeddings["ibug68"].points(mouth)[:, :2]
    middle, above = points[[62, 66]].mean(0), points[51] - torch.tensor([0.0, 4.0])
    places = torch.stack([middle, above, middle, above])
    parts = torch.tensor([Part.UPPER_TEETH, Part.UPPER_TEETH, Part.UPPER_LIP, Part.SKIN])
    assert slits.allow(places, parts).tolist() == [True, False, False, True]


def test_lashes_stay_at_the_lids_edge(portrait):
    """Just above the edge of a lid that comes down, colours come from just above the edge of the open one."""
    head = portrait.face.head
    old, new = (
        Slits.of(head, portrait.project(wearing(portrait.face, eyeBlinkLeft=b, eyeBlinkRight=b).vertices))
        for b in (0.0, 0.9)
    )
    eye_old, eye_new = old.eyes[0], new.eyes[0]
    point = eye_new.corner + 0.5 / eye_new.axis.norm() * (eye_new.axis / eye_new.axis.norm())
    below = eye_new.sides(point[None])[0]
    near_edge = point[None] + (below + 0.03)[:, None] * eye_new.up
    # What the mesh says: drawn out, so a third of the distance.
    mesh = eye_old.corner + 0.5 / eye_old.axis.norm() * (eye_old.axis / eye_old.axis.norm())
    mesh = mesh[None] + (eye_old.sides(mesh[None])[0] + 0.01)[:, None] * eye_old.up
    kept = close_lids(old, new, near_edge, mesh).places
    assert -eye_old.sides(kept)[0] == pytest.approx(0.03, abs=0.004)
