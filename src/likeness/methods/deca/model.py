"""Everything DECA decodes with: FLAME, the UV chart, masks and maps, the networks. Read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.assets import find, require, require_all
from likeness.heads.flame import FlameHead, load_flame
from likeness.heads.flame_landmarks import FlameEmbeddings
from likeness.heads.flame_layer import Flame
from likeness.methods.deca import files
from likeness.methods.deca.displacement import DisplacementSpace
from likeness.methods.deca.files import UV_SIZE, DenseTemplate, Networks, TextureSpace
from likeness.methods.deca.networks import N_CODE, N_DETAIL, N_EXPRESSION, DetailDecoder, Encoder
from likeness.render import rasterize_uv

N_SHAPE = 100
Textures = Literal["bfm", "flame"]
_TEXTURE_ASSETS: dict[Textures, str] = {"bfm": "flame-albedo-bfm", "flame": "flame-texture"}


@dataclass(frozen=True, eq=False)
class UvSurface:
    """Which surface point each texel of a map shows: three corners and their weights, zero outside the chart."""

    corners: Int[Tensor, "S S 3"]
    weights: Float[Tensor, "S S 3"]

    def warp(self, values: Float[Tensor, "B V C"]) -> Float[Tensor, "B C S S"]:
        """Values given at the head's vertices as a map."""
        picked = values.index_select(1, self.corners.flatten()).unflatten(1, self.corners.shape)
        return (picked * self.weights[..., None]).sum(3).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class DecaModel:
    """What the decoder needs, on one device. ``flame`` has DECA's 100 shape and 50 expression components."""

    head: FlameHead
    flame: Flame
    triangles: Int[Tensor, "T 3"]
    uv: Float[Tensor, "U 2"]
    uv_triangles: Int[Tensor, "T 3"]
    uv_surface: UvSurface
    networks: Networks
    displacement: DisplacementSpace
    textures: TextureSpace | None = None
    dense: DenseTemplate | None = None

    @property
    def landmarks(self) -> FlameEmbeddings:
        return self.head.landmarks

    @property
    def device(self) -> torch.device:
        return self.triangles.device


def load_model(device: torch.device | str, textures: Textures | None = None) -> DecaModel:
    """The installed DECA. ``textures`` names a texture space; by default the one that is installed, if any.

    Raises AssetError when files are missing, FileFormatError when one is not what its name says.
    """
    paths = require_all("deca")
    return _assembled(files.read_checkpoint(paths["deca-weights"]), paths, device, textures)


def new_model(device: torch.device | str, textures: Textures | None = None) -> DecaModel:
    """An untrained DECA with the installed files, which need not hold its weights: for training from nothing.

    Raises AssetError and FileFormatError as `load_model`.
    """
    needed = ("flame", "flame-landmarks", "flame-chart", "deca-face-mask", "deca-fixed-displacement")
    optional = ("deca-dense-template", *_TEXTURE_ASSETS.values())
    paths = {name: require(name) for name in needed}
    paths |= {name: path for name in optional if (path := find(name)) is not None}
    networks = Networks(Encoder(N_CODE), Encoder(N_DETAIL), DetailDecoder())
    return _assembled(networks, paths, device, textures)


def _assembled(
    networks: Networks, paths: Mapping[str, Path], device: torch.device | str, textures: Textures | None
) -> DecaModel:
    mask = files.read_mask(paths["deca-face-mask"])
    fixed = files.read_fixed_displacement(paths["deca-fixed-displacement"])
    dense = files.read_dense_template(paths["deca-dense-template"]) if "deca-dense-template" in paths else None
    return build_model(
        load_flame().to(device),
        networks,
        mask=torch.from_numpy(mask),
        fixed_displacement=torch.from_numpy(fixed),
        textures=_textures(paths, textures),
        dense=dense,
    )


def build_model(
    head: FlameHead,
    networks: Networks,
    *,
    mask: Float[Tensor, "256 256"],
    fixed_displacement: Float[Tensor, "256 256"],
    textures: TextureSpace | None = None,
    dense: DenseTemplate | None = None,
) -> DecaModel:
    """A model from its parts, on the device the head is on."""
    device = head.centre.device
    chart = head.topology
    assert chart.uv is not None and chart.uv_triangles is not None, "DECA requires the chart of FLAME"
    triangles = torch.from_numpy(chart.triangles).to(device)
    uv, uv_triangles = torch.from_numpy(chart.uv).to(device), torch.from_numpy(chart.uv_triangles).to(device)
    for network in (networks.coarse, networks.detail, networks.decoder):
        network.to(device)
    return DecaModel(
        head=head,
        flame=head.layer.first(N_SHAPE, N_EXPRESSION),
        triangles=triangles,
        uv=uv,
        uv_triangles=uv_triangles,
        uv_surface=chart_surface(triangles, uv, uv_triangles),
        networks=networks,
        displacement=DisplacementSpace(networks.decoder, fixed_displacement.to(device), mask.to(device)),
        textures=textures and TextureSpace(textures.mean.to(device), textures.components.to(device)),
        dense=dense,
    )


def chart_surface(triangles: Tensor, uv: Tensor, uv_triangles: Tensor, size: int = UV_SIZE) -> UvSurface:
    """The surface of a chart at a resolution of ``size`` texels."""
    seen = rasterize_uv(uv, uv_triangles, (size, size))
    # Texels outside the chart have triangle -1 and weights 0.
    return UvSurface(triangles[seen.triangle[0].clamp_min(0).long()], seen.barycentric[0])


def _textures(paths: Mapping[str, Path], chosen: Textures | None) -> TextureSpace | None:
    if chosen is None:
        chosen = next((kind for kind, asset in _TEXTURE_ASSETS.items() if asset in paths), None)
    return None if chosen is None else files.read_texture_space(require(_TEXTURE_ASSETS[chosen]), chosen)
