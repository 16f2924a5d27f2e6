"""DECA's files: rows for `likeness.assets`. FLAME's own are in `likeness.heads.flame_assets`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from likeness.assets import Asset
from likeness.methods.deca import files

_DATA = "https://github.com/yfeng95/DECA/tree/master/data"
_DECA_LICENCE = "DECA's licence, non-commercial research"


def _readable(read: Callable[..., Any], *options: Any) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        read(path, *options)

    return check


ASSETS = (
    Asset(
        name="deca-weights",
        filenames=("deca_model.tar",),
        methods=("deca",),
        what="DECA's trained networks",
        url="https://github.com/yfeng95/DECA#getting-started",
        licence=_DECA_LICENCE,
        check=_readable(files.read_checkpoint),
    ),
    Asset(
        name="deca-face-mask",
        filenames=("uv_face_eye_mask.png",),
        methods=("deca",),
        what="the face and eyes region in UV",
        url=_DATA,
        licence=_DECA_LICENCE,
        check=_readable(files.read_mask),
        by_name=True,
    ),
    Asset(
        name="deca-fixed-displacement",
        filenames=("fixed_displacement_256.npy",),
        methods=("deca",),
        what="the constant part of DECA's displacement",
        url=_DATA,
        licence=_DECA_LICENCE,
        check=_readable(files.read_fixed_displacement),
        by_name=True,
    ),
    Asset(
        name="deca-dense-template",
        filenames=("texture_data_256.npy",),
        methods=("deca",),
        what="the dense mesh of DECA's detailed OBJ",
        url=_DATA,
        licence=_DECA_LICENCE,
        check=_readable(files.read_dense_template),
        optional=True,
    ),
    Asset(
        name="flame-albedo-bfm",
        filenames=("FLAME_albedo_from_BFM.npz",),
        methods=("deca",),
        what="the albedo space DECA was trained with, made from the Basel Face Model",
        url="https://github.com/TimoBolkart/BFM_to_FLAME",
        licence="the Basel Face Model's licence",
        check=_readable(files.read_texture_space, "bfm"),
        optional=True,
    ),
    Asset(
        name="flame-texture",
        filenames=("FLAME_texture.npz",),
        methods=("deca",),
        what="FLAME's own texture space",
        url="https://flame.is.tue.mpg.de",
        licence="FLAME's licence, after registration",
        check=_readable(files.read_texture_space, "flame"),
        optional=True,
    ),
)
