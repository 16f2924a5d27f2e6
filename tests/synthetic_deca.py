"""DECA with stand-in weights and synthetic data: the model the goldens of ``tests/goldens/deca`` were recorded with."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

import standin
import synthetic_flame
from likeness.methods.deca.files import DenseTemplate, Networks, TextureSpace
from likeness.methods.deca.geometry import DecaCode
from likeness.methods.deca.model import DecaModel, build_model
from likeness.methods.deca.networks import N_CODE, N_DETAIL, DetailDecoder, Encoder

GOLDENS = Path(__file__).parent / "goldens" / "deca"
# Both encoders with one salt would share their trunk.
SALTS = {"E_flame": "deca", "E_detail": "deca-E_detail", "D_detail": "deca"}


def golden(name: str) -> dict[str, torch.Tensor]:
    """One file of recorded numbers, as tensors."""
    with np.load(GOLDENS / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file if file[key].dtype.kind != "U"}


def manifest(name: str) -> dict[str, list[int]]:
    """Key -> shape of one network of the official checkpoint."""
    return json.loads((GOLDENS / f"keys_{name}.json").read_text())


@cache
def networks() -> Networks:
    """The three networks, filled by rule. Do not train them: they are shared."""
    made = Networks(Encoder(N_CODE), Encoder(N_DETAIL), DetailDecoder())
    for network, salt in zip((made.coarse, made.detail, made.decoder), SALTS.values(), strict=True):
        standin.fill(network, salt).eval().requires_grad_(False)
    return made


def checkpoint() -> dict[str, dict[str, torch.Tensor]]:
    """The content of ``deca_model.tar``."""
    return {name: standin.state_dict(manifest(name), salt) for name, salt in SALTS.items()}


@cache
def texture_space(kind: str = "BFM") -> TextureSpace:
    """The synthetic texture space as `read_texture_space` gives it: every second pixel, R, G, B."""
    mean, basis = (
        torch.from_numpy(np.ascontiguousarray(array[::2, ::2, ::-1].astype(np.float32)))
        for array in synthetic_flame.texture_space(kind)
    )
    return TextureSpace(mean.permute(2, 0, 1), basis.permute(2, 0, 1, 3))


@cache
def dense_template() -> DenseTemplate:
    data = synthetic_flame.dense_template()
    ids = data["valid_pixel_ids"]
    pixels = np.stack([data["x_coords"][ids], data["y_coords"][ids]], 1).astype(np.int64)
    return DenseTemplate(pixels, data["valid_pixel_3d_faces"], data["valid_pixel_b_coords"], data["f"])


@cache
def model(*, textured: bool = True) -> DecaModel:
    """The whole model."""
    built = build_model(
        synthetic_flame.flame_head(),
        networks(),
        mask=torch.from_numpy(synthetic_flame.face_eye_mask().astype(np.float32) / 255),
        fixed_displacement=torch.from_numpy(synthetic_flame.fixed_displacement().astype(np.float32)),
        dense=dense_template(),
    )
    return dataclasses.replace(built, textures=texture_space() if textured else None)


def scene() -> tuple[DecaCode, torch.Tensor]:
    """The code and the crop of the recorded scene."""
    data = golden("decode_coarse")
    code = DecaCode(
        shape=data["shape"],
        texture=data["tex"],
        expression=data["exp"],
        root=data["pose"][:, :3],
        jaw=data["pose"][:, 3:],
        camera=data["cam"],
        light=data["light"],
        detail=data["detail"],
    )
    return code, data["crop_u8"][None].float() / 255


def write_deca(folder: Path, *, with_checkpoint: bool = True) -> Path:
    """A folder with every file DECA needs, in the official formats."""
    synthetic_flame.write_deca_data(folder)
    if with_checkpoint:
        torch.save({**checkpoint(), "global_step": 1}, folder / "deca_model.tar")
    return folder


def write_deca_facing(folder: Path) -> Path:
    """DECA's data, and stand-in weights that at least look at the head from in front."""
    synthetic_flame.write_deca_data(folder)
    content = checkpoint()
    last = content["E_flame"]
    last["layers.2.weight"] *= 0.1
    last["layers.2.bias"][206], last["layers.2.bias"][207:209] = 7.5, 0.0
    torch.save(content, folder / "deca_model.tar")
    return folder
