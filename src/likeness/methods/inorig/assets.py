"""INORig's checkpoints: rows for `likeness.assets`. The face model's files are in `likeness.heads.bfm_assets`."""

from __future__ import annotations

from pathlib import Path

from likeness.assets import Asset
from likeness.methods.inorig.checkpoint import read_checkpoint

_URL = "https://github.com/zqbai-jeremy/INORig#pretrained-model"
_LICENCE = "published without a licence; ask its authors"
WEIGHTS = {"best": "inorig-weights", "robust": "inorig-weights-robust"}


def _check(path: Path) -> None:
    read_checkpoint(path)


ASSETS = (
    Asset(
        name=WEIGHTS["best"],
        filenames=("Ours.pth",),
        methods=("inorig",),
        what="INORig's trained networks",
        url=_URL,
        licence=_LICENCE,
        check=_check,
        by_name=True,
        note="Either this file or Ours(R).pth is enough.",
    ),
    Asset(
        name=WEIGHTS["robust"],
        filenames=("Ours(R).pth",),
        methods=("inorig",),
        what="INORig's networks trained for robustness: steadier on hard photos, less accurate",
        url=_URL,
        licence=_LICENCE,
        check=_check,
        by_name=True,
        optional=True,
    ),
)
