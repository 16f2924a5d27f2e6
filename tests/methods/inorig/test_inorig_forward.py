"""The whole descent: against the recorded one, and on what the reference cannot do."""

import numpy as np
import pytest
import torch

from likeness.methods.inorig.descent import N_LEVELS, N_STEPS, descend, detached
from likeness.methods.inorig.observation import observe, regress_pose
from methods.inorig.recorded import crops, error, golden, landmarks, n_different, network, observation, template, tensor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole():
    seen = {}

    def listen(level, step, estimate):
        seen[level, step] = detached(estimate)

    solution = descend(network(), template(), observation(), regress_pose(network(), crops()), on_step=listen)
    return solution, seen


def test_energies_before_every_step(whole):
    assert error(whole[0].energies, "forward", "losses") < 1e-3


@pytest.mark.parametrize("level", range(N_LEVELS))
def test_every_step(whole, level):
    steps = [whole[1][level, step] for step in range(1, N_STEPS + 1)]
    codes = torch.stack([step.codes.expression for step in steps])
    assert error(codes, "forward", f"ep{level + 1}") < 1e-3
    for step in (0, 1):
        assert error(steps[step].vertices, "forward", f"vert{level + 1}_it{step}") < 5e-4
    counts = torch.stack([step.visible.sum(1) for step in steps]).numpy()
    assert np.abs(counts - golden("forward")[f"vis_count{level + 1}"][:, 0, :, 0]).max() <= 10
    end = steps[-1]
    assert error(end.vertices, "forward", f"vert{level + 1}") < 5e-4
    assert error(template().mean + end.displacement, "forward", f"sp_vert{level + 1}") < 5e-4
    assert error(end.displacement, "forward", f"delta{level + 1}") < 5e-3
    assert error(end.albedo.mT, "forward", f"albedo{level + 1}") < 1e-3


def test_end(whole):
    solution = whole[0]
    end = solution.estimate
    assert error(solution.first_pose, "forward", "pose_init") < 1e-3
    assert error(end.codes.pose, "forward", "pose_end") < 1e-3
    assert error(end.codes.space, "forward", "mp_end") < 1e-2
    assert error(end.light, "forward", "sh_end") < 3e-2
    assert error(end.colours.mT, "forward", "colors_end") < 3e-2
    assert error(end.object_vertices, "forward", "verts_obj_end") < 5e-4
    assert n_different(end.visible, "forward", "vis_end") <= 20
    torch.testing.assert_close(solution.neutral, template().mean + end.displacement)
    assert not end.vertices.requires_grad and tensor("forward", "mp_end").shape == (128, 1)


def test_a_single_photo_is_solved_as_if_given_twice():
    """The reference needs two photos; given one twice its feature term is zero, and so is ours for one."""
    once = observe(network(), crops()[:1], landmarks()[:1])
    twice = observe(network(), crops()[[0, 0]], landmarks()[[0, 0]])
    pose = regress_pose(network(), crops()[:1])
    alone = descend(network(), template(), once, pose)
    both = descend(network(), template(), twice, pose[[0, 0]])
    span = float((both.neutral - template().mean).abs().max())
    assert float((alone.neutral - both.neutral).abs().max()) < 5e-3 * span
    torch.testing.assert_close(alone.estimate.codes.pose[0], both.estimate.codes.pose[0], atol=1e-3, rtol=1e-3)
    assert not alone.energies[:, 0].any()


def test_photos_from_opposite_sides_do_not_spoil_each_other():
    """No vertex of the face is visible in both: the reference answers NaN."""
    pose = regress_pose(network(), crops()[:2])
    pose[:, :3] = torch.tensor([[0.0, 1.5, 0.0], [0.0, -1.5, 0.0]])
    pair = observe(network(), crops()[:2], landmarks()[:2])
    solution = descend(network(), template(), pair, pose)
    assert bool(solution.neutral.isfinite().all()) and bool(solution.estimate.colours.isfinite().all())
    assert bool(solution.energies.isfinite().all())
