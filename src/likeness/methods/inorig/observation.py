"""What the networks read from the photos once, before the descent: three feature pyramids and the first pose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.methods.inorig.network import ALBEDO_FEATURES, InorigNetwork
from likeness.methods.inorig.pose import crop_to_pixels
from likeness.methods.inorig.sampling import Maps
from likeness.methods.inorig.template import Template
from likeness.methods.inorig.uv_layout import UVTable

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Observation:
    """Per photo: ``colours``, the detected ``landmarks`` (V, 68, 2) as (column, row) of the crop, and feature maps.

    ``compared`` are the features whose likeness across photos the descent improves, ``shape_features`` and
    ``albedo_features`` what the decoders read; one for each level.
    """

    colours: Maps
    landmarks: Float[Tensor, "V 68 2"]
    compared: tuple[Maps, ...]
    shape_features: tuple[Maps, ...]
    albedo_features: tuple[Maps, ...]

    @property
    def n_photos(self) -> int:
        return len(self.landmarks)


@torch.no_grad()
def observe(
    network: InorigNetwork, crops: Float[Tensor, "V 3 256 256"], landmarks: Float[Tensor, "V 68 2"]
) -> Observation:
    """Run the backbones and pyramids on crops in [0, 1]."""
    networks, photos = network.opt_layer, normalised(crops)
    features = networks.rgb_net(photos)[1:]
    albedo = [Maps.from_channels(m) for m in networks.albedo_fpn(networks.albedo_net(photos)[1:])]
    return Observation(
        colours=Maps.from_channels(crops),
        landmarks=landmarks,
        compared=tuple(Maps.from_channels(m) for m in networks.fpn(features)),
        shape_features=tuple(Maps.from_channels(m) for m in networks.basis_fpn(features)),
        albedo_features=tuple(albedo[k] for k in ALBEDO_FEATURES),
    )


@torch.no_grad()
def regress_pose(network: InorigNetwork, crops: Float[Tensor, "V 3 256 256"]) -> Float[Tensor, "V 6"]:
    """The first pose of each crop (in [0, 1]), normalised as in `pose`."""
    return network.regressor(normalised(crops))


def normalised(crops: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V 3 H W"]:
    """Photos in [0, 1] as the backbones expect them (ImageNet's mean and deviation)."""
    return (crops - crops.new_tensor(_MEAN)[:, None, None]) / crops.new_tensor(_DEVIATION)[:, None, None]


def to_uv(
    maps: Maps,
    table: UVTable,
    template: Template,
    vertices: Float[Tensor, "V N 3"],
    visible: Bool[Tensor, "V N"],
) -> Float[Tensor, "V 67 S S"]:
    """Each photo's features in the UV chart, with the posed position of the surface as three more channels.

    Inside the face region, features of hidden vertices are zero; outside it they are kept, as in the reference.
    """
    chosen = vertices[:, table.vertices]
    hidden = template.face_region[table.vertices] & ~visible[:, table.vertices]
    features = maps.at(crop_to_pixels(chosen)).masked_fill(hidden[..., None], 0)
    return table.scatter(torch.cat([features, chosen / 256], -1))
