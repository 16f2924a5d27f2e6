"""Pictures: what is in them is where it should be, lit from where it should be, and laid over photos correctly."""

import pytest
import torch
import trimesh

from likeness.render import rasterize
from likeness.render.pictures import CLAY, Texture, depth_picture, over, portrait_camera, shaded_view, wireframe


def ball(radius=80.0):
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return torch.tensor(mesh.vertices, dtype=torch.float32)[None], torch.tensor(mesh.faces)


@pytest.mark.parametrize("distance", [None, 400.0, 1200.0])
def test_portrait_camera_fills_the_picture(distance):
    vertices, _ = ball()
    vertices = vertices * torch.tensor([1.0, 1.4, 1.0]) + torch.tensor([30.0, 100, -20])
    camera = portrait_camera(vertices, (300, 200), yaw=30.0, pitch=-10.0, fill=0.8, distance=distance)
    outline = camera.project(vertices)[0]
    extent = outline.amax(0) - outline.amin(0)
    assert torch.allclose((outline.amax(0) + outline.amin(0)) / 2, torch.tensor([100.0, 150.0]), atol=1e-2)
    assert (extent / torch.tensor([200.0, 300.0])).max().item() == pytest.approx(0.8, abs=1e-3)


def test_yaw_turns_the_nose_to_the_right_and_pitch_turns_it_down():
    vertices, _ = ball()
    nose = torch.tensor([[[0.0, 0, 80]]])
    x, y = portrait_camera(vertices, (100, 100), yaw=30.0, distance=None).project(nose)[0, 0].tolist()
    assert x > 60 and y == pytest.approx(50, abs=0.1)
    x, y = portrait_camera(vertices, (100, 100), pitch=30.0, distance=None).project(nose)[0, 0].tolist()
    assert y > 60 and x == pytest.approx(50, abs=0.1)


def test_a_clay_ball_is_lit_from_above_left_and_smooth_at_its_outline():
    vertices, triangles = ball()
    layer = shaded_view(vertices, triangles, portrait_camera(vertices, (128, 128), distance=None), (128, 128))
    assert layer.shape == (1, 4, 128, 128)
    assert layer.min() >= 0 and layer.max() <= 1
    cover = layer[0, 3]
    assert cover.sum().item() == pytest.approx(3.1416 * (0.45 * 128) ** 2, rel=0.01)
    assert ((cover > 0) & (cover < 1)).sum() > 100
    bright = layer[0, :3].mean(0)
    assert bright[40, 40] > bright[64, 64] > bright[88, 88]
    assert bright[64, 64] > 0.4


def test_inside_and_normals_do_not_turn_black():
    vertices, triangles = ball()
    camera = portrait_camera(vertices, (64, 64), distance=None)
    inside_out = shaded_view(vertices, triangles.flip(-1), camera, (64, 64))
    assert torch.isfinite(inside_out).all()
    assert 0.1 < inside_out[0, :3, 32, 32].mean() < 0.5


def test_albedo_as_a_colour_at_vertices_or_in_a_texture_is_the_same_colour():
    vertices, triangles = ball()
    camera = portrait_camera(vertices, (64, 64))
    plain = shaded_view(vertices, triangles, camera, (64, 64))
    at_vertices = torch.tensor(CLAY).expand(vertices.shape[1], 3)
    image = torch.tensor(CLAY)[None, :, None, None].expand(1, 3, 4, 4)
    texture = Texture(image, torch.rand(vertices.shape[1], 2), triangles)
    for albedo in (at_vertices, at_vertices[None], texture):
        assert torch.allclose(shaded_view(vertices, triangles, camera, (64, 64), albedo=albedo), plain, atol=1e-4)


def test_a_batch_is_its_images():
    vertices, triangles = ball()
    both = torch.cat([vertices, vertices * torch.tensor([0.7, 1.0, 1.0])])
    camera = portrait_camera(both, (48, 40))
    together = shaded_view(both, triangles, camera, (48, 40))
    for i in range(2):
        assert torch.allclose(shaded_view(both[i : i + 1], triangles, camera[i], (48, 40))[0], together[i], atol=1e-2)


def test_overlay_keeps_the_photo_where_there_is_nothing_and_mixes_by_opacity():
    photo = torch.rand(1, 3, 6, 6)
    layer = torch.zeros(1, 4, 6, 6)
    layer[:, :, :3] = 1.0
    assert torch.allclose(over(layer, photo)[:, :, 3:], photo[:, :, 3:], atol=1e-5)
    assert torch.allclose(over(layer, photo)[:, :, :3], torch.ones(1, 3, 3, 6), atol=1e-5)
    assert torch.allclose(over(layer, photo, opacity=0.0), photo, atol=1e-5)
    grey = over(layer, (0.0, 0.0, 0.0), opacity=0.5)[0, 0, 0, 0].item()
    assert grey == pytest.approx(0.7354, abs=1e-3)  # half the light of white, in sRGB


def test_wireframe_draws_edges_and_only_the_chosen_ones():
    vertices = torch.tensor([[[0.0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 0]]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    camera = portrait_camera(vertices, (100, 100), distance=None, fill=0.8)
    everything = wireframe(vertices, triangles, camera, (100, 100), width=2.0)[0, 3]
    quads = torch.tensor([[True, True, False], [False, True, True]])
    outline = wireframe(vertices, triangles, camera, (100, 100), width=2.0, edges=quads)[0, 3]
    assert everything[50, 50] > 0.5 and outline[50, 50] == 0  # on the diagonal
    assert everything[30, 50] == 0  # inside a triangle
    assert everything[50, 10] > 0.3 and outline[50, 10] > 0.3  # on the border
    assert everything[5, 5] == 0


def test_depth_picture_is_bright_where_near_and_black_where_nothing():
    vertices, triangles = ball()
    camera = portrait_camera(vertices, (64, 64))
    fragments = rasterize(camera.project_with_depth(vertices), triangles, (64, 64))
    gray = depth_picture(fragments)[0]
    assert gray.shape == (3, 64, 64)
    assert gray[0, 32, 32] > 0.95
    assert gray[0, 0, 0] == 0
    assert gray[0][fragments.mask[0]].min().item() == pytest.approx(0.15, abs=1e-3)


def test_depth_picture_of_nothing_is_black():
    fragments = rasterize(torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]]), (4, 4))
    assert (depth_picture(fragments) == 0).all()
