"""The shipped head's nostrils: hollows within the nose, the same on both sides."""

import numpy as np
import torch
from scipy.spatial import KDTree

from likeness.heads import load_head


def mean_head() -> np.ndarray:
    head = load_head("open")
    return head.vertices(torch.zeros(1, head.n_identity))[0].numpy()


def test_nostrils_are_deep_hollows_that_mirror_each_other() -> None:
    head, mean = load_head("open"), mean_head()
    left, right = (mean[head.topology.region(f"nostril_{side}")] for side in ("left", "right"))
    assert np.ptp(left[:, 1]) > 12 and np.ptp(left[:, 2]) > 14
    assert (left[:, 0] > 1).all() and (right[:, 0] < -1).all()
    nostrils = np.flatnonzero(head.topology.region("nostrils"))
    np.testing.assert_allclose(mean[head.topology.mirror[nostrils]], mean[nostrils] * [-1, 1, 1], atol=1e-5)


def test_hollows_stay_beneath_the_skin_of_many_people() -> None:
    head, mean = load_head("open"), mean_head()
    nostrils, skin = head.topology.region("nostrils"), head.topology.region("skin")
    roof = nostrils & (mean[:, 1] > mean[nostrils, 1].min() + 6)
    outer = head.topology.triangles[(skin & ~nostrils)[head.topology.triangles].all(axis=1)]
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    assert roof.sum() == 18
    for person in head.vertices(torch.randn(20, head.n_identity)).numpy():
        corners = person[outer]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        surface = (weights @ corners).reshape(-1, 3)
        distance, nearest = KDTree(surface).query(person[roof])
        behind = ((surface[nearest] - person[roof]) * normals[nearest // len(weights)]).sum(axis=1)
        # Nearest to some is the rim, which a point may be behind or before.
        assert distance.min() > 2.0 and (behind > 0).mean() > 0.8
