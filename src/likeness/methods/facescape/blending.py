"""How strongly each key expression's wrinkles show at each point: the activation masks of FaceScape (Yang et al.,
CVPR 2020, "dynamic detail").

For blendshape weights α (51), with the person's blendshape meshes e_j and the key expressions' weights α̂_i,

    A_j(v) = ‖e_j(v) − e_0(v)‖ / max_v ‖e_j(v) − e_0(v)‖
    M_i(v) = Σ_j α_j α̂_ij A_j(v)        i = 1 … 19
    M_0(v) = max(0, 1 − Σ_i M_i(v))
    F      = Σ_i M_i F̂_i

The release has no code for this. Two points the paper leaves open are decided here: each A_j is normalised by its own
maximum, and where the M_i add up to more than one (several blendshapes at once, or key expressions that share one)
they are divided by their sum, so that wrinkles are mixed and never exaggerated. The F̂ are signed displacements.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from likeness.heads.facescape import FaceScapeHead
from likeness.methods.facescape.network_input import COLUMNS, ROWS
from likeness.methods.facescape.texture import SIZE
from likeness.render import rasterize


def activations(head: FaceScapeHead, identity: Float[Tensor, " I"]) -> Float[Tensor, "51 V"]:
    """A_j of a person: how far each blendshape moves each vertex, as a share of its largest movement."""
    meshes = head.personal_blendshapes(identity[None])
    length = (meshes[1:] - meshes[0]).norm(dim=-1)
    return length / length.amax(1, keepdim=True).clamp_min(torch.finfo(length.dtype).tiny)


def mask_strengths(
    weights: Float[Tensor, " 51"], key_weights: Float[Tensor, "20 51"], active: Float[Tensor, "51 V"]
) -> Float[Tensor, "20 V"]:
    """M_0 … M_19 at each vertex; they lie in [0, 1] and add up to one."""
    others = (key_weights[1:] * weights) @ active
    total = others.sum(0)
    others = others / total.clamp_min(1)
    return torch.cat([(1 - total).clamp_min(0)[None], others])


def blend_maps(
    maps: Float[Tensor, "20 S S"], strengths: Float[Tensor, "20 V"], head: FaceScapeHead
) -> Float[Tensor, "S S"]:
    """F over the face's window: the maps weighted by the strengths, carried from vertices to texels."""
    masks = window_masks(strengths, head, maps.shape[-1])
    return (maps * masks).sum(0)


def window_masks(values: Float[Tensor, "N V"], head: FaceScapeHead, size: int) -> Float[Tensor, "N size size"]:
    """Values at vertices, over the texels of the face's window. Outside the charts the first value (neutral) is
    one.
    """
    tables = head.tables
    uv = torch.from_numpy(tables.uv).float()
    scale = size / (COLUMNS.stop - COLUMNS.start)
    x = (uv[:, 0] * SIZE - COLUMNS.start) * scale
    y = (SIZE - uv[:, 1] * SIZE - ROWS.start) * scale
    corners = torch.from_numpy(tables.uv_triangles)
    drawn = rasterize(torch.stack([x, y, torch.zeros_like(x)], -1)[None], corners, (size, size), perspective=False)
    inside = drawn.mask[0]
    vertices = torch.from_numpy(tables.triangles)[drawn.triangle[0][inside].long()]
    texels = (values.cpu()[:, vertices] * drawn.barycentric[0][inside]).sum(-1)
    masks = torch.zeros(len(values), size, size)
    masks[0] = 1.0
    masks[:, inside] = texels.float()
    return masks


def resized(maps: Float[Tensor, "N S S"], size: int) -> Float[Tensor, "N size size"]:
    """Maps at another resolution, without aliasing."""
    return interpolate(maps[None], size=(size, size), mode="bilinear", align_corners=False, antialias=True)[0]
