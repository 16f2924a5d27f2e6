"""A person's identity: the landmarks' answer, moved by what the network's inner layers say."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from likeness.heads import load_head
from likeness.landmarks import MediaPipe
from likeness.landmarks.base import Landmarks
from likeness.landmarks.conventions import MIRROR
from likeness.landmarks.face_mesh import inner_features
from likeness.methods.open.calibration import Calibration, calibrate
from likeness.methods.open.fit import fit_landmarks
from likeness.methods.open.identity_regression import (
    IdentityRegression,
    identity_mirror,
    mirrored_rotation,
    read_identity_regression,
    regression_inputs,
)
from likeness.methods.open.person import fit_person
from likeness.methods.protocol import Photo


@pytest.fixture(scope="module")
def astronaut() -> Photo:
    data = pytest.importorskip("skimage.data", reason="the sample photo comes with scikit-image")
    return Photo(np.ascontiguousarray(data.astronaut()[:300, 80:380]), "astronaut")


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(load_head("open"), "mediapipe478")


def landmarks_of(photo: Photo) -> Landmarks:
    return MediaPipe(device="cpu").detect(photo.pixels, max_faces=1)[0]


def mirrored(photo: Photo) -> Photo:
    return Photo(np.asarray(ImageOps.mirror(Image.fromarray(photo.pixels))), "mirrored")


def mirrored_landmarks(found: Landmarks, width: int) -> Landmarks:
    points = found.points[MIRROR["mediapipe478"]] * np.float32([-1, 1, 1]) + np.float32([width, 0, 0])
    return Landmarks("mediapipe478", points, found.score)


def test_regression_is_the_line_its_file_tells() -> None:
    line = IdentityRegression(
        centre=torch.tensor([1.0, 2.0]), scale=torch.tensor([2.0, 4.0]),
        weights=torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]]), mean=torch.tensor([0.5, 0.5, 0.5]),
    )  # fmt: skip
    assert line(torch.tensor([[5.0, 10.0]])).tolist() == [[2.5, 6.5, 6.5]]


def test_inputs_are_identity_turn_its_products_and_features() -> None:
    draw = torch.Generator().manual_seed(0)
    identity, features = torch.randn(2, 4, generator=draw), torch.randn(2, 5, generator=draw)
    rotation = torch.linalg.qr(torch.randn(2, 3, 3, generator=draw)).Q
    inputs = regression_inputs(identity, rotation, features)
    assert inputs.shape == (2, 4 + 9 + 81 + 5)
    assert torch.equal(inputs[:, :4], identity)
    assert torch.equal(inputs[:, -5:], features)
    products = inputs[:, 13:94].reshape(2, 3, 3, 3, 3)
    assert torch.allclose(products, torch.einsum("nij,nkl->nijkl", rotation, rotation))


def test_mirrored_identity_in_a_mirrored_pose_is_the_mirror_image() -> None:
    head, draw = load_head("open"), torch.Generator().manual_seed(4)
    identity = torch.randn(1, head.n_identity, generator=draw)
    rotation = torch.linalg.qr(torch.randn(1, 3, 3, generator=draw)).Q
    seen = head.vertices(identity) @ rotation.mT
    mirrored = head.vertices(identity * identity_mirror(head)) @ mirrored_rotation(rotation).mT
    mirror = torch.from_numpy(head.topology.mirror.astype(np.int64))
    assert torch.allclose(mirrored[:, mirror] * torch.tensor([-1.0, 1.0, 1.0]), seen, atol=2e-2)


def test_shipped_regression_fits_the_head_and_the_network(astronaut: Photo) -> None:
    regression, head = read_identity_regression(), load_head("open")
    features = inner_features(astronaut.pixels, [landmarks_of(astronaut).points], device="cpu")
    n_inputs = head.n_identity + 9 + 81 + features.shape[1]
    assert regression.weights.shape == (n_inputs, head.n_identity)
    assert (regression.scale > 0).all()
    assert torch.isfinite(regression.weights).all()


def test_held_identity_is_kept_and_the_rest_still_fits(astronaut: Photo, calibration: Calibration) -> None:
    found = landmarks_of(astronaut)
    points, sizes = torch.from_numpy(found.points)[None].clone(), [astronaut.pixels.shape[:2]]
    free = fit_landmarks(calibration, points, sizes, [None])
    known = 0.3 * torch.randn(100, generator=torch.Generator().manual_seed(1))
    held = fit_landmarks(calibration, points, sizes, [None], identity=known)
    assert torch.allclose(held.identity, known, atol=1e-3)
    # A wrong person costs: but pose and expression still put the landmarks within some millimetres.
    assert free.residual_mm[0] < held.residual_mm[0] < 6.0


def test_inner_layers_move_the_identity_a_step(astronaut: Photo, calibration: Calibration) -> None:
    person = fit_person(calibration, [astronaut], [landmarks_of(astronaut)], device="cpu")
    step = (person.fit.identity - person.by_landmarks[0].identity).square().mean().sqrt()
    assert 0.05 < step < 0.6
    # The head still lies on the landmarks, hardly farther than where they alone would have it.
    assert person.fit.residual_mm[0] < person.by_landmarks[0].residual_mm[0] + 0.6


def test_features_of_no_face_are_not_believed_far(astronaut: Photo, calibration: Calibration) -> None:
    noise = np.random.default_rng(0).integers(0, 256, astronaut.pixels.shape, dtype=np.uint8)
    person = fit_person(calibration, [Photo(noise, "noise")], [landmarks_of(astronaut)], device="cpu")
    assert (person.fit.identity - person.by_landmarks[0].identity).square().mean().sqrt() < 0.6


def test_mirrored_photo_is_the_mirrored_person(astronaut: Photo, calibration: Calibration) -> None:
    head, found = load_head("open"), landmarks_of(astronaut)
    seen = fit_person(calibration, [astronaut], [found], device="cpu").fit
    turned = mirrored_landmarks(found, astronaut.pixels.shape[1])
    other = fit_person(calibration, [mirrored(astronaut)], [turned], device="cpu").fit
    here, there = (head.vertices(fit.identity[None])[0] for fit in (seen, other))
    reflected = there[torch.from_numpy(head.topology.mirror.astype(np.int64))] * torch.tensor([-1.0, 1.0, 1.0])
    face = torch.from_numpy(head.topology.region("face"))
    # Both ways the network sees the face and its mirror image, half a pixel of its window apart.
    assert (here - reflected)[face].norm(dim=-1).mean() < 0.1


def test_several_photos_make_one_person(astronaut: Photo, calibration: Calibration) -> None:
    found = landmarks_of(astronaut)
    turned = mirrored_landmarks(found, astronaut.pixels.shape[1])
    photos = [astronaut, mirrored(astronaut)]
    together = fit_person(calibration, photos, [found, turned], device="cpu").fit
    assert together.expression.shape[0] == 2
    alone = [
        fit_person(calibration, [photo], [face], device="cpu").fit.identity
        for photo, face in zip(photos, [found, turned], strict=True)
    ]
    assert torch.allclose(together.identity, (alone[0] + alone[1]) / 2, atol=1e-3)


def test_other_landmarks_speak_for_themselves(astronaut: Photo) -> None:
    head = load_head("open")
    calibration = calibrate(head, "ibug68")
    points = head.embeddings["ibug68"].points(head.vertices(torch.zeros(1, 100)))[0].numpy()
    seen = np.float32([150, 150]) + points[:, :2] * np.float32([1, -1])
    person = fit_person(calibration, [astronaut], [Landmarks("ibug68", seen, 1.0)], device="cpu")
    assert person.fit is person.by_landmarks[0]
