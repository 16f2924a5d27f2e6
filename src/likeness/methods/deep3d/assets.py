"""Deep3D's licensed files: rows for `likeness.assets`. The Basel model's own are in `likeness.heads.bfm_assets`."""

from __future__ import annotations

from pathlib import Path

from likeness.assets import Asset, find
from likeness.errors import AssetError
from likeness.methods.deep3d.files import read_weights
from likeness.methods.deep3d.networks import Variant

_PYTORCH = "https://github.com/sicxu/Deep3DFaceRecon_pytorch"
_TENSORFLOW = "https://github.com/microsoft/Deep3DFaceReconstruction"


def rnet_path(variant: Variant | None = None) -> Path:
    """The installed weights: of that variant, or the PyTorch ones (newer, better by their authors' numbers) first.

    Raises AssetError when there are none.
    """
    wanted: tuple[Variant, ...] = (variant,) if variant else ("pytorch", "tensorflow")
    for each in wanted:
        if path := find(f"deep3d-{each}"):
            return path
    files = " or ".join(row.filenames[0] for row in ASSETS if row.name.removeprefix("deep3d-") in wanted)
    raise AssetError(
        f"Deep3D needs its network's weights, {files}, which are not installed. Follow the links at {_PYTORCH} or "
        f"{_TENSORFLOW}, then run `likeness assets add FILE`."
    )


def _check(variant: Variant):
    def check(path: Path) -> None:
        found = read_weights(path).variant
        if found != variant:
            raise AssetError(f"it holds Deep3D's {found} network")

    return check


ASSETS = (
    Asset(
        name="deep3d-pytorch",
        filenames=("epoch_20.pth", "epoch_latest.pth"),
        methods=("deep3d",),
        what="Deep3D's network, PyTorch",
        url=_PYTORCH,
        licence="MIT code; weights for non-commercial research",
        check=_check("pytorch"),
        optional=True,
        note="Either network will do.",
    ),
    Asset(
        name="deep3d-tensorflow",
        filenames=("FaceReconModel.pb",),
        methods=("deep3d",),
        what="Deep3D's network, TensorFlow",
        url=_TENSORFLOW,
        licence="MIT code; weights for non-commercial research",
        check=_check("tensorflow"),
        optional=True,
        note="Either network will do.",
    ),
)
