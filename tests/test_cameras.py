"""Cameras and crops obey the laws of the maps they stand for."""

import math

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.cameras import Pinhole, Similarity, WeakPerspective
from likeness.errors import InputError

seeds = st.integers(0, 2**32 - 1)


def random_similarity(generator, n=2):
    return Similarity(
        scale=torch.exp(torch.randn(n, generator=generator, dtype=torch.float64)),
        angle=3 * torch.randn(n, generator=generator, dtype=torch.float64),
        translation=300 * torch.randn(n, 2, generator=generator, dtype=torch.float64),
    )


def random_rotation(generator, n=2):
    return roma.rotvec_to_rotmat(torch.randn(n, 3, generator=generator, dtype=torch.float64))


def random_pinhole(generator, n=2):
    return Pinhole.from_focal(
        rotation=random_rotation(generator, n),
        translation=torch.tensor([10.0, -20.0, 900.0], dtype=torch.float64).expand(n, 3),
        focal=torch.rand(n, 2, generator=generator, dtype=torch.float64) * 1000 + 500,
        centre=torch.rand(n, 2, generator=generator, dtype=torch.float64) * 500,
    )


def random_weak(generator, n=2):
    return WeakPerspective(
        rotation=random_rotation(generator, n),
        scale=torch.rand(n, generator=generator, dtype=torch.float64) + 0.5,
        translation=torch.randn(n, 2, generator=generator, dtype=torch.float64) * 200,
    )


def random_points(generator, n=2):
    return 80 * torch.randn(n, 7, 3, generator=generator, dtype=torch.float64)


CAMERAS = pytest.mark.parametrize("make_camera", [random_pinhole, random_weak], ids=["pinhole", "weak"])


@given(seed=seeds)
@settings(deadline=None, max_examples=30)
def test_similarities_form_a_group(seed):
    generator = torch.Generator().manual_seed(seed)
    f, g, h = (random_similarity(generator) for _ in range(3))
    points = 100 * torch.randn(2, 5, 2, generator=generator, dtype=torch.float64)
    close = {"atol": 1e-8, "rtol": 1e-9}
    assert torch.allclose(f.compose(g).transform(points), f.transform(g.transform(points)), **close)
    assert torch.allclose(f.compose(g).compose(h).matrix, f.compose(g.compose(h)).matrix, **close)
    assert torch.allclose(f.inverse().transform(f.transform(points)), points, **close)
    assert torch.allclose(f.inverse().matrix, torch.linalg.inv(f.matrix), **close)
    assert torch.allclose(f.compose(g).matrix, f.matrix @ g.matrix, **close)
    assert torch.equal(Similarity.identity(2).to(torch.float64).transform(points), points)


@given(seed=seeds, n=st.integers(2, 8))
@settings(deadline=None, max_examples=30)
def test_alignment_recovers_a_similarity(seed, n):
    generator = torch.Generator().manual_seed(seed)
    truth = random_similarity(generator)
    source = 50 * torch.randn(2, n, 2, generator=generator, dtype=torch.float64)
    found = Similarity.from_points(source, truth.transform(source))
    assert torch.allclose(found.matrix, truth.matrix, atol=1e-6)


