"""The Basel models' licensed files: rows for `likeness.assets`, and the models made of those installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from likeness.assets import Asset, find, require
from likeness.errors import AssetError, FileFormatError
from likeness.heads import bfm_files
from likeness.heads.bfm_expressions import MAX_COMPONENTS, read_deviations
from likeness.heads.bfm_face3d import Face3dModel, read_face3d_files
from likeness.heads.bfm_h5 import read_h5
from likeness.heads.bfm_mat import read_mat, read_struct
from likeness.heads.bfm_model import BfmModel

_BASEL = "https://faces.dmi.unibas.ch/bfm/"
_BASEL_LICENCE = "Basel Face Model licence, non-commercial research"
_DEEP3D = "https://github.com/sicxu/Deep3DFaceRecon_pytorch/tree/master/BFM"
_DEEP3D_LICENCE = "published with Deep3D's code"
_FACE3D = "https://github.com/YadiraF/face3d/tree/master/examples/Data/BFM"


@cache
def front_model() -> bfm_files.FrontModel:
    """The front face, from ``BFM_model_front.mat`` if that is installed, else from the raw files.

    Raises AssetError when neither is complete, FileFormatError when they do not fit together.
    """
    ready = find("bfm-front")
    return bfm_files.read_front(ready) if ready else bfm_files.assemble_front(_raw_paths())


@cache
def full_model() -> BfmModel:
    """The 53,215-vertex face, from face3d's files if those are installed, else from the raw files. Raises as above."""
    if find("bfm-face3d"):
        return face3d_model().model()
    return bfm_files.assemble_full(_raw_paths())


@cache
def face3d_model() -> Face3dModel:
    """face3d's arrays as its files have them. Raises AssetError when one is not installed."""
    names = ("bfm-face3d", "bfm-face3d-info", "bfm-face3d-uv", "bfm-expressions", "bfm-deviations")
    return read_face3d_files({_official(name): require(name) for name in names})


def h5_model() -> BfmModel:
    """The 2017 or 2019 model. Raises AssetError when none is installed."""
    return read_h5(require("bfm-h5"))


def _raw_paths() -> dict[str, Path]:
    names = (
        "bfm-2009",
        "bfm-expressions",
        "bfm-deviations",
        "bfm-trim",
        "bfm-front-index",
        "bfm-front-info",
    )
    missing = [_official(name) for name in names if find(name) is None]
    if missing:
        raise AssetError(
            f"The Basel face needs either {_official('bfm-front')} (made by Deep3D's scripts) or the raw files, of "
            f"which {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. Ask for the Basel Face "
            f"Model 2009 at {_BASEL}, take the small files from {_DEEP3D} and Exp_Pca.bin from "
            "https://github.com/Juyong/3DFace (CoarseData), then run `likeness assets add FOLDER`."
        )
    return {_official(name): require(name) for name in names}


def _official(name: str) -> str:
    return next(row for row in ASSETS if row.name == name).filenames[0]


def _holds(*names: str) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        read_mat(path, names)

    return check


def _struct_holds(struct: str, *fields: str) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        read_struct(path, struct, fields)

    return check


def _check_front(path: Path) -> None:
    bfm_files.read_front(path)


def _check_expressions(path: Path) -> None:
    size = path.stat().st_size - 4
    with path.open("rb") as file:
        count = int.from_bytes(file.read(4), "little", signed=True)
    if not 0 < count <= MAX_COMPONENTS or size <= 0 or size % (12 * (count + 1)):
        raise FileFormatError(f"{path.name}: its length does not fit the components it claims.")


def _check_deviations(path: Path) -> None:
    read_deviations(path)


def _check_h5(path: Path) -> None:
    read_h5(path)


def _row(name: str, filename: str, what: str, check: Callable[[Path], None], source: str, **options) -> Asset:
    licence = {_BASEL: _BASEL_LICENCE, _DEEP3D: _DEEP3D_LICENCE}.get(source, "made from the Basel Face Model")
    options = {"methods": ("deep3d",), "optional": True} | options
    return Asset(name=name, filenames=(filename,), what=what, url=source, licence=licence, check=check, **options)


# Mostly optional: which of them a method needs depends on which others are there (`front_model`, `full_model`).
ASSETS = (
    _row(
        "bfm-2009", "01_MorphableModel.mat", "the Basel Face Model of 2009",
        _holds("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl"), _BASEL, methods=("deep3d", "inorig"),
    ),
    _row("bfm-front", "BFM_model_front.mat", "the Basel face cut by Deep3D's scripts", _check_front, _DEEP3D),
    _row(
        "bfm-expressions", "Exp_Pca.bin", "the expression basis of Guo et al.", _check_expressions,
        "https://github.com/Juyong/3DFace", methods=("deep3d", "inorig"),
    ),
    _row(
        "bfm-deviations", "std_exp.txt", "the deviations of the expression basis", _check_deviations,
        _DEEP3D, methods=("deep3d", "inorig"), by_name=True,
    ),
    _row("bfm-trim", "BFM_exp_idx.mat", "the Basel vertices of the expression basis", _holds("trimIndex"), _DEEP3D),
    _row("bfm-front-index", "BFM_front_idx.mat", "the vertices of Deep3D's cut", _holds("idx"), _DEEP3D),
    _row(
        "bfm-front-info", "facemodel_info.mat", "triangles and regions of Deep3D's cut",
        _holds("tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx", "skinmask"), _DEEP3D,
    ),
    _row("bfm-landmarks", "similarity_Lm3D_all.mat", "the landmarks photos are aligned to", _holds("lm"), _DEEP3D,
        optional=False,
    ),
    _row(
        "bfm-face3d", "BFM.mat", "the Basel face as face3d's generate.m writes it",
        _struct_holds("model", "shapeMU", "shapePC", "shapeEV", "texMU", "tri", "kpt_ind"), _FACE3D,
        methods=("inorig",),
    ),
    _row(
        "bfm-face3d-info", "BFM_info.mat", "the regions of face3d's Basel face", _struct_holds("model_info", "segbin"),
        _FACE3D, methods=("inorig",),
    ),
    _row("bfm-face3d-uv", "BFM_UV.mat", "the UV chart of face3d's Basel face", _holds("UV"), _FACE3D,
        methods=("inorig",),
    ),
    Asset(
        name="bfm-h5",
        filenames=(
            "model2019_bfm.h5", "model2019_fullHead.h5", "model2019_face12.h5",
            "model2017-1_bfm_nomouth.h5", "model2017-1_face12_nomouth.h5",
        ),
        methods=(),
        what="a Basel Face Model of 2017 or 2019",
        url=_BASEL,
        licence=_BASEL_LICENCE,
        check=_check_h5,
        optional=True,
    ),
)  # fmt: skip
