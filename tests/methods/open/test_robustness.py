"""Spoilt photographs: the head stays a head, and the confidence falls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFilter

from likeness.api import Reconstructor
from likeness.errors import NoFaceError
from likeness.face import Face
from likeness.heads import load_head
from likeness.landmarks import Landmarks
from likeness.methods import Photo
from likeness.methods.open.confidence import BY_LOOKS, BY_RESIDUAL, landmark_confidence

# The astronaut's face, by eye: left, top, right, bottom.
FACE = (175, 65, 275, 190)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor(method="open", quality="fast", device="cpu", max_faces=1)


@pytest.fixture(scope="module")
def clean(astronaut, reconstructor) -> Face:
    return reconstruct(astronaut, reconstructor)


def reconstruct(picture: Image.Image, reconstructor: Reconstructor) -> Face:
    return reconstructor(Photo(np.asarray(picture.convert("RGB")).copy(), "spoilt")).faces[0]


def blurred(picture: Image.Image, radius: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius))


def covered(picture: Image.Image, share: float) -> Image.Image:
    """A grey hand from below up to ``share`` of the face."""
    left, top, right, bottom = FACE
    picture = picture.copy()
    edge = bottom - share * (bottom - top)
    ImageDraw.Draw(picture).rectangle((left - 20, edge, right + 20, bottom + 20), fill=(150, 130, 120))
    return picture


def noisy(picture: Image.Image) -> Image.Image:
    noise = np.random.default_rng(3).normal(0, 60, (*picture.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def darkened(picture: Image.Image) -> Image.Image:
    return picture.point(lambda value: value // 8)


def side_lit(picture: Image.Image) -> Image.Image:
    gain = np.clip((np.arange(picture.width) - FACE[0]) / (FACE[2] - FACE[0]), 0.03, 1.5)[None, :, None]
    return Image.fromarray(np.clip(np.asarray(picture) * gain, 0, 255).astype(np.uint8))


def tiny(picture: Image.Image) -> Image.Image:
    """The face 40 pixels wide."""
    return picture.resize((205, 205), Image.Resampling.BOX)


def drawn(picture: Image.Image) -> Image.Image:
    return blurred(picture, 1).convert("L").point(lambda value: 60 * (value // 60)).convert("RGB")


def cut(picture: Image.Image) -> Image.Image:
    """A quarter of the face lies beyond the left border."""
    return picture.crop((FACE[0] + 25, 0, 512, 512))


def upside_down(picture: Image.Image) -> Image.Image:
    return picture.rotate(180)


SPOILT = {
    each.__name__: each for each in (noisy, darkened, side_lit, tiny, drawn, cut, upside_down)
} | {
    "blurred": lambda picture: blurred(picture, 4),
    "covered": lambda picture: covered(picture, 0.4),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_the_mesh_stays_sane(name, astronaut, reconstructor):
    face = reconstruct(SPOILT[name](astronaut), reconstructor)
    assert_sane(face)
    assert 0 <= face.confidence <= 1


def assert_sane(face: Face) -> None:
    """Nothing collapsed, exploded, or turned inside out; a size and a person within what there is."""
    mean = face.head.vertices(torch.zeros(1, face.head.n_identity))[0]
    triangles = face.head.topology.triangles_tensor
    before, after = edges(mean, triangles), edges(face.vertices, triangles)
    stretch = (after / before)[before > 2]
    assert torch.isfinite(face.vertices).all()
    # Expressions bring lips and lids that close to a tenth, and skin that stretches to twice its length.
    assert stretch.min() > 0.08
    assert stretch.max() < 3
    turned = (normals(face.neutral_vertices, triangles) * normals(mean, triangles)).sum(-1) < 0
    assert turned.float().mean() < 0.005
    extent, expected = (points.amax(0) - points.amin(0) for points in (face.neutral_vertices, mean))
    assert ((extent / expected - 1).abs() < 0.3).all()
    assert face.identity.square().mean() < 4


def edges(vertices: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    corners = vertices[triangles]
    return (corners - corners.roll(1, 1)).norm(dim=-1)


def normals(vertices: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    a, b, c = vertices[triangles].unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)


@pytest.mark.parametrize("name", ["noisy", "darkened", "side_lit", "upside_down"])
def test_landmarks_stay_where_the_face_is(name, astronaut, reconstructor, clean):
    """Of what leaves a person no doubt. Half of a side's 5 % is what confidence counts as right."""
    face = reconstruct(SPOILT[name](astronaut), reconstructor)
    found, expected = face.landmarks("ibug68").image, clean.landmarks("ibug68").image
    if name == "upside_down":
        found = 512 - found
    side = np.sqrt(np.prod(np.ptp(expected, axis=0)))
    assert np.linalg.norm(found - expected, axis=1).mean() < 0.05 * side


def test_a_clear_photo_is_believed(clean):
    assert clean.confidence > 0.9


@pytest.mark.parametrize(
    ("spoil", "strengths"), [(blurred, (0, 3, 4, 6)), (covered, (0.0, 0.3, 0.45, 0.6))], ids=["blur", "cover"]
)
def test_confidence_falls(spoil, strengths, astronaut, reconstructor):
    """Monotonically; a face that is no longer found counts as no confidence at all."""
    values = []
    for strength in strengths:
        try:
            values.append(reconstruct(spoil(astronaut, strength), reconstructor).confidence)
        except NoFaceError:
            values.append(0.0)
    assert all(later < earlier for earlier, later in itertools.pairwise(values)), values
    assert values[-1] < 0.6


def test_landmarks_beside_the_face_are_not_believed(astronaut, clean):
    """The second look sees the face where it is, whatever was claimed."""
    assert clean.detected is not None
    moved = Landmarks("mediapipe478", clean.detected.points + np.float32([18, 9, 0]), 1.0)
    pixels = np.asarray(astronaut)
    right, wrong = (
        landmark_confidence(pixels, seen, identity=clean.identity, residual_mm=1.0, device="cpu")
        for seen in (clean.detected, moved)
    )
    assert wrong < 0.3 < right


def test_given_landmarks_are_judged_by_the_fit():
    identity = torch.zeros(load_head("open").n_identity)
    points = Landmarks("ibug68", np.zeros((68, 2), np.float32), 1.0)
    pixels = np.zeros((8, 8, 3), np.uint8)
    near, far = (
        landmark_confidence(pixels, points, identity=identity, residual_mm=residual, device="cpu")
        for residual in (1.5, 15.0)
    )
    assert far < 0.5 < near


@pytest.mark.parametrize("rule", [BY_LOOKS, BY_RESIDUAL])
def test_doubt_and_strangeness_lower_the_probability(rule):
    assert rule.probability(0.02, 0.5) > rule.probability(0.2, 0.5) > rule.probability(20.0, 0.5) >= 0
    assert rule.probability(0.05, 0.3) > rule.probability(0.05, 1.5)
    assert 0 <= rule.probability(1e6, 50.0) <= rule.probability(1e-9, 0.0) <= 1
