"""Pictures in which the detectors see little: noise, masks, the wrong way up; and whether a second look tells."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFilter

from likeness.landmarks import MediaPipe
from likeness.landmarks.conventions import to_ibug68
from likeness.landmarks.search import find_faces, find_faces_quickly
from likeness.landmarks.second_look import disagreement

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def detector() -> MediaPipe:
    return MediaPipe(device="cpu")


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def points(detector: MediaPipe, astronaut: np.ndarray) -> np.ndarray:
    return detector.detect(astronaut)[0].points


def side(points: np.ndarray) -> float:
    return float(np.sqrt(np.prod(np.ptp(points[:, :2], axis=0))))


def upward(points: np.ndarray) -> np.ndarray:
    """From the chin to between the brows, of length one."""
    along = points[168, :2] - points[152, :2]
    return along / np.linalg.norm(along)


def masked(image: np.ndarray, points: np.ndarray, share: float) -> np.ndarray:
    """A medical mask from the chin, at 1 up to the bridge of the nose."""
    shape = to_ibug68(points[:, :2], "mediapipe478")
    top = shape[33] + share * (shape[27] - shape[33])
    rise = (top - shape[33]) / 2
    picture = Image.fromarray(image)
    outline = [*shape[2:15], shape[14] + rise, top, shape[2] + rise]
    ImageDraw.Draw(picture).polygon([tuple(p) for p in outline], fill=(176, 205, 214))
    return np.asarray(picture)


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_is_smoothed_away(astronaut, points, seed):
    noisy = astronaut + np.random.default_rng(seed).normal(0, 65, astronaut.shape)
    noisy = np.clip(noisy, 0, 255).astype(np.uint8)
    assert not len(find_faces_quickly(noisy, min_score=0.5, device="cpu")), "this much noise is no test"
    found = find_faces(noisy, min_score=0.5, device="cpu")
    assert len(found) == 1
    assert np.linalg.norm(found.points[0, :, :2] - points[:, :2], axis=1).mean() < 0.05 * side(points)


def test_a_large_noisy_picture_is_reduced_by_whole_pixels(astronaut, points):
    """Points come back at the picture's own scale."""
    large = np.asarray(Image.fromarray(astronaut).resize((1280, 1280), Image.Resampling.BICUBIC))
    noisy = np.clip(large + np.random.default_rng(5).normal(0, 110, large.shape), 0, 255).astype(np.uint8)
    found = find_faces(noisy, min_score=0.5, device="cpu")
    assert len(found) == 1
    assert np.linalg.norm(found.points[0, :, :2] / 2.5 - points[:, :2], axis=1).mean() < 0.05 * side(points)


@pytest.mark.parametrize("name", ["frontal", "smiling", "speaking", "astronaut"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_masked_face_is_not_taken_for_one_upside_down(detector, astronaut, name, share):
    image = astronaut if name == "astronaut" else np.asarray(Image.open(DATA / f"{name}.jpg").convert("RGB"))
    (clean,) = detector.detect(image)
    (found,) = detector.detect(masked(image, clean.points, share))
    assert upward(found.points) @ upward(clean.points) > 0.9


def test_a_face_upside_down_still_is(detector, astronaut, points):
    (found,) = detector.detect(np.ascontiguousarray(astronaut[::-1, ::-1]))
    assert upward(found.points) @ upward(points) < -0.9


def test_a_second_look_agrees_on_a_clear_photo(astronaut, points):
    assert disagreement(astronaut, points, device="cpu") < 0.035


def test_a_second_look_disagrees_on_guesses(detector, astronaut):
    blurred = np.asarray(Image.fromarray(astronaut).filter(ImageFilter.GaussianBlur(4)))
    (found,) = detector.detect(blurred)
    assert disagreement(blurred, found.points, device="cpu") > 0.06


def test_a_second_look_does_not_depend_on_the_place(astronaut, points):
    moved = np.pad(astronaut, ((32, 0), (64, 0), (0, 0)), mode="edge")
    expected = disagreement(astronaut, points, device="cpu")
    found = disagreement(moved, points + np.float32([64, 32, 0]), device="cpu")
    assert found == pytest.approx(expected, abs=1e-3)
