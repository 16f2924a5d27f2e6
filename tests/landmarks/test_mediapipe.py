"""MediaPipe's networks as ONNX: against MediaPipe's own recorded output, and geometry laws on the whole detector."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from likeness.errors import InputError
from likeness.landmarks import MediaPipe
from likeness.landmarks.conventions import MIRROR
from likeness.landmarks.face_detector import detect_faces
from likeness.landmarks.face_mesh import fit_mesh, windows_of_detections
from likeness.landmarks.windows import Window

DATA = Path(__file__).parent / "data"
HEADS = ("frontal", "smiling", "speaking", "blinking", "turned")
# What the networks themselves vary by when the picture is resampled or the crop moves a little, as a share of the
# distance between the outer eye corners (median over photos and their mirror images: 0.015).
STEADY = 0.04


@pytest.fixture(scope="module")
def detector() -> MediaPipe:
    return MediaPipe(device="cpu")


def picture(name: str) -> np.ndarray:
    if name == "astronaut":
        return skimage.data.astronaut()
    return np.asarray(Image.open(DATA / f"{name}.jpg").convert("RGB"))


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[33, :2] - points[263, :2]))


def assert_same_face(points: np.ndarray, expected: np.ndarray) -> None:
    error = np.linalg.norm(points[:, :2] - expected[:, :2], axis=1).mean()
    assert error < STEADY * eye_distance(expected)


@pytest.mark.parametrize("name", ["astronaut", *HEADS])
def test_points_are_mediapipes(detector: MediaPipe, name: str) -> None:
    """Within half a pixel of the 192-pixel crop, each point; they are in fact within a fiftieth."""
    with np.load(DATA / "mediapipe.npz") as record:
        expected = record[f"{name}/points"]
    faces = detector.detect(picture(name))
    assert len(faces) == len(expected) == 1
    assert faces[0].convention == "mediapipe478"
    assert faces[0].points.shape == (478, 3) and faces[0].points.dtype == np.float32
    assert 0.9 < faces[0].score <= 1
    crop_side = 1.5 * np.ptp(expected[0, :, :2], axis=0).max()
    error = np.abs(faces[0].points - expected[0]) * 192 / crop_side
    assert error.max() < 0.5


@pytest.mark.parametrize("kind", ["short", "full"])
@pytest.mark.parametrize("name", ["astronaut", *HEADS])
def test_detections_are_mediapipes(name: str, kind: str) -> None:
    """Boxes and keypoints within a fifth of a pixel of the detector's own input."""
    with np.load(DATA / "mediapipe.npz") as record:
        expected = record[f"{name}/{kind}"]
    image = picture(name)
    side = max(image.shape[:2])
    (found,) = detect_faces(image, [Window(image.shape[1] / 2, image.shape[0] / 2, side)], kind, device="cpu")
    rows = np.concatenate([found.scores[:, None], found.boxes, found.keypoints.reshape(-1, 12)], axis=1)
    assert rows.shape == expected.shape
    np.testing.assert_allclose(rows[:, 0], expected[:, 0], atol=0.01)
    np.testing.assert_allclose(rows[:, 1:], expected[:, 1:], atol=0.2 * side / 128)


def test_a_batch_equals_its_parts() -> None:
    image = skimage.data.astronaut()
    (found,) = detect_faces(image, [Window(256, 256, 512)], "short", device="cpu")
    (window,) = windows_of_detections(found)
    windows = [window, Window(window.x + 9, window.y - 5, window.side * 1.1, 0.3), Window(80, 400, 150)]
    points, presence = fit_mesh(image, windows, device="cpu")
    for i, one in enumerate(windows):
        alone, alone_presence = fit_mesh(image, [one], device="cpu")
        np.testing.assert_allclose(points[i], alone[0], atol=1e-2)
        np.testing.assert_allclose(presence[i], alone_presence[0], atol=1e-4)
    assert presence[0] > 0.9 > 0.1 > presence[2]


def test_shifted(detector: MediaPipe) -> None:
    image = skimage.data.astronaut()
    expected = detector.detect(image)[0].points[:, :2] + [150, 40]
    assert_same_face(detector.detect(np.pad(image, ((40, 60), (150, 20), (0, 0)), mode="edge"))[0].points, expected)


@pytest.mark.parametrize("scale", [0.4, 1.7, 5.0])
def test_scaled(detector: MediaPipe, scale: float) -> None:
    image = Image.fromarray(skimage.data.astronaut())
    expected = detector.detect(np.asarray(image))[0].points * np.float32(scale)
    size = (round(512 * scale), round(512 * scale))
    face = detector.detect(np.asarray(image.resize(size, Image.Resampling.LANCZOS)))[0]
    assert_same_face(face.points, expected)
    # Depth scales with the picture too; it is the least steady of the three.
    error = np.abs(face.points[:, 2] - expected[:, 2]).mean()
    assert error < 2 * STEADY * eye_distance(expected)


