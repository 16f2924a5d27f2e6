"""Camera, sampling, visibility, light and energies against recorded numbers, laws and plain twins."""

from itertools import combinations

import numpy as np
import pytest
import roma
import torch
from torch.nn import functional as F

from likeness.methods.inorig.energies import feature_term, landmark_term, matched_vertices, photometric_term
from likeness.methods.inorig.illumination import ambient_light, light_basis, outward_normals, solve_light
from likeness.methods.inorig.pose import crop_to_pixels, pose_vertices, split_pose
from likeness.methods.inorig.sampling import Maps, central_differences
from likeness.methods.inorig.uv_layout import UVTable
from likeness.methods.inorig.visibility import nearest_depth, visible_vertices
from methods.inorig.recorded import crops, error, golden, landmarks, mask, n_different, start, template, tensor

TOLERANCE = 1e-5


def n_vertices():
    return len(template().mean)


# ---------------------------------------------------------------------- camera


def test_rotation():
    angles = torch.from_numpy(golden("ops")["angles_deg"]).deg2rad()
    pose = torch.cat([angles, torch.zeros(len(angles), 3)], 1)
    assert error(split_pose(pose)[0], "ops", "R") < TOLERANCE


def test_pose_numbers():
    """Recorded as degrees, scale in px/µm and shift in px."""
    pose = torch.from_numpy(golden("ops")["pose_norm"])
    rotation, scale, shift = split_pose(pose)
    physical = torch.from_numpy(golden("ops")["pose_denorm"])
    torch.testing.assert_close(scale, physical[:, 3], rtol=TOLERANCE, atol=0)
    torch.testing.assert_close(shift, physical[:, 4:], rtol=TOLERANCE, atol=TOLERANCE)
    again = split_pose(torch.cat([physical[:, :3].deg2rad(), pose[:, 3:]], 1))[0]
    torch.testing.assert_close(rotation, again, rtol=0, atol=TOLERANCE)


def test_posing_points():
    file = {name: torch.from_numpy(golden("ops")[name]) for name in ("angles_deg", "X", "s", "t")}
    scale, shift = (file["s"] - 1.25e-3) / 5e-4, file["t"][:, :2] / 10
    pose = torch.cat([file["angles_deg"].deg2rad(), scale[:, None], shift], 1)
    posed = pose_vertices(pose, file["X"])
    # Recorded with a shift along z too, which the method never has.
    posed[..., 2] += file["t"][:, None, 2]
    assert error(posed, "ops", "transform") < TOLERANCE
    pixels = crop_to_pixels(torch.from_numpy(golden("ops")["transform"]))
    recorded = torch.from_numpy(golden("ops")["to_image_256"])
    torch.testing.assert_close(pixels, recorded[..., :2], rtol=TOLERANCE, atol=TOLERANCE)
    assert error(2 * pixels / 255 - 1, "ops", "x2d_norm") < TOLERANCE


def test_mean_face_under_the_recorded_pose():
    assert error(start()[0], "ops", "v0") < TOLERANCE
    assert error(template().mean, "ops", "vobj0") < TOLERANCE


# ---------------------------------------------------------------------- sampling


def test_central_differences():
    maps = torch.from_numpy(golden("ops")["grad_in"]).permute(0, 2, 3, 1)
    assert error(central_differences(maps).permute(0, 3, 1, 2), "ops", "grad_out") < TOLERANCE


def test_sampling_and_its_slope():
    file = golden("ops")
    grid = torch.from_numpy(file["gs_grid"])[:, :, 0]
    maps = Maps.from_channels(torch.from_numpy(file["grad_in"]))
    points = (grid + 1) / 2 * 255
    assert error(maps.at(points).mT, "ops", "gs_out") < TOLERANCE
    upstream = torch.from_numpy(file["gs_w"])[..., 0].mT
    slopes = torch.stack([(upstream * slope).sum(-1) for slope in maps.slopes_at(points)], -1)
    assert error(slopes * 255 / 2, "ops", "gs_grad_grid") < TOLERANCE


def test_gradient_to_the_sampled_map():
    file = golden("ops")
    for image in range(2):
        maps = torch.from_numpy(file["grad_in"][image : image + 1]).requires_grad_()
        empty = torch.zeros(0, dtype=torch.int64)
        table = UVTable(
            12, empty, empty.view(0, 3), torch.zeros(0, 3), torch.from_numpy(file["gs_grid"][image : image + 1])
        )
        table.gather(maps)[0].backward(torch.from_numpy(file["gs_w"][image, ..., 0]).T)
        assert maps.grad is not None
        np.testing.assert_allclose(maps.grad[0], file["gs_grad_feat"][image], atol=TOLERANCE)


