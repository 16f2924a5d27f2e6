"""From photo to Face, Rig and files, on the tiny model: one map, the twenty of the rig option, and how they follow."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.errors import AssetError, InputError
from likeness.face import Face
from likeness.files.glb import read_glb
from likeness.files.maps import read_displacement, read_exr
from likeness.heads.facescape_expressions import ARKIT_NAMES, KEY_EXPRESSIONS
from likeness.landmarks import Landmarks
from likeness.methods import Photo, follow_expression
from likeness.methods.facescape.blending import activations, mask_strengths
from likeness.methods.facescape.displacement import REACH_MM, STEP_MM
from likeness.methods.facescape.energies import total_energy
from likeness.methods.facescape.files import read_deforming_maps
from likeness.methods.facescape.fit import _starts, fit_landmarks, fit_together, unpack
from likeness.methods.facescape.following import KEY_WEIGHTS, OUTPUTS, detail_maps
from likeness.methods.facescape.key_expressions import authored_weights, read_weights
from likeness.methods.facescape.landmark_energy import (
    LandmarkCore,
    LandmarkEnergy,
    Mixture,
    rotation_derivative,
    rotation_rows,
)
from likeness.methods.facescape.method import FaceScapeMethod, Networks
from likeness.methods.facescape.network_input import match_colours
from likeness.methods.facescape.official_fit import fit_as_released
from likeness.methods.facescape.outputs import detailed, write_outputs
from likeness.methods.facescape.pose import Pose, to_fit_space
from likeness.methods.facescape.texture import texture_from_photo

HEIGHT, WIDTH = 300, 260


class SmallGenerator(torch.nn.Module):
    """A generator's door with little behind it, so that the way to and from it is what is tested."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.n_inputs = n_inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1] == self.n_inputs
        return (x * torch.linspace(0.2, 1.0, self.n_inputs)[:, None, None]).mean(1, keepdim=True).tanh()


@pytest.fixture(scope="module")
def photo() -> Photo:
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack(
        [120 + 80 * np.sin(column / 17), 100 + 60 * np.cos(row / 23), 90 + 50 * np.sin((row + column) / 31)], -1
    )
    return Photo(pixels.astype(np.uint8), "pattern")


@pytest.fixture(scope="module")
def landmarks(tiny_model) -> Landmarks:
    """The tiny head seen a little from the side, with a mild expression."""
    pose = Pose(1.1, np.array([130.0, 150.0]), np.array([0.05, 0.2, -0.03]))
    factors = tiny_model.identity_mean + 0.5 * np.sqrt(tiny_model.identity_variance)
    positions = tiny_model.positions(factors, np.full(51, 0.15))
    seen = tiny_model.slide_contour(tiny_model.start_landmarks, pose.project, positions)
    points = pose.project(positions[np.searchsorted(tiny_model.candidates, seen)])
    return Landmarks("ibug68", to_fit_space(points, HEIGHT).astype(np.float32), 1.0)


def method(head, *, rig: bool, **options) -> FaceScapeMethod:
    if not rig:
        return FaceScapeMethod.from_parts(head, Networks(SmallGenerator(3)), **SIZES, **options)  # type: ignore[arg-type]
    maps = torch.linspace(-1, 1, 20)[:, None, None, None].expand(20, 3, 64, 64)
    networks = Networks(SmallGenerator(6), maps, torch.from_numpy(authored_weights()))  # type: ignore[arg-type]
    return FaceScapeMethod.from_parts(head, networks, **SIZES, **options)


SIZES = {"map_size": 512, "albedo_size": 64, "network_size": 64}


@pytest.fixture(scope="module")
def face(tiny_head, photo, landmarks) -> Face:
    return method(tiny_head, rig=False).reconstruct(photo, landmarks)


@pytest.fixture(scope="module")
def rig_face(tiny_head, photo, landmarks) -> Face:
    return method(tiny_head, rig=True).reconstruct(photo, landmarks)


def test_the_face_sits_on_its_landmarks(face, landmarks):
    assert face.residuals["landmarks_mm"] < 3
    assert 0.5 < face.confidence <= 1
    assert face.displacement is not None
    assert face.displacement.shape == (512, 512)
    assert 0 < face.displacement.abs().max() < REACH_MM
    # Beyond the network's window the map is flat.
    assert face.displacement[:70].abs().max() == 0
    assert face.albedo is not None
    assert face.albedo.shape == (3, 64, 64)