@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_alignment_is_the_least_squares_one(seed):
    generator = torch.Generator().manual_seed(seed)
    source, target = 50 * torch.randn(2, 1, 6, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(1, 6, generator=generator, dtype=torch.float64) + 0.1

    def error(similarity):
        return (weights[..., None] * (similarity.transform(source) - target) ** 2).sum().item()

    best = Similarity.from_points(source, target, weights=weights)
    for _ in range(10):
        nudge = 1e-3 * torch.randn(4, generator=generator, dtype=torch.float64)
        other = Similarity(best.scale + nudge[0], best.angle + nudge[1], best.translation + nudge[2:])
        assert error(best) <= error(other)


def test_points_without_weight_do_not_count():
    source = torch.tensor([[[0.0, 0], [10, 0], [5, 5]]])
    target = source.clone()
    target[0, 2] = 1000
    found = Similarity.from_points(source, target, weights=torch.tensor([[1.0, 1, 0]]))
    assert torch.allclose(found.matrix, torch.eye(3), atol=1e-6)


@pytest.mark.parametrize("points", [torch.ones(1, 5, 2), torch.full((1, 3, 2), float("nan"))])
def test_coinciding_points_cannot_be_aligned(points):
    with pytest.raises(InputError, match="coincide"):
        Similarity.from_points(points, torch.rand(points.shape))


def test_square_crop_shows_the_square():
    angle = torch.tensor([math.radians(30)])
    crop = Similarity.from_square(torch.tensor([[100.0, 50.0]]), torch.tensor([40.0]), size=192, angle=angle)
    along = torch.tensor([math.cos(angle), math.sin(angle)])
    down = torch.tensor([-math.sin(angle), math.cos(angle)])
    centre = torch.tensor([100.0, 50.0])
    corners = torch.stack([centre - 20 * along - 20 * down, centre + 20 * along + 20 * down, centre])[None]
    expected = torch.tensor([[[0.0, 0], [192, 192], [96, 96]]])
    assert torch.allclose(crop.transform(corners), expected, atol=1e-3)


def test_box_crop_holds_the_box():
    crop = Similarity.from_box(torch.tensor([[10.0, 20, 50, 100]]), size=160, margin=2.0)
    assert crop.scale.item() == pytest.approx(1.0)
    assert torch.allclose(crop.transform(torch.tensor([[[30.0, 60]]])), torch.tensor([[[80.0, 80]]]))


def test_empty_square_is_refused():
    with pytest.raises(InputError, match="side"):
        Similarity.from_box(torch.tensor([[10.0, 20, 10, 20]]), size=64)


@CAMERAS
@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_the_camera_of_a_crop_sees_the_crop_of_what_the_camera_sees(make_camera, seed):
    generator = torch.Generator().manual_seed(seed)
    camera, crop, points = make_camera(generator), random_similarity(generator), random_points(generator)
    cropped = camera.apply(crop)
    # Pixels reach 1e5 here; 1e-9 of that is float64's rounding with room.
    assert torch.allclose(cropped.project(points), crop.transform(camera.project(points)), atol=1e-4, rtol=1e-9)
    assert torch.allclose(cropped.depth(points), camera.depth(points))
    back = cropped.apply(crop.inverse())
    for name in vars(camera):
        assert torch.allclose(getattr(back, name), getattr(camera, name), atol=1e-6), name


@CAMERAS
@given(seed=seeds)
@settings(deadline=None, max_examples=20)
def test_unproject_undoes_project(make_camera, seed):
    generator = torch.Generator().manual_seed(seed)
    camera, points = make_camera(generator).apply(random_similarity(generator)), random_points(generator)
    seen = camera.project_with_depth(points)
    assert torch.allclose(seen[..., :2], camera.project(points))
    assert torch.allclose(seen[..., 2], camera.depth(points))
    assert torch.allclose(camera.unproject(seen[..., :2], seen[..., 2]), points, atol=1e-6)


def facing(n=1):
    """The rotation of a camera that looks a head in the face: head y up, z towards us."""
    return torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(n, 3, 3)


def test_conventions():
    camera = Pinhole.from_focal(
        rotation=facing(),
        translation=torch.tensor([[0.0, 0, 1000]]),
        focal=torch.tensor([500.0]),
        centre=torch.tensor([[320.0, 240]]),
    )
    # To the subject's left is right in the picture; up is up; the nose is nearer.
    points = torch.tensor([[[0.0, 0, 0], [100, 0, 0], [0, 100, 0], [0, 0, 100]]])
    expected = torch.tensor([[[320.0, 240, 1000], [370, 240, 1000], [320, 190, 1000], [320, 240, 900]]])
    assert torch.allclose(camera.project_with_depth(points), expected)
    assert torch.allclose(camera.position, torch.tensor([[0.0, 0, 1000]]))
    weak = WeakPerspective(facing(), torch.tensor([2.0]), torch.tensor([[320.0, 240]]))
    assert torch.allclose(weak.project(points)[0, 1:3], torch.tensor([[520.0, 240], [320, 40]]))
    assert weak.depth(points)[0, 3] < weak.depth(points)[0, 0]


def test_a_turned_crop_keeps_the_focal_length_and_place():
    generator = torch.Generator().manual_seed(0)
    camera = Pinhole.from_focal(
        rotation=random_rotation(generator),
        translation=torch.tensor([[1.0, 2, 800]], dtype=torch.float64).expand(2, 3),
        focal=torch.tensor([700.0, 900.0], dtype=torch.float64),
        centre=torch.tensor([[320.0, 240]], dtype=torch.float64),
    )
    crop = random_similarity(generator)
    cropped = camera.apply(crop)
    assert torch.allclose(cropped.focal, camera.focal * crop.scale)
    assert torch.allclose(cropped.centre, crop.transform(camera.centre[:, None])[:, 0])
    assert torch.equal(cropped.position, camera.position)


@CAMERAS
def test_choosing_from_a_batch_and_moving(make_camera):
    camera = make_camera(torch.Generator().manual_seed(1), n=4)
    points = random_points(torch.Generator().manual_seed(2), n=1)
    together = camera.project(points)
    for index in (0, 3, -1):
        assert torch.equal(camera[index].project(points)[0], together[index])
    assert torch.equal(camera[1:3].project(points), together[1:3])
    assert camera.to(torch.float32).project(points.float()).dtype == torch.float32


@CAMERAS
def test_one_camera_serves_many_crops(make_camera):
    generator = torch.Generator().manual_seed(3)
    camera, crops, points = make_camera(generator, 1), random_similarity(generator, 3), random_points(generator, 1)
    assert camera.apply(crops).project(points).shape == (3, 7, 2)


@CAMERAS
def test_projection_is_differentiable(make_camera):
    generator = torch.Generator().manual_seed(4)
    camera, points = make_camera(generator), random_points(generator).requires_grad_()
    assert torch.autograd.gradcheck(camera.project_with_depth, points)
