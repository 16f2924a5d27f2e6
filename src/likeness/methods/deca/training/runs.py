"""A whole run of training, as the command line does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from likeness.devices import pick_device
from likeness.errors import InputError
from likeness.methods.deca.crop import Compat
from likeness.methods.deca.files import load_torch_file
from likeness.methods.deca.model import DecaModel, load_model, new_model
from likeness.methods.deca.training.data import read_groups
from likeness.methods.deca.training.identity import read_identity_network
from likeness.methods.deca.training.perceptual import MrfLoss, read_vgg19
from likeness.methods.deca.training.stages import StageName, TrainingModel
from likeness.methods.deca.training.trainer import Schedule, load_networks, train

# Subjects a batch and photos of each, as the authors meant them.
BATCHES: dict[StageName, tuple[int, int]] = {"pretrain": (64, 1), "coarse": (8, 2), "detail": (6, 3)}


def train_stage(
    photos: Path,
    stage: StageName,
    checkpoint: Path,
    schedule: Schedule,
    *,
    start: Path | None = None,
    identity: Path | None = None,
    vgg: Path | None = None,
    compat: Compat = "default",
    device: str = "auto",
    report: Callable[[str], None],
) -> int:
    """Train one stage on a folder of people (see `data.read_groups`); returns the step reached.

    Goes on from ``checkpoint`` where it exists. Otherwise the networks come from ``start``, a checkpoint of an earlier
    stage or the authors' ``deca_model.tar``; without it the pretrain stage begins anew, and the others with the
    installed weights. Raises AssetError, InputError and FileFormatError with what is missing.
    """
    if stage == "coarse" and identity is None:
        raise InputError("the coarse stage needs the VGGFace2 network; give resnet50_ft_weight.pkl with --identity.")
    if stage == "detail" and vgg is None:
        raise InputError("the detail stage needs VGG-19; give torchvision's vgg19-dcbb9e9d.pth with --vgg.")
    groups = read_groups(photos)
    chosen = pick_device(device)
    training = TrainingModel(_model(stage, start, str(chosen)), compat=compat)
    if stage == "coarse" and identity is not None:
        training = replace(training, identity=read_identity_network(identity).to(chosen))
    if stage == "detail" and vgg is not None:
        training = replace(training, mrf=MrfLoss(read_vgg19(vgg)).to(chosen))
    if stage != "pretrain" and training.model.textures is None:
        raise InputError("this stage needs a texture space; install FLAME_albedo_from_BFM.npz or FLAME_texture.npz.")
    if start is not None and not checkpoint.is_file():
        load_networks(load_torch_file(start), training, start)
    return train(training, groups, stage, schedule, checkpoint, report=lambda step, terms: report(_line(step, terms)))


def _model(stage: StageName, start: Path | None, device: str) -> DecaModel:
    return new_model(device) if stage == "pretrain" or start is not None else load_model(device)


def _line(step: int, terms: dict[str, float]) -> str:
    return f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
