"""The stage for what a user asks for."""

from __future__ import annotations

from likeness.errors import InputError
from likeness.landmarks.sessions import Device
from likeness.reenactment.pictures import DEFAULT_FILES, ImageFormat
from likeness.reenactment.stage import PortraitStage, Stage
from likeness.reenactment.wearing import Pose, Wearing


def choose_stage(
    *,
    method: str = "open",
    compat: str | None = None,
    device: Device = "auto",
    smooth: int | None = None,
    scale: float = 1.0,
    upper_scale: float = 1.0,
    freeze_eyes: bool | None = None,
    pose: Pose = "source",
    files: str | None = None,
    image_format: ImageFormat = "png",
) -> Stage:
    """Our own sets, or with ``compat`` "official" those of DECA's fork. ``files`` is a comma-separated list.

    Raises InputError on unknown names and on options the fork does not have, AssetError when files are missing.
    """
    if compat is None:
        chosen = DEFAULT_FILES if files is None else tuple(name.strip() for name in files.split(",") if name.strip())
        wearing = Wearing(scale, upper_scale, bool(freeze_eyes), pose)
        return PortraitStage(
            method=method, device=device, wearing=wearing, smooth=smooth, files=chosen, image_format=image_format
        )
    if compat != "official" or method != "deca":
        raise InputError("the original of these sets is DECA's fork: give --method deca --compat official.")
    asked = (
        ("--scale", scale != 1),
        ("--pose", pose != "source"),
        ("--files", files is not None),
        ("--image-format", image_format != "png"),
    )
    refused = [name for name, given in asked if given]
    if refused:
        raise InputError(f"the original has no {refused[0]}; leave it out, or leave out --compat official.")
    from likeness.methods.deca.fork_stage import ForkStage

    frozen = freeze_eyes is not False
    return ForkStage(device=device, smooth=smooth or 0, upper_scale=upper_scale, freeze_eyes=frozen)