def test_sampling_is_torchs_bilinear():
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 5, 17, 23, generator=generator)
    points = torch.rand(2, 60, 2, generator=generator) * 320 - 30
    expected = F.grid_sample(maps, (2 * points / 255 - 1)[:, None], align_corners=True)[:, :, 0].mT
    torch.testing.assert_close(Maps.from_channels(maps).at(points), expected, atol=1e-5, rtol=1e-4)


def test_slopes_are_those_of_a_ramp():
    """On a linear map central differences are exact, away from the border of the map."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    maps = Maps((3 * x - 2 * y)[None, ..., None])
    points = torch.rand(1, 30, 2) * 200 + 20
    along_x, along_y = maps.slopes_at(points)
    torch.testing.assert_close(along_x, torch.full_like(along_x, 3 * 63 / 255), rtol=1e-4, atol=0)
    torch.testing.assert_close(along_y, torch.full_like(along_y, -2 * 63 / 255), rtol=1e-4, atol=0)


# ---------------------------------------------------------------------- visibility


def test_visibility():
    vertices, _ = start()
    not_hidden = visible_vertices(vertices, template().triangles)
    assert n_different(not_hidden, "ops", "vis_full") <= 3
    assert n_different(not_hidden & template().face_region, "ops", "vis_face") <= 3
    assert error(nearest_depth(vertices, template().triangles), "ops", "zbuf") < 1e-3


def test_a_face_turned_away_shows_nothing_of_its_front():
    pose = torch.zeros(1, 6)
    front = visible_vertices(pose_vertices(pose, template().mean[None]), template().triangles)
    # With its back to us every triangle faces away, so that the depth buffer is empty and hides nothing: what the
    # region's vertices would show is decided by the surface before them alone.
    assert front[0, template().region].float().mean() > 0.9
    pose[0, 1] = 1.2
    turned = visible_vertices(pose_vertices(pose, template().mean[None]), template().triangles)
    assert turned[0, template().region].float().mean() < 0.8


# ---------------------------------------------------------------------- light


def light_at_start():
    vertices, seen = start()
    normals = outward_normals(vertices, template().triangles, template().vertex_triangles)
    return light_basis(normals), Maps.from_channels(crops()).at(crop_to_pixels(vertices)), seen


def test_shading_and_colours():
    basis, seen_colours, _ = light_at_start()
    light = tensor("ops", "sh_in").reshape(3, 9, 3)
    shading = basis @ light
    assert error(shading.mT, "ops", "shading") < TOLERANCE
    assert error((template().albedo * shading).mT, "ops", "colors") < TOLERANCE
    assert error(seen_colours.mT, "ops", "colors_gt") < 2 * TOLERANCE  # recorded from vertices that differ by 2e-7


def test_light_solve():
    basis, seen_colours, seen = light_at_start()
    light = solve_light(basis, template().albedo, seen_colours, seen, tensor("ops", "sh_in").reshape(3, 9, 3))
    assert error(light, "ops", "sh_solved") < 1e-2  # the normal matrix is nearly singular
    assert error((template().albedo * (basis @ light)).mT, "ops", "colors_relit") < 1e-2


def test_light_is_found_again():
    basis, _, seen = light_at_start()
    truth = torch.randn(3, 9, 3, generator=torch.Generator().manual_seed(2))
    colours = template().albedo * (basis @ truth)
    found = solve_light(basis, template().albedo, colours, seen, ambient_light(3))
    torch.testing.assert_close(basis @ found, basis @ truth, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("n_seen", [0, 5])
def test_too_little_seen_keeps_the_light(n_seen):
    basis, seen_colours, seen = light_at_start()
    few = torch.zeros_like(seen)
    few[:, seen[0].nonzero()[:n_seen, 0]] = True
    before = torch.randn(3, 9, 3)
    assert torch.equal(solve_light(basis, template().albedo, seen_colours, few, before), before)


def test_black_albedo_does_not_spoil_the_light():
    basis, seen_colours, seen = light_at_start()
    albedo = template().albedo.clone()
    albedo[::7] = 0
    light = solve_light(basis, albedo, seen_colours, seen, ambient_light(3))
    assert bool(light.isfinite().all())


# ---------------------------------------------------------------------- energies


def test_photometric_term():
    basis, seen_colours, seen = light_at_start()
    colours = template().albedo * (basis @ tensor("ops", "sh_in").reshape(3, 9, 3))
    term = photometric_term(colours, seen_colours, seen)
    assert error(term.value, "ops", "photo_loss") < TOLERANCE
    assert error(term.summary, "ops", "photo_res") < TOLERANCE


def test_landmark_term():
    vertices, seen = start()
    not_hidden = mask("ops", "vis_full", tuple(seen.shape))
    term = landmark_term(vertices, landmarks(), template().landmarks, not_hidden, seen)
    assert error(term.value, "ops", "land_loss") < TOLERANCE
    assert error(term.summary, "ops", "land_res") < TOLERANCE
    assert error(term.gradient, "ops", "land_grad") < TOLERANCE


def test_feature_term():
    vertices, seen = start()
    term = feature_term(Maps.from_channels(tensor("ops", "feat_in")), vertices, seen, template().region)
    assert error(term.value, "ops", "feat_loss") < TOLERANCE
    assert error(term.summary, "ops", "feat_res") < TOLERANCE
    assert error(term.gradient, "ops", "feat_grad") < 2 * TOLERANCE


def plain_feature_energy(maps, vertices, seen):
    features = maps.at(crop_to_pixels(vertices))
    energies = []
    for i, j in combinations(range(len(vertices)), 2):
        both = seen[i] & seen[j]
        if both.any():
            energies.append((features[i] - features[j])[both].square().sum(-1).mean())
    return torch.stack(energies).mean()


def test_feature_gradient_is_that_of_smooth_maps():
    """The twin: on maps that are linear, the method's slope and true differentiation agree."""
    vertices, seen = start()
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    ramps = torch.stack([torch.stack([x, y, x - y], -1) * (k + 1) / 64 for k in range(3)])
    maps = Maps(ramps)
    inside = (crop_to_pixels(vertices) > 8).all(-1) & (crop_to_pixels(vertices) < 247).all(-1)
    seen = seen & inside
    moved = vertices.double().requires_grad_()
    energy = plain_feature_energy(Maps(ramps.double()), moved, seen)
    energy.backward()
    term = feature_term(maps, vertices, seen, template().region)
    torch.testing.assert_close(term.value.double(), energy.detach(), rtol=1e-4, atol=0)
    assert moved.grad is not None
    scale = float(moved.grad.abs().max())
    torch.testing.assert_close(term.gradient.double(), moved.grad, atol=2e-3 * scale, rtol=0)


