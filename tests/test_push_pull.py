"""Holes are filled from what surrounds them."""

import torch

from likeness.push_pull import fill_holes


def test_holes_are_filled_from_their_surroundings_and_the_known_stays():
    image = torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(64, 48)
    weight[20:40, 10:30] = 0
    image[:, weight == 0] = 9.0
    filled = fill_holes(image, weight)
    torch.testing.assert_close(filled[:, weight == 1], image[:, weight == 1])
    hole = filled[:, weight == 0]
    assert hole.min() >= 0 and hole.max() <= 1
    assert abs(float(hole.mean()) - 0.5) < 0.1


def test_a_constant_survives_any_hole():
    weight = (torch.rand(40, 40, generator=torch.Generator().manual_seed(1)) > 0.9).float()
    torch.testing.assert_close(fill_holes(torch.full((2, 40, 40), 0.3), weight), torch.full((2, 40, 40), 0.3))
