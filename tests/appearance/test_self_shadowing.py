"""Shadowed irradiance: exact where nothing is in the way, less where something is."""

import torch

from likeness.appearance.self_shadowing import shadowed_basis
from likeness.heads import load_head
from likeness.lighting import ambient_light, irradiance_basis
from likeness.meshes import vertex_normals


def ball(radius: float, centre: tuple[float, float, float], n: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """A sphere, wound outwards."""
    polar, around = torch.meshgrid(torch.linspace(0.05, 3.09, n), torch.arange(2 * n) * torch.pi / n, indexing="ij")
    points = torch.stack([polar.sin() * around.cos(), polar.sin() * around.sin(), polar.cos()], -1).view(-1, 3)
    i, j = torch.meshgrid(torch.arange(n - 1), torch.arange(2 * n), indexing="ij")
    a, b = i * 2 * n + j, i * 2 * n + (j + 1) % (2 * n)
    quads = torch.stack([a, a + 2 * n, b + 2 * n, b], -1).view(-1, 4)
    return points * radius + torch.tensor(centre), quads[:, [0, 1, 2, 0, 2, 3]].view(-1, 3)


def test_a_convex_body_shades_as_without_shadows():
    vertices, triangles = ball(80.0, (0, 0, 0))
    turn = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    basis = shadowed_basis(vertices, triangles, turn)
    exact = irradiance_basis(vertex_normals(vertices, triangles) @ turn.T)
    torch.testing.assert_close(basis, exact, atol=0.02, rtol=0)


def test_a_ball_under_a_larger_one_is_darker_on_top_and_only_there():
    """The upper ball covers a known share of the sky as seen from the lower one's top: sin² of its half angle."""
    low, low_triangles = ball(20.0, (0, 0, -30))
    high, high_triangles = ball(40.0, (0, 0, 70))
    vertices = torch.cat([low, high])
    basis = shadowed_basis(vertices, torch.cat([low_triangles, high_triangles + len(low)]), torch.eye(3))
    ambient = basis @ ambient_light(torch.ones(1, 1))[0]
    top, bottom = low[:, 2].argmax(), low[:, 2].argmin()
    covered = (40.0 / 80.0) ** 2
    # 64 directions, of which some ten point at the upper ball.
    assert abs(float(ambient[top]) - (1 - covered)) < 0.08
    assert abs(float(ambient[bottom]) - 1) < 0.02


def test_eye_sockets_and_nostrils_of_a_head_get_less_sky_than_the_forehead():
    head = load_head("open")
    vertices = head.vertices(torch.zeros(1, head.n_identity))[0]
    ambient = (
        shadowed_basis(vertices, head.topology.triangles_tensor, torch.eye(3)) @ ambient_light(torch.ones(1, 1))[0]
    )
    share = {
        name: float(ambient[torch.from_numpy(head.topology.region(name))].mean())
        for name in ("forehead", "nostrils", "eye_cavity", "inner_mouth")
    }
    assert share["forehead"] > 0.95
    assert share["nostrils"] < 0.8 and share["eye_cavity"] < 0.4 and share["inner_mouth"] < 0.2
