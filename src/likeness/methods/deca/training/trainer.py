"""The loop: steps of Adam with checkpoints from which a run goes on exactly as if it had never stopped.

The checkpoint is DECA's own ``model.tar`` (``E_flame``, ``E_detail``, ``D_detail``, ``opt``, ``global_step``), so that
`DecaMethod` and the original read it. Unlike there, Adam's moments are restored too, and what is drawn depends on the
seed and the step alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from likeness.atomic import atomic_path
from likeness.errors import FileFormatError, InputError
from likeness.methods.deca.files import load_torch_file
from likeness.methods.deca.training.batches import random_exchange
from likeness.methods.deca.training.data import Groups, draw_batch
from likeness.methods.deca.training.stages import (
    StageName,
    TrainingModel,
    set_modes,
    stage_losses,
    trained_parameters,
)

_NETWORKS = {"E_flame": "coarse", "E_detail": "detail", "D_detail": "decoder"}
# Seeds of steps and of epochs must not meet.
_EPOCH_SEED = 1 << 40

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Schedule:
    """``people`` a batch and ``photos`` of each; the authors': 64 × 1 (pretrain), 8 × 2 (coarse), 6 × 3 (detail)."""

    steps: int
    people: int
    photos: int
    learning_rate: float = 1e-4
    seed: int = 0
    checkpoint_every: int = 1000
    report_every: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "people", "photos", "checkpoint_every", "report_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give at least 1.")


def train(
    training: TrainingModel,
    groups: Groups,
    stage: StageName,
    schedule: Schedule,
    checkpoint: Path,
    *,
    report: Report | None = None,
) -> int:
    """Train a stage up to ``schedule.steps``; return the step reached.

    Goes on from ``checkpoint`` where that file exists, and writes it every so many steps and at the end. ``report`` is
    told losses by name. Raises InputError when the groups are fewer than a batch's people or a loss is not finite,
    FileFormatError when the checkpoint is of another network.
    """
    if len(groups) < schedule.people:
        raise InputError(f"{len(groups)} people are fewer than a batch's {schedule.people}.")
    parameters = trained_parameters(training, stage)
    optimiser = torch.optim.Adam(parameters, lr=schedule.learning_rate)
    step = read_training_checkpoint(checkpoint, training, optimiser) if checkpoint.is_file() else 0
    set_modes(training, stage)
    while step < schedule.steps:
        losses = _step(training, groups, stage, schedule, optimiser, step)
        step += 1
        if report is not None and step % schedule.report_every == 0:
            report(step, losses)
        if step % schedule.checkpoint_every == 0 or step == schedule.steps:
            write_training_checkpoint(checkpoint, training, optimiser, step, schedule.people)
    return step


def write_training_checkpoint(
    path: Path, training: TrainingModel, optimiser: torch.optim.Optimizer, step: int, batch_size: int
) -> None:
    """Write ``model.tar``, whole or not at all. Raises OutputError."""
    content: dict[str, Any] = {name: network.state_dict() for name, network in _networks(training).items()}
    content |= {"opt": optimiser.state_dict(), "global_step": step, "batch_size": batch_size}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def read_training_checkpoint(path: Path, training: TrainingModel, optimiser: torch.optim.Optimizer) -> int:
    """Restore networks, moments and the step. The optimiser's state is left new where it belongs to another stage."""
    content = load_torch_file(path)
    load_networks(content, training, path)
    try:
        step = int(content["global_step"])
        optimiser.load_state_dict(content["opt"])
    except (KeyError, ValueError, TypeError) as error:
        raise FileFormatError(
            f"{path}: was written by another stage. Start this one with its networks and a new checkpoint file."
        ) from error
    return step


def load_networks(content: Any, training: TrainingModel, path: Path) -> None:
    """Fill the networks with a checkpoint's. Raises FileFormatError when one is missing or of another shape."""
    try:
        for name, network in _networks(training).items():
            network.load_state_dict(content[name])
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise FileFormatError(f"{path}: is no checkpoint of these networks ({reason}).") from error


def _step(
    training: TrainingModel,
    groups: Groups,
    stage: StageName,
    schedule: Schedule,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> dict[str, float]:
    draw = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
    batch = draw_batch(groups, _people(len(groups), schedule, step), schedule.photos, draw)
    permutation = random_exchange(schedule.people, schedule.photos, draw)
    device = training.model.device
    found = stage_losses(training, batch.to(device), permutation.to(device), stage)
    total = torch.stack(list(found.values())).sum()
    if not bool(torch.isfinite(total)):
        raise InputError(f"step {step}: the loss is {float(total)}; lower the learning rate or look at the photos.")
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    optimiser.step()
    return {name: float(value.detach()) for name, value in found.items()} | {"total": float(total.detach())}


def _people(n: int, schedule: Schedule, step: int) -> list[int]:
    """Everybody once an epoch, in an order of its own."""
    people = []
    for position in range(step * schedule.people, (step + 1) * schedule.people):
        epoch, place = divmod(position, n)
        order = torch.Generator().manual_seed(_EPOCH_SEED + schedule.seed * 1_000_003 + epoch)
        people.append(int(torch.randperm(n, generator=order)[place]))
    return people


def _networks(training: TrainingModel) -> dict[str, nn.Module]:
    return {name: getattr(training.model.networks, attribute) for name, attribute in _NETWORKS.items()}
