"""FaceScape's networks and what the rig option takes, for `likeness.assets`. The model's own files are the head's."""

from __future__ import annotations

from pathlib import Path

from likeness.assets import Asset
from likeness.methods.facescape.files import read_deforming_maps
from likeness.methods.facescape.generator import check_generator
from likeness.methods.facescape.key_expressions import read_weights

_CODE_URL = "https://github.com/yanght321/Detailed3DFace"
_LICENCE = "non-commercial research"


def _check_single(path: Path) -> None:
    check_generator(path, 3)


def _check_rig(path: Path) -> None:
    check_generator(path, 6)


def _check_deforming_maps(path: Path) -> None:
    read_deforming_maps(path)


def _check_weights(path: Path) -> None:
    read_weights(path)


ASSETS = (
    Asset(
        name="facescape_single",
        filenames=("dpmap_single_net_G.pth",),
        methods=("facescape",),
        what="FaceScape's network for one displacement map",
        url=_CODE_URL,
        licence=_LICENCE,
        check=_check_single,
    ),
    Asset(
        name="facescape_rig",
        filenames=("dpmap_rig_net_G.pth",),
        methods=("facescape",),
        what="FaceScape's network for the twenty maps of a rig",
        url=_CODE_URL,
        licence=_LICENCE,
        check=_check_rig,
        optional=True,
    ),
    Asset(
        name="facescape_posmaps",
        filenames=("posmaps.npz",),
        methods=("facescape",),
        what="the deforming maps of FaceScape's key expressions",
        url=_CODE_URL,
        licence=_LICENCE,
        check=_check_deforming_maps,
        optional=True,
    ),
    Asset(
        name="facescape_rig_params",
        filenames=("rig_params.json",),
        methods=("facescape",),
        what="the blendshape weights of FaceScape's key expressions",
        url="https://github.com/zhuhao-nju/facescape",
        licence=_LICENCE,
        check=_check_weights,
        optional=True,
        note="Without it Likeness's own table serves.",
    ),
)