def test_camera_and_fit_agree(tiny_model, tiny_head, landmarks, face):
    fit = fit_landmarks(tiny_model, to_fit_space(landmarks.points, HEIGHT))
    vertices = tiny_head.vertices(face.identity[None], face.expression[None])
    found = face.camera.project(vertices)[0, fit.vertices].numpy()
    positions = tiny_model.positions(fit.factors, fit.expression)
    expected = fit.pose.project(positions[np.searchsorted(tiny_model.candidates, fit.vertices)])
    np.testing.assert_allclose(found, to_fit_space(expected, HEIGHT), atol=1e-2)


def test_compat_official_counts_landmarks_as_pixel_indices(tiny_model, tiny_head, photo, landmarks):
    official = method(tiny_head, rig=False, compat="official").reconstruct(photo, landmarks)
    fit = fit_as_released(tiny_model, to_fit_space(landmarks.points - 0.5, HEIGHT))
    assert float(official.camera.scale) == pytest.approx(fit.pose.scale)
    found = official.camera.project(official.vertices[None])[0, fit.vertices].numpy()
    positions = tiny_model.positions(fit.factors, fit.expression)
    seen = fit.pose.project(positions[np.searchsorted(tiny_model.candidates, fit.vertices)])
    np.testing.assert_allclose(found, to_fit_space(seen, HEIGHT) + 0.5, atol=2e-2)


def test_our_fit_reaches_an_energy_no_worse(tiny_model, landmarks):
    points = to_fit_space(landmarks.points, HEIGHT)
    ours, official = fit_landmarks(tiny_model, points), fit_as_released(tiny_model, points)
    assert ours.energy <= official.energy
    again = total_energy(ours.pose, ours.factors, ours.expression, points, ours.vertices, tiny_model)
    assert ours.energy == pytest.approx(again)


def test_a_photo_that_matches_badly_does_not_shrink_the_head(tiny_model, landmarks):
    """A small head in a large picture bends more cheaply, which a joint fit would otherwise find out."""
    rng = np.random.default_rng(3)
    scrambled = to_fit_space(landmarks.points, HEIGHT) + rng.normal(0, 25, (68, 2))
    fit = fit_landmarks(tiny_model, scrambled)
    size = (fit.factors[0] - tiny_model.identity_mean[0]) / np.sqrt(tiny_model.identity_variance[0])
    assert abs(size) <= 3 + 1e-9


def test_gradient_of_the_energy(tiny_model, landmarks):
    points = to_fit_space(landmarks.points, HEIGHT)
    core = LandmarkCore.of(tiny_model, tiny_model.start_landmarks, dtype=torch.float64)
    starts, scale = _starts(tiny_model, core, points)
    energy = LandmarkEnergy(Mixture.of(tiny_model, torch.float64), core, points, scale)
    x = (starts + 0.01).requires_grad_(True)
    energy.value(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(energy.normal_equations(x.detach())[1], x.grad / 2, rtol=1e-6, atol=1e-6)


def test_the_solvers_energy_is_the_plain_one(tiny_model, landmarks):
    """But for the constant, at unit scale: the solver's data term is in units of the round's scale."""
    points = to_fit_space(landmarks.points, HEIGHT)
    core, mixture = (
        LandmarkCore.of(tiny_model, tiny_model.start_landmarks, dtype=torch.float64),
        Mixture.of(tiny_model, torch.float64),
    )
    x, scale = _starts(tiny_model, core, points)
    pose, factors, expression = unpack(x[1] + 0.02, scale, tiny_model)
    energy = LandmarkEnergy(mixture, core, points, pose.scale)
    x[:, 1:3] *= scale / pose.scale
    x = x + 0.02
    x[:, 0], x[:, 1:3] = 1, torch.from_numpy(pose.translation / pose.scale)
    expected = total_energy(pose, factors, expression, points, core.vertices, tiny_model)
    found = energy.value(x)[1] - mixture.peak
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert (energy.value(x) >= 0).all()


def test_the_quick_contour_is_the_contour(tiny_model):
    rng = np.random.default_rng(11)
    for _ in range(20):
        factors = rng.normal(tiny_model.identity_mean, np.sqrt(tiny_model.identity_variance))
        expression = rng.uniform(0, 0.4, 51) * (rng.random(51) < 0.3)
        pose = Pose(1.1, np.array([130.0, 150.0]), rng.normal(0, [0.2, 0.5, 0.2]))
        exact = tiny_model.slide_contour(
            tiny_model.start_landmarks, pose.project, tiny_model.positions(factors, expression)
        )
        np.testing.assert_array_equal(
            tiny_model.silhouette.slide(tiny_model.start_landmarks, pose, factors, expression), exact
        )


def test_derivative_of_a_rotation():
    vectors = torch.tensor([[0.3, -0.5, 0.2], [0.0, 0.0, 1e-5]], dtype=torch.float64)
    turning = rotation_derivative(vectors, rotation_rows(vectors))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda r: rotation_rows(r[None])[0]))(vectors)
    torch.testing.assert_close(turning, jacobian.movedim(-1, 2), atol=1e-6, rtol=1e-6)


