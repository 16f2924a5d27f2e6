"""FaceScape's licensed files, for `likeness.assets`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from likeness.assets import Asset
from likeness.errors import AssetError
from likeness.heads.facescape_files import TABLE_FILES, read_core, read_factors

_MODEL_URL = "https://facescape.nju.edu.cn"
_MODEL_LICENCE = "FaceScape licence, non-commercial research, on request"
_CODE_URL = "https://github.com/yanght321/Detailed3DFace"
_CODE_LICENCE = "published with the code; derived from FaceScape data"

_WHAT = {
    "facescape_faces": "FaceScape's faces and texture coordinates",
    "facescape_front_vertices": "the vertices of FaceScape's front surface",
    "facescape_front_faces": "the faces of FaceScape's front surface",
    "facescape_front_uv": "the texture coordinates of FaceScape's front surface",
    "facescape_texture_faces": "the faces of FaceScape that receive texture",
    "facescape_landmarks": "FaceScape's 68 landmark vertices",
    "facescape_contour": "the lines FaceScape's contour landmarks slide along",
    "facescape_identity_mean": "the mean of FaceScape's identity factors",
    "facescape_identity_variance": "the variance of FaceScape's identity factors",
    "facescape_mixture": "the Gaussian mixture of FaceScape's expression weights",
    "facescape_mask": "the mask of the face in FaceScape's network input",
}


def _check_core(path: Path) -> None:
    read_core(path)


def _check_factors(path: Path) -> None:
    factors = read_factors(path)
    # Every factor column is a unit vector over the subjects; other matrices are not.
    if not np.allclose(np.square(factors).sum(0), 1.0, atol=0.25):
        raise AssetError(f"{path}: its columns are no unit vectors, so these are not the subjects' identity factors.")


def _table_check(read: Callable[[Path], object]) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        read(path)

    return check


def _table(name: str, filename: str, read: Callable[[Path], object]) -> Asset:
    return Asset(
        name=name,
        filenames=(filename,),
        methods=("facescape",),
        what=_WHAT[name],
        url=_CODE_URL,
        licence=_CODE_LICENCE,
        check=_table_check(read),
        by_name=True,
    )


ASSETS = (
    Asset(
        name="facescape_core",
        filenames=("core_847_50_52.npy",),
        methods=("facescape",),
        what="FaceScape's bilinear model 1.3",
        url=_MODEL_URL,
        licence=_MODEL_LICENCE,
        check=_check_core,
    ),
    Asset(
        name="facescape_factors",
        filenames=("factors_id_847_50_52.npy",),
        methods=("facescape",),
        what="the identity factors of FaceScape's subjects",
        url=_MODEL_URL,
        licence=_MODEL_LICENCE,
        check=_check_factors,
    ),
    *(_table(name, filename, read) for name, (filename, read) in TABLE_FILES.items()),
)
