"""Identity from shading: its derivatives, and a person found again from renders under three lights."""

from dataclasses import dataclass

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from likeness.cameras import Pinhole
from likeness.heads import load_head
from likeness.lighting import irradiance_basis, irradiance_slopes, linear_to_srgb, shading
from likeness.meshes import vertex_normals
from likeness.methods.open.calibration import Calibration, calibrate
from likeness.methods.open.fit import landmark_objective, solve_landmarks
from likeness.methods.open.objective import LandmarkObjective
from likeness.methods.open.shading import ShadedObjective, ShadedView, shaded_identity, view_of
from likeness.methods.open.skin_surface import skin_surface
from likeness.methods.protocol import Photo
from likeness.render import interpolate, rasterize

SIZE, FOCAL = 384, 1200.0
YAWS = (0.0, 25.0, -40.0)
LIGHTS = ((-2.0, -0.8, -1.4), (2.2, -1.0, -1.2), (0.3, -1.8, -1.8))


@dataclass(frozen=True, eq=False)
class Sitting:
    """A person of known identity before three lights, and a detector's landmarks that show half of what is his own."""

    identity: Tensor
    photos: list[Photo]
    points: Tensor


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(load_head("open"), "mediapipe478")


@pytest.fixture(scope="module")
def sitting() -> Sitting:
    head = load_head("open")
    draw = torch.Generator().manual_seed(5)
    identity = torch.randn(1, head.n_identity, generator=draw)
    vertices, half = head.vertices(identity), head.vertices(0.5 * identity)
    photos, points = [], []
    for yaw, (x, y, z) in zip(YAWS, LIGHTS, strict=True):
        camera = _camera(yaw)
        photos.append(Photo(_picture(vertices, camera, torch.tensor([3.5, y, z, x, 0, 0, 0, 0, 0])), f"yaw {yaw}"))
        seen = camera.project_with_depth(head.embeddings["mediapipe478"].points(half))[0]
        seen[:, 2] = (seen[:, 2] - 900) * FOCAL / 900
        points.append(seen + torch.randn(seen.shape, generator=draw))
    return Sitting(identity[0], photos, torch.stack(points))


def _camera(yaw: float) -> Pinhole:
    turn = roma.euler_to_rotmat("Y", torch.tensor([yaw]), degrees=True)
    return Pinhole.from_focal(
        rotation=(torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn)[None],
        translation=torch.tensor([[0.0, 0.0, 900.0]]),
        focal=torch.tensor([FOCAL]),
        centre=torch.tensor([[SIZE / 2, SIZE / 2]]),
    )


def _picture(vertices: Tensor, camera: Pinhole, light: Tensor) -> np.ndarray:
    """A matt head of one colour under one light, sRGB."""
    triangles = load_head("open").topology.triangles_tensor
    fragments = rasterize(camera.project_with_depth(vertices), triangles, (SIZE, SIZE))
    normals = vertex_normals(vertices[0], triangles) @ camera.rotation[0].T
    normal = torch.nn.functional.normalize(interpolate(normals[None], triangles, fragments)[0], dim=-1)
    shade = 0.4 * shading(normal.reshape(1, -1, 3), light[None, :, None])[0].reshape(SIZE, SIZE, 1)
    shade = torch.where(fragments.mask[0][..., None], shade.clamp(0, 1), 0.2)
    return (linear_to_srgb(shade.expand(-1, -1, 3)).numpy() * 255 + 0.5).astype(np.uint8)


def _objective(calibration: Calibration, sitting: Sitting, which: list[int]) -> LandmarkObjective:
    sizes, focals = [(SIZE, SIZE)] * len(which), [FOCAL] * len(which)
    return landmark_objective(calibration, sitting.points[which], sizes, focals)


def _views(objective: LandmarkObjective, sitting: Sitting) -> tuple[list[ShadedView], Tensor]:
    x, _ = solve_landmarks(objective)
    identity, private = objective.split(x)
    return [view_of(objective, identity, private, i, photo) for i, photo in enumerate(sitting.photos)], x


def _face_error_mm(identity: Tensor, truth: Tensor) -> float:
    """Root-mean-square distance of face vertices after the best similarity."""
    head = load_head("open")
    ours, theirs = (head.vertices(z[None])[0][head.topology.region("face")] for z in (identity, truth))
    rotation, shift, scale = roma.rigid_points_registration(ours, theirs, compute_scaling=True)
    return float((scale * ours @ rotation.T + shift - theirs).square().sum(-1).mean().sqrt())


def test_slopes_of_the_irradiance_are_its_derivatives() -> None:
    normals = torch.nn.functional.normalize(torch.randn(20, 3), dim=1)
    by_hand = torch.stack([torch.autograd.functional.jacobian(irradiance_basis, normal) for normal in normals])
    torch.testing.assert_close(irradiance_slopes(normals), by_hand.float())


