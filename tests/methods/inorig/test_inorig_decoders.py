"""A walk over the levels with given codes, a step of descent at each, the derivatives: against recorded numbers."""

import pytest
import torch

from likeness.methods.inorig.albedo import changed_albedo
from likeness.methods.inorig.decoding import Codes, expression_displacement
from likeness.methods.inorig.descent import decode, descent_step, detached, step_sizes
from likeness.methods.inorig.expression import coefficients
from likeness.methods.inorig.gates import gated_features
from likeness.methods.inorig.illumination import light_basis, outward_normals
from likeness.methods.inorig.network import GEOMETRY_SIZES
from likeness.methods.inorig.pose import crop_to_pixels, pose_vertices
from methods.inorig.recorded import error, golden, n_different, network, observation, template, tensor, walk

LEVELS = pytest.mark.parametrize("index", [0, 1, 2])


@LEVELS
def test_encoders(index):
    level, _ = walk()[index]
    assert error(level.identity_features, "decoders", f"iden_uv_feat{index}") < 5e-5
    assert error(level.expression_features, "decoders", f"exp_uv_feat{index}") < 5e-5
    assert error(level.albedo_features, "decoders", f"albedo_uv_feat{index}") < 5e-5
    if index == 0:
        assert error(level.vector, "decoders", "exp_uv_vec") < 5e-5


@LEVELS
def test_geometry(index):
    estimate = walk()[index][1]
    assert error(estimate.vertices, "decoders", f"vert{index}") < 5e-5
    assert error(estimate.object_vertices, "decoders", f"vert_obj{index}") < 5e-5
    assert error(estimate.displacement, "decoders", f"delta_sp{index}") < 5e-5
    assert error(template().mean + estimate.displacement, "decoders", f"sp_vert{index}") < 5e-5


@LEVELS
def test_visibility_and_albedo(index):
    estimate = walk()[index][1]
    assert n_different(estimate.visible, "decoders", f"vis{index}") <= 3
    assert n_different(estimate.not_hidden, "decoders", f"vis_full{index}") <= 3
    assert error(estimate.albedo.mT, "decoders", f"albedo{index}") < 3e-4


@LEVELS
def test_identity_displacement_of_the_level(index):
    level, estimate = walk()[index]
    table = template().tables[GEOMETRY_SIZES[index]]
    maps = level.networks.iden_model.displacement(index, estimate.codes.identity, level.identity_features)
    assert error(table.gather(maps), "decoders", f"iden_cnn_disp{index}") < 5e-5


@LEVELS
def test_neural_rig(index):
    level, estimate = walk()[index]
    generators, codes = estimate.generators, estimate.codes.expression
    assert generators.weights is not None
    assert error(generators.weights, "decoders", "ep_enc_weights") < 5e-5
    linear = (coefficients(generators.weights, codes) @ template().expression_basis.T).unflatten(-1, (-1, 3))
    assert error(linear, "decoders", f"exp_pca_disp{index}") < 5e-5
    if index > 0:
        assert error(generators.gates[-1], "decoders", f"exp_space_feat{index}") < 5e-5
        # Recorded: the sum over the levels so far.
        whole = expression_displacement(level.networks, template(), generators, codes)
        assert error(whole - linear, "decoders", f"exp_cnn_disp{index}") < 3e-4
    if index == 2:
        assert generators.albedo_gates is not None
        assert error(generators.albedo_gates, "decoders", "dyn_albedo_feat") < 5e-5


def test_frozen_rig_with_new_codes_and_poses():
    level, estimate = walk()[2]
    estimate, decoder = detached(estimate), level.networks.albedo_model
    codes, pose = tensor("decoders", "rt_ep")[..., 0], tensor("decoders", "rt_pose")
    moved = expression_displacement(level.networks, template(), estimate.generators, codes).detach()
    vertices = pose_vertices(pose, template().mean + estimate.displacement + moved)
    assert error(vertices, "decoders", "rt_vert") < 5e-5
    assert estimate.generators.albedo_gates is not None
    maps = decoder.expressive_change(estimate.generators.albedo_gates, codes)
    albedo = changed_albedo(level.base.albedo, template().tables[128].gather(maps))
    assert error(albedo.mT, "decoders", "rt_albedo") < 3e-4
    normals = outward_normals(vertices, template().triangles, template().vertex_triangles)
    light = tensor("decoders", "sh").reshape(3, 9, 3)[:2]
    assert error((albedo * (light_basis(normals) @ light)).mT, "decoders", "rt_colors") < 5e-4


