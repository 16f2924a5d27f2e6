"""Driving as in the reference's demo: every frame is solved anew together with five frames of the same clip.

A fresh rig each time, of which only the last photo's pose and expression code are kept. Slow; for comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from likeness.errors import InputError
from likeness.methods.inorig.descent import descend
from likeness.methods.inorig.frames import FrameInput, FrameSolution, light_of
from likeness.methods.inorig.neighbours import N_NEIGHBOURS, Neighbours
from likeness.methods.inorig.network import InorigNetwork
from likeness.methods.inorig.observation import observe, regress_pose
from likeness.methods.inorig.pose import crop_to_pixels
from likeness.methods.inorig.rig import NeuralRig

_YAW = 1


def solve_frames_officially(
    network: InorigNetwork, rig: NeuralRig, start: Sequence[FrameInput], frames: Iterable[FrameInput]
) -> Iterator[FrameSolution]:
    """Frames in order; ``start`` are the clip's `first_neighbours`. ``rig`` lends its face model and networks only.

    Raises InputError unless there are five to start with.
    """
    if len(start) != N_NEIGHBOURS:
        raise InputError(f"Official tracking starts from {N_NEIGHBOURS} frames, got {len(start)}.")
    yaws = regress_pose(network, torch.stack([frame.crop for frame in start]))[:, _YAW]
    neighbours = Neighbours.start(yaws.tolist(), start)
    for frame in frames:
        solution = _solve(network, rig, [*neighbours.frames, frame])
        yield solution
        neighbours = neighbours.updated(float(solution.pose[_YAW]), frame)


def _solve(network: InorigNetwork, rig: NeuralRig, group: Sequence[FrameInput]) -> FrameSolution:
    crops = torch.stack([frame.crop for frame in group])
    landmarks = torch.stack([frame.landmarks for frame in group])
    observation = observe(network, crops, landmarks)
    estimate = descend(network, rig.template, observation, regress_pose(network, crops)).estimate
    found = crop_to_pixels(estimate.vertices[-1:, rig.template.landmarks])[0]
    # Once more with the final albedo, as the demo does for its colours.
    light = light_of(rig, crops[-1], estimate.vertices[-1:], estimate.albedo[-1:], estimate.light[-1:])
    off = float((found - landmarks[-1]).square().sum(-1).mean().sqrt())
    return FrameSolution(estimate.codes.expression[-1], estimate.codes.pose[-1], light, off)
