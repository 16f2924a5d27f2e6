"""FLAME's licensed files: rows for `likeness.assets`."""

from __future__ import annotations

from pathlib import Path

from likeness.assets import Asset
from likeness.heads.flame_files import read_flame, read_flame_chart, read_flame_landmarks, read_flame_mediapipe

_SITE = "https://flame.is.tue.mpg.de"
_LICENCE = "FLAME's licence, after registration"


def _check_model(path: Path) -> None:
    read_flame(path)


def _check_landmarks(path: Path) -> None:
    read_flame_landmarks(path)


def _check_chart(path: Path) -> None:
    read_flame_chart(path)


def _check_mediapipe(path: Path) -> None:
    read_flame_mediapipe(path)


ASSETS = (
    Asset(
        name="flame",
        filenames=("generic_model.pkl", "flame2020.pkl", "flame2023.pkl", "flame2023_Open.pkl", "generic_model.npz"),
        methods=("deca",),
        what="the FLAME head model, 2020 (the one DECA was trained with) or 2023",
        url=_SITE,
        licence=_LICENCE,
        check=_check_model,
    ),
    Asset(
        name="flame-landmarks",
        filenames=("landmark_embedding.npy",),
        methods=("deca",),
        what="where the 68 landmarks lie on FLAME",
        url="https://github.com/yfeng95/DECA/tree/master/data",
        licence="DECA's licence, non-commercial research",
        check=_check_landmarks,
    ),
    Asset(
        name="flame-chart",
        filenames=("head_template.obj",),
        methods=("deca",),
        what="FLAME's mesh with its UV chart",
        url="https://github.com/yfeng95/DECA/tree/master/data",
        licence="DECA's licence, non-commercial research",
        check=_check_chart,
    ),
    Asset(
        name="flame-mediapipe",
        filenames=("mediapipe_landmark_embedding.npz",),
        methods=("deca",),
        what="where MediaPipe's landmarks lie on FLAME",
        url=_SITE,
        licence=_LICENCE,
        check=_check_mediapipe,
        optional=True,
    ),
)