@LEVELS
def test_one_step_of_descent(index):
    name = f"optstep_level{index}"
    file = golden(name)
    person = (torch.from_numpy(file[f"{code}_norm"])[..., 0] for code in ("sp", "mp", "ap"))
    codes = Codes(*person, pose=tensor(name, "pose"), expression=tensor(name, "ep_norm")[..., 0])
    level = walk()[index][0]
    before = decode(level, observation(), codes, tensor(name, "sh_in").reshape(3, 9, 3))
    after, residuals = descent_step(level, observation(), before, relight=int(file["itr"]) == 2)

    terms = {"feat": residuals.features, "land": residuals.landmarks, "photo": residuals.photometric}
    assert error(residuals.energy, name, "loss") < 2e-5
    for key, term in terms.items():
        assert error(term.value, name, f"{key}_loss") < 2e-5, key
        assert error(term.summary, name, f"{key}_res") < 2e-5, key
    groups = {"sp": "identity", "pose": "pose", "ep": "expression", "mp": "space", "ap": "albedo"}
    tolerances = {"sp": 5e-4, "pose": 5e-4, "ep": 5e-4, "mp": 1e-3, "ap": 2e-3}
    for key, group in groups.items():
        assert error(getattr(residuals.gradients, group), name, f"grad_{key}") < tolerances[key], key
    steps, raw = step_sizes(level, residuals)
    assert error(raw, name, "step_raw") < 2e-5
    found = torch.stack([steps.identity, steps.pose, steps.expression, steps.space])
    torch.testing.assert_close(found, tensor(name, "steps_sp_pose_ep_mp"), rtol=2e-5, atol=0)
    assert error(steps.albedo, name, "step_ap") < 2e-5

    for key, group in groups.items():
        stored = "new_pose" if key == "pose" else f"new_{key}_norm"
        assert error(getattr(after.codes, group), name, stored) < 2e-5, key
    assert error(after.vertices, name, "new_vert") < 5e-5
    assert error(after.object_vertices, name, "new_vert_obj") < 5e-5
    assert error(after.displacement, name, "new_delta_sp") < 5e-5
    assert error(after.albedo.mT, name, "new_albedo") < 3e-4
    assert error(after.light, name, "new_sh") < 3e-3
    assert error(after.colours.mT, name, "new_colors") < 3e-3
    assert error(after.seen_colours.mT, name, "new_colors_gt") < 3e-3
    assert n_different(after.visible, name, "new_vis") <= 3
    assert n_different(after.not_hidden, name, "new_vis_full") <= 3


@LEVELS
def test_landmarks_and_their_derivatives(index):
    estimate = walk()[index][1]
    pixels = crop_to_pixels(estimate.vertices[:, template().landmarks])
    assert error(pixels, "jacobians", f"u_level{index}") < 1e-4
    codes = estimate.codes
    wanted = {"pose": codes.pose, "ep": codes.expression, "sp": codes.identity, "mp": codes.space}
    numbers = pixels[0, ::4].flatten()
    columns = torch.eye(len(numbers))
    rows = [torch.autograd.grad(numbers, list(wanted.values()), row, retain_graph=True) for row in columns]
    for place, key in enumerate(wanted):
        jacobian = torch.stack([row[place][0] for row in rows])
        tolerance = 2e-3 if key == "mp" else 1e-4
        assert error(jacobian, "jacobians", f"du_d{key}_view0_level{index}") < tolerance, key


def test_gated_features_are_a_network_at_every_texel():
    """The twin: two small matrix products per texel."""
    generator = torch.Generator().manual_seed(0)
    gates, codes = torch.randn(96, 5, 5, generator=generator), torch.randn(3, 8, generator=generator)
    found = gated_features(gates, codes)
    for y, x in ((0, 0), (3, 1), (4, 4)):
        first, second = gates[:32, y, x].reshape(8, 4), gates[32:, y, x].reshape(4, 16)
        expected = torch.tanh(torch.tanh(codes @ first) @ second)
        torch.testing.assert_close(found[:, :, y, x], expected, atol=1e-6, rtol=1e-5)


def test_a_zero_code_moves_nothing():
    estimate = detached(walk()[2][1])
    layers = network().opt_layer
    assert not expression_displacement(layers, template(), estimate.generators, torch.zeros(1, 8)).any()