def test_a_pair_without_common_vertices_is_left_out():
    """The reference divides by their number: NaN everywhere."""
    vertices, seen = start()
    seen = seen.clone()
    seen[2] = False
    maps = Maps.from_channels(tensor("ops", "feat_in"))
    three = feature_term(maps, vertices, seen, template().region)
    two = feature_term(Maps(maps.values[:2]), vertices[:2], seen[:2], template().region)
    torch.testing.assert_close(three.value, two.value)
    torch.testing.assert_close(three.gradient[:2], two.gradient)
    assert not three.gradient[2].any() and not three.summary[2].any()


def test_nothing_in_common_at_all():
    vertices, seen = start()
    term = feature_term(Maps.from_channels(tensor("ops", "feat_in")), vertices, seen & False, template().region)
    assert float(term.value) == 0 and not term.gradient.any() and not term.summary.any()


def test_hidden_jaw_slides_to_the_nearest_visible_vertex():
    vertices, seen = start()
    not_hidden = torch.ones_like(seen)
    not_hidden[0, template().landmarks[2]] = False
    index, used = matched_vertices(vertices, landmarks(), template().landmarks, not_hidden, seen)
    assert used.all()
    assert torch.equal(index[1:], template().landmarks.repeat(2, 1))
    pixels = crop_to_pixels(vertices[0, seen[0]])
    nearest = (pixels - landmarks()[0, 2]).norm(dim=-1).min()
    found = crop_to_pixels(vertices[:1, index[0, 2]][None])[0, 0]
    torch.testing.assert_close((found - landmarks()[0, 2]).norm(), nearest)


def test_nothing_visible_leaves_the_hidden_jaw_out():
    vertices, seen = start()
    hidden = torch.zeros_like(seen)
    term = landmark_term(vertices, landmarks(), template().landmarks, hidden, hidden)
    assert bool(term.value.isfinite())
    jaw = template().landmarks[[0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16]]
    others = template().landmarks[[k for k in range(6, 68) if not 11 <= k <= 16]]
    only_jaw = jaw[~torch.isin(jaw, others)]
    assert not term.gradient[:, only_jaw].any()


def test_rotation_is_a_rotation():
    pose = torch.randn(20, 6, generator=torch.Generator().manual_seed(3))
    assert roma.is_rotation_matrix(split_pose(pose)[0], epsilon=1e-5)
