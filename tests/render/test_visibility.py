"""Who hides whom, on a sphere, where the answer is known."""

import pytest
import torch
import trimesh

from likeness.cameras import Pinhole, WeakPerspective
from likeness.meshes import points_on_surface
from likeness.render import rasterize, visible


def sphere(radius=80.0):
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces)


ROTATION = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
CAMERAS = {
    "pinhole": Pinhole.from_focal(
        rotation=ROTATION,
        translation=torch.tensor([[0.0, 0, 600]]),
        focal=torch.tensor([400.0]),
        centre=torch.tensor([[64.0, 64]]),
    ),
    "weak": WeakPerspective(ROTATION, torch.tensor([0.7]), torch.tensor([[64.0, 64]])),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_the_near_side_of_a_sphere_is_visible_and_the_far_side_is_not(name):
    camera = CAMERAS[name]
    vertices, triangles = sphere()
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2000, 3, generator=generator)
    weights = weights / weights.sum(-1, keepdim=True)
    chosen = torch.randint(len(triangles), (2000,), generator=generator)
    points = points_on_surface(vertices, triangles, chosen, weights)
    vertices_px = camera.project_with_depth(vertices[None])
    fragments = rasterize(vertices_px, triangles, (128, 128), perspective=camera.perspective)
    seen = visible(camera.project_with_depth(points[None]), vertices_px, triangles, fragments)[0]

    eye = torch.tensor([0.0, 0, 600]) if name == "pinhole" else torch.tensor([0.0, 0, 1e6])
    towards = eye - points
    cosine = (points * towards).sum(-1) / (points.norm(dim=-1) * towards.norm(dim=-1))
    # Between is the limb, where 2 mm of tolerance and the polyhedron decide.
    assert seen[cosine > 0.1].all()
    assert not seen[cosine < -0.2].any()
    assert (seen == (cosine > 0)).float().mean() > 0.97


def test_a_point_under_the_surface_is_hidden_by_more_than_the_tolerance():
    camera = CAMERAS["pinhole"]
    vertices, triangles = sphere()
    vertices_px = camera.project_with_depth(vertices[None])
    fragments = rasterize(vertices_px, triangles, (128, 128))
    depth_below = torch.tensor([-30.0, 0.5, 1.5, 2.5, 10.0])
    points = torch.stack([torch.zeros(5), torch.zeros(5), 80 - depth_below], -1)[None]
    seen = visible(camera.project_with_depth(points), vertices_px, triangles, fragments, tolerance=2.0)
    assert seen[0].tolist() == [True, True, True, False, False]


def test_off_the_picture_is_not_visible_and_empty_space_hides_nothing():
    camera = CAMERAS["pinhole"]
    vertices, triangles = sphere(radius=20.0)
    vertices_px = camera.project_with_depth(vertices[None])
    fragments = rasterize(vertices_px, triangles, (128, 128))
    points_px = torch.tensor([[[5.0, 5, 900], [-1, 5, 10], [5, 128.5, 10], [float("nan"), 5, 10]]])
    assert visible(points_px, vertices_px, triangles, fragments)[0].tolist() == [True, False, False, False]
