"""The reference implementation's numbers, on the full-size stand-in of the bilinear model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.methods.facescape.displacement import (
    detailed_mesh,
    output_to_map,
    steps_to_mm,
    to_steps,
    vertex_uv,
)
from likeness.methods.facescape.energies import (
    data_energy,
    expression_energy,
    identity_energy,
    landmark_points,
    rigid_residual,
    total_energy,
)
from likeness.methods.facescape.fit import fit_landmarks
from likeness.methods.facescape.network_input import crop_window, match_colours, network_image, rgb_to_lab
from likeness.methods.facescape.official_fit import fit_as_released, fit_expression, fit_identity, fit_rigid
from likeness.methods.facescape.outputs import obj_text
from likeness.methods.facescape.pose import Pose, to_fit_space
from likeness.methods.facescape.texture import texture_from_photo

GOLDENS = Path(__file__).parents[2] / "goldens" / "facescape"
FITS = ("fit_a", "fit_b", "fit_c")


def mesh_of(head, factors, expression) -> np.ndarray:
    found = head.model_vertices(torch.from_numpy(factors)[None], torch.from_numpy(expression[1:])[None])
    return found[0].double().numpy()


def pose_of(numbers) -> Pose:
    return Pose(float(numbers["scale"]), numbers["trans"], numbers["rot"])


def test_vertices(full_head, golden):
    numbers = golden("vertices")
    np.testing.assert_allclose(full_head.core[::7, ::5, ::4001], numbers["raw_core_probe"], atol=1e-3)
    factors, expression = torch.from_numpy(numbers["id"]), torch.from_numpy(numbers["exp"][:, 1:])
    found = full_head.model_vertices(factors, expression)[:, numbers["vert_index"]]
    np.testing.assert_allclose(found, numbers["verts"], atol=1e-3)
    # The same through the door of a head: standard deviations in, head frame out.
    own = full_head.vertices(full_head.identity_of(factors), expression) + full_head.origin
    np.testing.assert_allclose(own[:, numbers["vert_index"]], numbers["verts"], atol=1e-3)


def test_personal_blendshapes(full_head, golden):
    factors = torch.from_numpy(golden("vertices")["id"][:1])
    meshes = full_head.personal_blendshapes(full_head.identity_of(factors))
    for slot in (0, 1, 20, 51):
        weights = np.zeros(52)
        weights[slot] = 1
        expected = mesh_of(full_head, factors[0].numpy(), weights) - full_head.origin.numpy()
        np.testing.assert_allclose(meshes[slot], expected, atol=1e-3)


def test_projection(full_head, golden):
    numbers = golden("vertices")
    points = numbers["verts"][1]
    for row, flat, deep in zip(numbers["pose"], numbers["projected"], numbers["projected_keepz"], strict=True):
        pose = Pose(row[3], row[4:], row[:3])
        np.testing.assert_allclose(pose.project(points), flat, atol=1e-9)
        np.testing.assert_allclose(pose.project_with_depth(points), deep, atol=1e-9)


def test_contour(full_model, golden):
    numbers = golden("vertices")
    for case, rotation, expected in zip(
        numbers["contour_case"], numbers["contour_pose"], numbers["contour_lm_index"], strict=True
    ):
        pose = Pose(float(numbers["contour_scale"]), numbers["contour_trans"], rotation)
        positions = full_model.positions(numbers["id"][case], numbers["exp"][case, 1:])
        found = full_model.slide_contour(numbers["lm_index"], pose.project, positions)
        np.testing.assert_array_equal(found, expected)


def test_energies(full_model, golden):
    numbers = golden("energies")
    pose, observed = pose_of(numbers), numbers["lm_pos"]
    basis = full_model.landmark_basis(numbers["lm_index"])
    points = landmark_points(basis, numbers["id_fixed"], numbers["exp_fixed"][1:])
    np.testing.assert_allclose(rigid_residual(pose, points, observed), numbers["rigid_residual"], rtol=1e-5, atol=1e-5)
    for row in range(6):
        factors, weights = numbers["query_id"][row], numbers["query_exp"][row]
        data = data_energy(pose, landmark_points(basis, factors, numbers["exp_fixed"][1:]), observed)
        assert identity_energy(factors, data, full_model) == pytest.approx(numbers["id_energy"][row], rel=1e-5)
        heavy = identity_energy(factors, data, full_model, weight=20)
        assert heavy == pytest.approx(numbers["id_energy_w20"][row], rel=1e-5)
        data = data_energy(pose, landmark_points(basis, numbers["id_fixed"], weights), observed)
        assert expression_energy(weights, data, full_model) == pytest.approx(numbers["exp_energy"][row], rel=1e-5)
        logp = full_model.prior.log_density(weights[None])[0]
        assert logp == pytest.approx(numbers["gmm_logp"][row], rel=1e-5)
    assert full_model.prior.log_density(np.zeros((1, 51)))[0] == pytest.approx(-703.4419, abs=1e-3)


@pytest.mark.parametrize("name", FITS)
def test_steps_of_the_released_fit(full_model, golden, name):
    numbers = golden(name)
    observed = numbers["lm_pos"]
    for loop in range(4):
        part = {key[3:]: numbers[key] for key in numbers.files if key.startswith(f"L{loop}_")}
        pose = fit_rigid(Pose.from_vector(part["rigid_in"]), part["rigid_pts3d"], observed)
        cost = 0.5 * np.square(rigid_residual(pose, part["rigid_pts3d"], observed)).sum()
        assert cost <= part["rigid_cost"] * 1.0005
        assert pose.scale == pytest.approx(part["rigid_out"][0], rel=1e-3)
        np.testing.assert_allclose(pose.rotation, part["rigid_out"][3:], atol=1e-3)
        pose, basis = Pose.from_vector(part["rigid_out"]), full_model.landmark_basis(part["lm_index_in"])
        factors = fit_identity(basis, pose, part["exp_in"][1:], observed, full_model)
        data = data_energy(pose, landmark_points(basis, factors, part["exp_in"][1:]), observed)
        assert identity_energy(factors, data, full_model) == pytest.approx(part["id_E"][2], rel=1e-4)
        positions = full_model.positions(part["id_out"], part["exp_out"][1:])
        moved = full_model.slide_contour(part["lm_index_in"], pose.project, positions)
        np.testing.assert_array_equal(moved, part["lm_index_out"])


def test_expression_step_of_the_released_fit(full_model, golden):
    numbers = golden("fit_b")
    pose, basis = Pose.from_vector(numbers["L1_rigid_out"]), full_model.landmark_basis(numbers["L1_lm_index_in"])
    factors, start = numbers["L1_id_out"], numbers["L1_exp_in"][1:]
    found = fit_expression(basis, pose, factors, start, numbers["lm_pos"], full_model)
    assert ((found >= 0) & (found <= 1)).all()
    data = data_energy(pose, landmark_points(basis, factors, found), numbers["lm_pos"])
    assert expression_energy(found, data, full_model) <= numbers["L1_exp_E"][1] + 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FITS)
def test_released_fit_and_ours(full_head, full_model, golden, name):
    numbers = golden(name)
    width, height = numbers["image_wh"]
    small = numbers["dlib_points_small"] * (max(width, height) / 512)
    np.testing.assert_allclose(to_fit_space(small, height), numbers["lm_pos"], atol=1e-9)
    official = fit_as_released(full_model, numbers["lm_pos"])
    vertices = mesh_of(full_head, official.factors, np.concatenate([[1], official.expression]))
    distance = np.linalg.norm(vertices[numbers["vert_subset"]] - numbers["verts_subset"], axis=1)
    assert distance.mean() <= 0.15
    assert distance.max() <= 0.5
    np.testing.assert_allclose(official.pose.rotation, numbers["rot"], atol=2e-3)
    assert official.pose.scale == pytest.approx(numbers["scale"], rel=2e-3)
    residual = np.linalg.norm(official.pose.project(vertices[official.vertices]) - official.landmarks, axis=1)
    assert residual.mean() <= numbers["lm_residual_px"][0] * 1.03
    ours = fit_landmarks(full_model, numbers["lm_pos"])
    assert ((ours.expression >= 0) & (ours.expression <= 1)).all()
    # The same energy, each at the silhouette of its own view.
    assert at_own_contour(ours, full_model) <= at_own_contour(official, full_model)


def at_own_contour(fit, model) -> float:
    moved = model.slide_contour(fit.vertices, fit.pose.project, model.positions(fit.factors, fit.expression))
    return total_energy(fit.pose, fit.factors, fit.expression, fit.landmarks, moved, model)


@pytest.mark.slow
def test_texture_and_network_input(full_head, golden):
    numbers = golden("texture")
    pixels = np.asarray(Image.open(GOLDENS / "texture_input.png").convert("RGB"))
    vertices = mesh_of(full_head, numbers["id"], numbers["exp"])
    projected = pose_of(numbers).project(vertices)
    front = full_head.tables.front_vertices[::20]
    np.testing.assert_allclose(projected[front], numbers["front_proj_stride20"], atol=1e-3)
    seen = to_fit_space(projected, len(pixels))
    texture = texture_from_photo(pixels, seen, full_head.tables, sampling="official")
    for (row, column), expected in zip(numbers["windows"], numbers["texture_bgr"], strict=True):
        found = texture[row : row + 192 : 2, column : column + 192 : 2, ::-1]
        difference = np.abs(found.astype(int) - expected)
        assert difference.mean() <= 0.5
        assert (difference.max(-1) <= 3).mean() >= 0.99
    crop = crop_window(texture)[::16, ::16, ::-1].astype(int)
    assert (np.abs(crop - numbers["crop1024_stride16"]).max(-1) <= 3).mean() >= 0.99
    expected = np.asarray(Image.open(GOLDENS / "net_input_rgb.png")).astype(int)
    found = network_image(texture, full_head.tables.face_mask)
    assert (np.abs(found - expected).max(-1) <= 2).mean() >= 0.99


def test_colour_transfer_and_steps(golden):
    numbers = golden("pixels")
    rgb = numbers["color_in_bgr"][..., ::-1]
    lab = rgb_to_lab(rgb).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(np.stack([lab.mean(0), lab.std(0)], 1).ravel(), numbers["color_lab_stats"], rtol=1e-5)
    found = match_colours(rgb, np.ones(rgb.shape[:2], bool))[..., ::-1].astype(int)
    assert np.abs(found - numbers["color_out_bgr"]).max() <= 1
    output = torch.from_numpy(numbers["net_out"])
    assert np.abs(to_steps(output[0]).astype(int) - numbers["u16_same"]).max() <= 1
    resized = torch.nn.functional.interpolate(output[None], size=(119, 119), mode="bilinear", align_corners=False)
    assert np.abs(to_steps(resized[0, 0]).astype(int) - numbers["u16_119"]).max() <= 1


def test_map_outside_the_window():
    canvas = output_to_map(torch.zeros(32, 32))
    assert canvas.shape == (4096, 4096)
    assert canvas[0, 0] == 32768  # nothing
    assert canvas[1500, 2000] == 32767  # a step below nothing: the release's cut


@pytest.mark.slow
def test_displaced_mesh(full_head, golden):
    numbers, photo = golden("displace"), golden("texture")
    tables = full_head.tables
    vertices = mesh_of(full_head, photo["id"], photo["exp"])[tables.front_vertices]
    np.testing.assert_allclose(vertices[::60], numbers["input_vert_sample"], atol=1e-3)
    row, column = np.mgrid[:4096, :4096]
    steps = (32768 + 12000 * np.sin(row / 37.0) * np.cos(column / 53.0)).astype(np.uint16)
    displacement = steps_to_mm(steps)
    flat = detailed_mesh(vertices, tables, displacement, n_subdivisions=0).vertices
    assert near(flat[::12], numbers["displaced_level0_stride12"]) >= 0.995
    unit = detailed_mesh(vertices, tables, displacement, n_subdivisions=0, scale=1 / 0.914).vertices
    # The recorded scale is a float; a hair beyond 1e-3 at one of the 209.
    assert near(unit[::60], numbers["displaced_level0_scale1_stride60"], 1.1e-3) >= 0.995
    once = detailed_mesh(vertices, tables, np.zeros((64, 64)), n_subdivisions=1)
    children = once.triangles[numbers["level1_tri"]]
    np.testing.assert_allclose(once.vertices[children], numbers["level1_tri_pos"], atol=1e-3)
    np.testing.assert_allclose(once.uv[children], numbers["level1_tri_uv"], atol=1e-9)
    twice = detailed_mesh(vertices, tables, displacement, n_subdivisions=2)
    for mesh, count in ((once, "count_1"), (twice, "count_2")):
        assert (len(mesh.vertices), len(mesh.triangles)) == tuple(numbers[count])
    fine = detailed_mesh(vertices, tables, displacement)
    assert (len(fine.vertices), len(fine.triangles)) == tuple(numbers["count_3"])
    assert near(fine.vertices[:12483][::12], numbers["displaced_first12483_stride12"]) >= 0.995


def near(found: np.ndarray, expected: np.ndarray, limit: float = 1e-3) -> float:
    return float((np.linalg.norm(found - expected, axis=1) <= limit).mean())


def test_front_mesh_and_obj(full_head, golden):
    tables, numbers, photo = full_head.tables, golden("vertices"), golden("texture")
    np.testing.assert_allclose(vertex_uv(tables)[::37], numbers["render_vert_texcoords"], atol=1e-12)
    np.testing.assert_array_equal(tables.front_triangles[::97], numbers["render_tris"])
    expected = json.loads((GOLDENS / "obj_export.json").read_text())
    vertices = mesh_of(full_head, photo["id"], photo["exp"])[tables.front_vertices]
    text = obj_text(vertices, full_head, "face")
    lines = text.split("\n")
    assert len(lines) == expected["total_lines"]
    for word, count in expected["counts"].items():
        assert sum(line.split(" ")[0] == word for line in lines) == count
    for word in ("mtllib", "usemtl", "vt", "f"):
        assert set(expected["samples"][word]) <= set(lines)
    found = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    for line in expected["samples"]["v"]:
        # The last printed digits: our sums are float32.
        assert np.abs(found - np.array(line.split()[1:], float)).max(1).min() <= 1e-3
