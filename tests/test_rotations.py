"""The cross product as a matrix."""

import torch

from likeness.rotations import cross_matrix


def test_it_is_the_cross_product():
    v, u = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((cross_matrix(v) @ u[..., None])[..., 0], torch.linalg.cross(v, u))
