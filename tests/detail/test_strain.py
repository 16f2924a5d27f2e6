"""Compression of a mesh: exact for affine motion, blind to rigid motion."""

from __future__ import annotations

import roma
import torch

from likeness.detail.strain import compression, squeezed_direction


def sheet():
    """A flat square of 5 × 5 vertices in the plane of x and y."""
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.zeros(25)], 1)
    corners = [(5 * r + c) for r in range(4) for c in range(4)]
    triangles = [t for k in corners for t in ((k, k + 1, k + 6), (k, k + 6, k + 5))]
    return points, torch.tensor(triangles)


def test_squeezing_in_one_direction():
    points, triangles = sheet()
    found = compression(points, (points * torch.tensor([0.8, 1.0, 1.0]))[None], triangles)[0]
    expected = torch.zeros(3, 3)
    expected[0, 0] = (1 - 0.8**2) / 2
    torch.testing.assert_close(found, expected.expand(25, 3, 3), atol=1e-6, rtol=0)


def test_rigid_motion_squeezes_nothing():
    points, triangles = sheet()
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -0.5, 0.9]))
    assert compression(points, (points @ turn.T + 7)[None], triangles).abs().max() < 1e-5


def test_the_sheet_may_lie_anywhere():
    points, triangles = sheet()
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -0.5, 0.9]))
    moved = points * torch.tensor([0.8, 1.1, 1.0])
    there = compression(points @ turn.T, (moved @ turn.T)[None], triangles)
    here = compression(points, moved[None], triangles)
    torch.testing.assert_close(there, turn @ here @ turn.T, atol=1e-5, rtol=0)


def test_direction_follows_strain_where_it_is_strong_and_expectation_where_not():
    points, triangles = sheet()
    tensors = compression(points, (points * torch.tensor([0.7, 1.0, 1.0]))[None], triangles)[0]
    expected = torch.tensor([0.6, 0.8, 0.0]).expand(25, 3)
    strong = squeezed_direction(tensors, expected, trust=0.01)
    weak = squeezed_direction(tensors * 1e-4, expected, trust=0.01)
    torch.testing.assert_close(strong, torch.tensor([1.0, 0, 0]).expand(25, 3), atol=0.05, rtol=0)
    torch.testing.assert_close(weak, expected, atol=0.01, rtol=0)
    assert ((strong * expected).sum(1) > 0).all()