def test_several_photos_share_one_identity(tiny_model, tiny_head, photo, landmarks):
    other = Landmarks("ibug68", landmarks.points * np.float32(0.8) + np.float32([20, 25]), 1.0)
    faces = method(tiny_head, rig=False).reconstruct_together([photo, photo], [landmarks, other])
    assert torch.equal(faces[0].identity, faces[1].identity)
    assert all(face.residuals["landmarks_mm"] < 3 for face in faces)
    assert float(faces[1].camera.scale) == pytest.approx(0.8 * float(faces[0].camera.scale), rel=0.02)
    alone = fit_together(tiny_model, [to_fit_space(landmarks.points, HEIGHT)])
    assert len(alone) == 1


def test_mask_strengths_follow_the_papers_formula(tiny_head):
    active = activations(tiny_head, torch.zeros(6))
    assert active.max() == 1
    keys = torch.from_numpy(authored_weights())
    weights = torch.zeros(51)
    weights[ARKIT_NAMES.index("jawLeft")] = 0.5
    found = mask_strengths(weights, keys, active)
    row = KEY_EXPRESSIONS.index("jaw_left")
    torch.testing.assert_close(found[row], 0.5 * active[ARKIT_NAMES.index("jawLeft")])
    torch.testing.assert_close(found[0], 1 - found[row])
    torch.testing.assert_close(mask_strengths(torch.ones(51), keys, active).sum(0), torch.ones(active.shape[1]))


def test_neutral_shows_the_neutral_map(rig_face):
    neutral = follow_expression(rig_face.neutral())
    rested = detail_maps(rig_face)
    assert len(rested) == 20
    assert neutral.displacement is not None
    maps = rig_face.codes[OUTPUTS]
    assert maps.shape == (20, 64, 64)
    window = neutral.displacement[80:310, 140:370]
    torch.testing.assert_close(window.mean(), maps[0].mean() * REACH_MM, atol=0.01, rtol=0)


def test_the_rig_and_the_face_blend_alike(rig_face, tiny_head):
    rig = rig_face.rig()
    weights = {"mouthSmileLeft": 0.8, "jawOpen": 0.5, "browInnerUp": 1.0}
    vector = torch.tensor([weights.get(name, 0.0) for name in ARKIT_NAMES])
    expected = mask_strengths(vector, rig_face.codes[KEY_WEIGHTS], activations(tiny_head, rig_face.identity))
    np.testing.assert_allclose(rig.strengths(weights), expected, atol=1e-4)
    # ARKit has a tongue, FaceScape has none.
    assert set(rig.blendshape_names) == {*ARKIT_NAMES, "tongueOut"}
    assert not rig.blendshapes[rig.blendshape_names.index("tongueOut")].any()
    assert {detail.name for detail in rig.details} == set(KEY_EXPRESSIONS)


def test_a_rig_survives_its_file(rig_face, tmp_path):
    rig = rig_face.rig()
    rig.save(tmp_path / "rig.safetensors")
    again = type(rig).load(tmp_path / "rig.safetensors")
    assert [detail.local for detail in again.details] == [True] * 20
    np.testing.assert_array_equal(again.strengths({"jawOpen": 1.0}), rig.strengths({"jawOpen": 1.0}))


@pytest.mark.parametrize(("which", "n_maps"), [("face", 1), ("rig_face", 20)])
def test_the_glb_carries_the_relief(which, n_maps, request, tmp_path):
    """As a normal map of the face at rest, and as displacement with its rule for renderers that blend it."""
    shown = request.getfixturevalue(which)
    shown.rig().save(tmp_path / "head.glb")
    model = read_glb(tmp_path / "head.glb")
    (skin,) = (part for part in model.parts if part.name == "skin")
    assert skin.material.normal_image is not None
    normals = np.asarray(Image.open(io.BytesIO(skin.material.normal_image.data)).convert("RGB")).astype(int)
    assert (np.abs(normals - [128, 128, 255]).max(-1) > 3).any(), "all of it flat"
    maps = model.extras["likeness_detail"]["maps"]
    assert len(maps) == n_maps
    first = maps[0]
    steps = np.asarray(Image.open(io.BytesIO(model.payloads[first["payload"]].data))).astype(float)
    found = steps * first["millimetres_per_step"] + first["millimetres_at_0"]
    expected = detail_maps(shown)[0].displacement
    assert found.max() == pytest.approx(expected.max(), abs=0.02)
    assert found.min() == pytest.approx(expected.min(), abs=0.02)