def test_normals_of_the_skin_are_the_heads_and_follow_the_identity() -> None:
    head, surface = load_head("open"), skin_surface()
    identity, step = torch.randn(2, head.n_identity)
    points = surface.points(surface.mean, identity)
    normals, slopes = surface.normals_with_slopes(points)
    of_head = vertex_normals(head.vertices(identity[None])[0], head.topology.triangles_tensor)
    torch.testing.assert_close(normals, of_head[surface.vertices[surface.seen]], atol=2e-5, rtol=0)
    torch.testing.assert_close(surface.normals(points), normals)
    _, along = torch.func.jvp(lambda z: surface.normals(surface.points(surface.mean, z)), (identity,), (step,))
    torch.testing.assert_close(slopes @ step, along, atol=1e-4, rtol=1e-3)


def test_residuals_change_as_their_derivatives_say(calibration: Calibration, sitting: Sitting) -> None:
    views, x = _views(_objective(calibration, sitting, [0, 1, 2]), sitting)
    view, identity = views[1], x[0, :100]
    light, albedo = view.first_light(identity), 0.1 * torch.randn(view.waves.shape[1])
    residuals, jacobian = view.linearise(identity, light, albedo)
    torch.testing.assert_close(residuals, view.residuals(identity, light, albedo))
    steps = (torch.randn(100) * 0.01, torch.randn(9) * 0.01, torch.randn(len(albedo)) * 0.01)
    ahead = view.residuals(identity + steps[0], light + steps[1], albedo + steps[2])
    behind = view.residuals(identity - steps[0], light - steps[1], albedo - steps[2])
    along = (ahead - behind) / 2
    # Slopes of a picture are differences over two pixels, and bilinear lookup has its own within each.
    assert (jacobian @ torch.cat(steps) - along).norm() < 0.1 * along.norm()


def test_gradient_is_that_of_the_value(calibration: Calibration, sitting: Sitting) -> None:
    objective = _objective(calibration, sitting, [0, 1, 2])
    views, x = _views(objective, sitting)
    together = ShadedObjective(objective, views)
    start = together.initial(x)
    hessian, gradient = together.normal_equations(start)
    assert torch.allclose(hessian, hessian.mT, rtol=1e-4, atol=1e-2)
    lights = slice(together.split(start)[0].shape[1], start.shape[1])
    for i in torch.arange(lights.start, lights.stop)[::9].tolist():
        step = torch.zeros_like(start)
        step[0, i] = 1e-2
        slope = (together.value(start + step) - together.value(start - step)) / 2e-2
        assert float(slope) / 2 == pytest.approx(float(gradient[0, i]), rel=0.02, abs=2.0)


def test_three_lights_bring_the_person_nearer_than_landmarks_do(calibration: Calibration, sitting: Sitting) -> None:
    objective = _objective(calibration, sitting, [0, 1, 2])
    by_landmarks = objective.split(solve_landmarks(objective)[0])[0]
    before = _face_error_mm(by_landmarks, sitting.identity)
    after = _face_error_mm(shaded_identity(objective, sitting.photos), sitting.identity)
    assert after < 0.7 * before


def test_one_photo_is_believed_less_than_several(calibration: Calibration, sitting: Sitting) -> None:
    objective = _objective(calibration, sitting, [0])
    by_landmarks = objective.split(solve_landmarks(objective)[0])[0]
    found = shaded_identity(objective, sitting.photos[:1])
    step = float((found - by_landmarks).square().mean().sqrt())
    assert 0 < step < 0.8
    before, after = (_face_error_mm(z, sitting.identity) for z in (by_landmarks, found))
    assert after < before


def test_a_large_photo_says_what_a_small_one_says(calibration: Calibration, sitting: Sitting) -> None:
    small = shaded_identity(_objective(calibration, sitting, [0, 1, 2]), sitting.photos)
    large_points = sitting.points * 8
    objective = landmark_objective(calibration, large_points, [(8 * SIZE, 8 * SIZE)] * 3, [8 * FOCAL] * 3)
    photos = [Photo(np.kron(photo.pixels, np.ones((8, 8, 1), np.uint8)), photo.name) for photo in sitting.photos]
    large = shaded_identity(objective, photos)
    head = load_head("open")
    apart = (head.vertices(small[None]) - head.vertices(large[None]))[0, head.topology.region("face")]
    assert float(apart.square().sum(-1).mean().sqrt()) < 0.5


def test_a_face_beyond_the_photo_leaves_the_landmarks_answer(calibration: Calibration, sitting: Sitting) -> None:
    shifted = sitting.points[:1] + torch.tensor([5000.0, 0.0, 0.0])
    objective = landmark_objective(calibration, shifted, [(SIZE, SIZE)], [None])
    by_landmarks = objective.split(solve_landmarks(objective)[0])[0]
    found = shaded_identity(objective, sitting.photos[:1])
    torch.testing.assert_close(found, by_landmarks, atol=0.05, rtol=0)


def test_the_answer_is_the_same_twice(calibration: Calibration, sitting: Sitting) -> None:
    first, second = (shaded_identity(_objective(calibration, sitting, [0, 1, 2]), sitting.photos) for _ in range(2))
    assert torch.equal(first, second)