def test_mirrored(detector: MediaPipe) -> None:
    image = skimage.data.astronaut()
    mirrored = detector.detect(np.ascontiguousarray(image[:, ::-1]))[0].points[MIRROR["mediapipe478"]]
    mirrored[:, 0] = 512 - mirrored[:, 0]
    assert_same_face(mirrored, detector.detect(image)[0].points)


@pytest.mark.parametrize("name", ["astronaut", "speaking"])
@pytest.mark.parametrize("degrees", [-135, -90, -45, 30, 60, 90, 180])
def test_turned(detector: MediaPipe, name: str, degrees: float) -> None:
    image = Image.fromarray(picture(name))
    turned = np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC, expand=True))
    angle = np.radians(-degrees)  # PIL turns anticlockwise, with y down that is a negative angle
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = detector.detect(np.asarray(image))[0].points[:, :2] - np.array(image.size) / 2
    expected = upright @ rotation.T + np.array(turned.shape[1::-1]) / 2
    faces = detector.detect(turned)
    assert len(faces) == 1
    assert_same_face(faces[0].points, expected)


def test_small_in_a_large_picture(detector: MediaPipe) -> None:
    small = Image.fromarray(skimage.data.astronaut()).resize((180, 180), Image.Resampling.LANCZOS)
    expected = detector.detect(skimage.data.astronaut())[0].points[:, :2] * (180 / 512) + [1500, 300]
    image = np.asarray(Image.fromarray(skimage.data.coffee()).resize((2400, 1600))).copy()
    image[300:480, 1500:1680] = np.asarray(small)
    faces = detector.detect(image)
    assert len(faces) == 1
    assert_same_face(faces[0].points, expected)


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_filling_the_picture(detector: MediaPipe, share: float) -> None:
    image = skimage.data.astronaut()
    expected = detector.detect(image)[0].points[:, :2]
    low, high = expected.min(axis=0), expected.max(axis=0)
    begin = ((low + high) / 2 - share * (high - low) / 2).astype(int)
    end = ((low + high) / 2 + share * (high - low) / 2).astype(int)
    face = detector.detect(image[begin[1] : end[1], begin[0] : end[0]])[0]
    assert_same_face(face.points, expected - begin)


def test_cut_by_the_border(detector: MediaPipe) -> None:
    image = skimage.data.astronaut()
    expected = detector.detect(image)[0].points[:, :2]
    begin = int(expected[:, 0].min() + 0.25 * np.ptp(expected[:, 0]))
    face = detector.detect(image[:, begin:])[0]
    assert_same_face(face.points, expected - [begin, 0])


def test_several_faces_largest_first(detector: MediaPipe) -> None:
    image = np.full((700, 1200, 3), 128, np.uint8)
    image[150:662, 600:1112] = skimage.data.astronaut()
    image[40:296, 100:356] = np.asarray(Image.fromarray(picture("frontal")).resize((256, 256)))
    faces = detector.detect(image)
    assert [bool(face.points[1, 0] > 500) for face in faces] == [False, True]
    sizes = [np.ptp(face.points[:, :2], axis=0).max() for face in faces]
    assert sizes[0] > sizes[1]
    assert len(detector.detect(image, max_faces=1)) == 1


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (3, 5), (40, 40), (1, 3000), (3000, 1), (7, 900), (20000, 3), (300, 200)]
)
def test_no_face(detector: MediaPipe, shape: tuple[int, int]) -> None:
    plain = np.full((*shape, 3), 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detector.detect(plain) == []
    assert detector.detect(noise) == []


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea"])
def test_no_face_in_a_photo(detector: MediaPipe, name: str) -> None:
    assert detector.detect(getattr(skimage.data, name)()) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        [[[0, 0, 0]]],
        None,
    ],
)
def test_what_is_no_picture_is_refused(detector: MediaPipe, image: object) -> None:
    with pytest.raises(InputError, match="picture"):
        detector.detect(image)  # type: ignore[arg-type]


def test_wrong_options_are_refused(detector: MediaPipe) -> None:
    with pytest.raises(InputError, match="max_faces"):
        detector.detect(skimage.data.astronaut(), max_faces=0)
    with pytest.raises(InputError, match="min_score"):
        MediaPipe(min_score=1.5)
    with pytest.raises(InputError, match="device"):
        MediaPipe(device="tpu")  # type: ignore[arg-type]


def test_cuda_is_refused_where_there_is_none() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(InputError, match="onnxruntime-gpu"):
        MediaPipe(device="cuda").detect(skimage.data.astronaut())


def test_a_view_and_a_read_only_picture_do_as_well(detector: MediaPipe) -> None:
    image = skimage.data.astronaut()
    expected = detector.detect(image)[0].points
    channels_reversed = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    channels_reversed.flags.writeable = False
    np.testing.assert_array_equal(detector.detect(channels_reversed)[0].points, expected)
