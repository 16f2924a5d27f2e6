"""The albedo map of a face whose colours sit at its vertices, and its light in linear colours."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from likeness.lighting import fit_light, srgb_to_linear
from likeness.render import interpolate, rasterize_uv
from likeness.topology import Topology

# Enough vertices to tell nine numbers; all of them tell no more.
_EVERY = 7


class AlbedoMap:
    """Vertex colours → a square map in the head's chart. What each texel shows is worked out once."""

    def __init__(self, topology: Topology, size: int) -> None:
        assert topology.uv is not None and topology.uv_triangles is not None
        self._triangles = torch.from_numpy(np.ascontiguousarray(topology.triangles))
        corners = torch.from_numpy(np.ascontiguousarray(topology.uv_triangles))
        self._fragments = rasterize_uv(torch.from_numpy(topology.uv), corners, (size, size))
        empty = ~self._fragments.mask[0].numpy()
        # Texels outside the chart repeat the nearest inside, so that no filter draws a seam.
        nearest = np.asarray(distance_transform_edt(empty, return_distances=False, return_indices=True), np.int64)
        self._row, self._column = torch.from_numpy(nearest)

    def __call__(self, colours: Float[Tensor, "V 3"]) -> Float[Tensor, "3 S S"]:
        """The map of colours in [0, 1]; others are clipped."""
        image = interpolate(colours.cpu().clamp(0, 1)[None], self._triangles, self._fragments)[0]
        return image[self._row, self._column].permute(2, 0, 1).contiguous()


def linear_light(
    normals: Float[Tensor, "B V 3"], albedo: Float[Tensor, "B V 3"], colour: Float[Tensor, "B V 3"]
) -> Float[Tensor, "B 9 3"]:
    """The light (`likeness.lighting`, camera frame) that shades the surface as Deep3D's does.

    Deep3D multiplies albedo and light as sRGB numbers; light adds up in linear ones. So its light has no exact
    counterpart, and this is the closest, by least squares over the vertices that face the camera. ``normals`` are in
    Deep3D's world axes, ``albedo`` and ``colour`` its own, in [0, 1].
    """
    chosen = slice(None, None, _EVERY)
    world = normals[:, chosen]
    # World has y up and z towards the viewer; the camera frame y down and z forward.
    camera = world * world.new_tensor([1.0, -1.0, -1.0])
    linear = [srgb_to_linear(values[:, chosen].clamp(0, 1)) for values in (albedo, colour)]
    return fit_light(camera, *linear, weights=world[..., 2].clamp_min(0))