def test_a_face_with_one_map_keeps_it(face):
    assert follow_expression(face) is face
    (only,) = detail_maps(face)
    assert not only.local
    assert only.strength({"jawOpen": 1.0}) == 1


def test_outputs_of_one_map(face, tmp_path):
    written = write_outputs(tmp_path, face, n_subdivisions=1)
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}
    exact = read_exr(tmp_path / "face_displacement.exr")
    steps = read_displacement(tmp_path / "face_dpmap.png", scale=STEP_MM, offset=-REACH_MM)
    assert exact.shape == steps.shape == (4096, 4096)
    assert np.abs(exact - steps)[600:2500, 1100:3000].max() <= 2 * STEP_MM
    with Image.open(tmp_path / "face_dpmap.png") as image:
        assert image.mode == "I;16"
        assert image.getpixel((0, 0)) == 32768
    assert Image.open(tmp_path / "face.jpg").size == (4096, 4096)
    record = json.loads((tmp_path / "face_facescape.json").read_text())
    assert record["displacement"]["maya"]["alpha_gain"] == pytest.approx(1.828)
    mesh = detailed(face, n_subdivisions=1)
    flat = len(face.head.topology.region("face").nonzero()[0])  # the original vertices come first
    moved = mesh.vertices[:flat] - face.vertices.numpy()[face.head.topology.region("face")]
    assert 0 < np.linalg.norm(moved, axis=1).max() < REACH_MM


def test_detail_for_any_expression(rig_face):
    closed, open_ = (detailed(rig_face, n_subdivisions=0, weights=w) for w in ({}, {"jawOpen": 1.0}))
    assert not np.allclose(closed.vertices, open_.vertices)
    with pytest.raises(InputError, match="tongueOut"):
        detailed(rig_face, weights={"tongueOut": 1.0})


def test_faces_of_other_methods_are_not_written(face, tmp_path):
    from dataclasses import replace

    with pytest.raises(InputError, match="facescape"):
        write_outputs(tmp_path, replace(face, method="open"))
    assert not list(tmp_path.iterdir())


def test_the_border_of_the_photo(tiny_head, photo, landmarks, tiny_model):
    fit = fit_landmarks(tiny_model, to_fit_space(landmarks.points, HEIGHT))
    vertices = tiny_head.model_vertices(torch.from_numpy(fit.factors)[None], torch.from_numpy(fit.expression)[None])
    projected = to_fit_space(fit.pose.project(vertices[0].double().numpy()), HEIGHT) - [120, 0]
    texture = texture_from_photo(photo.pixels, projected, tiny_head.tables)
    assert texture.any()
    with pytest.raises(InputError, match="border"):
        texture_from_photo(photo.pixels, projected, tiny_head.tables, sampling="official")


def test_a_grey_photo_is_refused():
    grey = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), 3, 2)
    with pytest.raises(InputError, match="colour"):
        match_colours(np.full_like(grey, 90), np.ones((8, 8), bool))


@pytest.mark.parametrize("options", [{"compat": "old"}, {"map_size": 8}, {"network_size": 100}])
def test_unknown_options_are_refused(tiny_head, options):
    with pytest.raises(InputError):
        FaceScapeMethod.from_parts(tiny_head, Networks(SmallGenerator(3)), **options)  # type: ignore[arg-type]


def test_missing_networks_are_named(tiny_paths, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(tiny_paths["facescape_faces"].parent))
    with pytest.raises(AssetError, match=r"dpmap_rig_net_G\.pth"):
        FaceScapeMethod(device="cpu", rig=True)


def test_key_weights_and_deforming_maps_from_files(tmp_path):
    path = tmp_path / "rig_params.json"
    weights = np.random.default_rng(0).uniform(0, 1, (20, 52))
    path.write_text(json.dumps({"bs_weight": weights.tolist()}))
    np.testing.assert_allclose(read_weights(path), weights[:, 1:], atol=1e-6)
    path.write_text("[]")
    with pytest.raises(AssetError, match="bs_weight"):
        read_weights(path)
    maps = tmp_path / "posmaps.npz"
    np.savez(maps, np.zeros((60, 8, 8), np.float32))
    assert read_deforming_maps(maps).shape == (20, 3, 8, 8)
    np.savez(maps, np.zeros((59, 8, 8), np.float32))
    with pytest.raises(AssetError, match="60 maps"):
        read_deforming_maps(maps)
