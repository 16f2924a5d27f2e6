"""Pictures of a head in motion: coloured or in clay, with the relief that belongs to each expression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from likeness.animate.posing import Puppet
from likeness.errors import InputError
from likeness.meshes import split_seams, vertex_normals
from likeness.motion import Motion
from likeness.render import sample_texture
from likeness.render.pictures import CLAY, Albedo, Texture, over, portrait_camera, shaded_view, to_uint8
from likeness.rig import Rig
from likeness.subdivision import subdivide

Material = Literal["auto", "clay", "albedo"]
# Each triangle becomes 4ⁿ where there is relief to show: vertices about 1 mm apart on the face.
_N_SUBDIVISIONS = 2
# A turned head needs room around it.
_FILL = 0.8


class Film:
    """A Rig before a camera that stands still. ``material`` "auto" is the texture where there is one; ``yaw`` in
    degrees turns the whole head before it moves. Raises InputError when a texture is asked for that is not there."""

    def __init__(
        self, rig: Rig, *, size: int = 512, material: Material = "auto", yaw: float = 0.0, detail: bool = True
    ) -> None:
        if not 16 <= size <= 4096:
            raise InputError(f"pictures of {size} pixels a side; give 16 to 4096.")
        self._puppet, self._size = Puppet(rig), size
        rest = torch.from_numpy(rig.neutral.astype(np.float32))[None]
        self._camera = portrait_camera(rest, (size, size), yaw=yaw, fill=_FILL)
        self._surface = _Relief(rig) if detail and rig.details and rig.topology.uv is not None else _Plain(rig)
        self._albedo = _albedo(rig, material, self._surface)

    def frames(self, motion: Motion) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """Every frame of a motion in the rig's blendshapes."""
        columns = self._puppet.columns(motion)
        for frame in range(len(motion)):
            yield self.draw(columns[frame], motion.head[frame], motion.eyes[frame])

    def draw(
        self, weights: Float[np.ndarray, " N"], head: Float[np.ndarray, " 3"], eyes: Float[np.ndarray, "2 3"]
    ) -> UInt8[np.ndarray, "H W 3"]:
        """One picture; see `Puppet.vertices`."""
        vertices = torch.from_numpy(self._puppet.vertices(weights, head, eyes))
        moved, normals = self._surface.shaped(vertices, weights)
        size = (self._size, self._size)
        layer = shaded_view(
            moved[None], self._surface.triangles, self._camera, size, albedo=self._albedo, normals=normals[None]
        )
        return to_uint8(over(layer))


class _Plain:
    """The mesh itself."""

    def __init__(self, rig: Rig) -> None:
        self.triangles = rig.topology.triangles_tensor
        topology = rig.topology
        self.uv = None if topology.uv is None else torch.from_numpy(topology.uv)
        self.uv_triangles = (
            None if topology.uv_triangles is None else torch.from_numpy(topology.uv_triangles.astype(np.int64))
        )

    def shaped(self, vertices: Float[Tensor, "V 3"], weights: np.ndarray) -> tuple[Tensor, Tensor]:
        return vertices, vertex_normals(vertices[None], self.triangles)[0]


class _Relief:
    """The mesh cut finer and moved along its normals by the detail maps, each as far as it counts in an expression."""

    def __init__(self, rig: Rig) -> None:
        topology = rig.topology
        assert topology.uv is not None and topology.uv_triangles is not None
        triangles, uv = topology.triangles_tensor, torch.from_numpy(topology.uv)
        uv_triangles = torch.from_numpy(topology.uv_triangles.astype(np.int64))
        self._rig, self._finer, n_vertices = rig, [], len(rig.neutral)
        for _ in range(_N_SUBDIVISIONS):
            step, in_uv = (
                subdivide(t, n, scheme="midpoint") for t, n in ((triangles, n_vertices), (uv_triangles, len(uv)))
            )
            self._finer.append(step)
            uv, triangles, uv_triangles = in_uv.apply(uv), step.triangles, in_uv.triangles
            n_vertices = int(triangles.max()) + 1
        self.triangles, self.uv, self.uv_triangles = triangles, uv, uv_triangles
        # Where a vertex lies on a seam, either side's displacement will do: they agree.
        vertex, uv_point, _ = split_seams(triangles, uv_triangles)
        point = torch.zeros(n_vertices, dtype=torch.long)
        point[vertex] = uv_point
        maps = torch.stack([torch.from_numpy(detail.displacement.astype(np.float32)) for detail in rig.details])
        self._heights = sample_texture(maps[None], uv[point][None])[0]

    def shaped(self, vertices: Float[Tensor, "V 3"], weights: np.ndarray) -> tuple[Tensor, Tensor]:
        named = dict(zip(self._rig.blendshape_names, weights.tolist(), strict=True))
        strengths = torch.from_numpy(self._rig.strengths(named)).T.float()
        smooth = vertex_normals(vertices[None], self._rig.topology.triangles_tensor)[0]
        fine, smooth, strengths = (self._refined(values) for values in (vertices, smooth, strengths))
        smooth = normalize(smooth, dim=-1)
        moved = fine + (strengths * self._heights).sum(1, keepdim=True) * smooth
        # What the relief adds to the normals of the flat facets, on top of the smooth ones.
        bent = vertex_normals(moved[None], self.triangles)[0] - vertex_normals(fine[None], self.triangles)[0]
        return moved, normalize(smooth + bent, dim=-1)

    def _refined(self, values: Float[Tensor, "V C"]) -> Tensor:
        for step in self._finer:
            values = step.apply(values)
        return values


def _albedo(rig: Rig, material: Material, surface: _Plain | _Relief) -> Albedo:
    has_texture = rig.albedo is not None and surface.uv is not None and surface.uv_triangles is not None
    if material == "clay" or (material == "auto" and not has_texture):
        return CLAY
    if not has_texture:
        raise InputError("this head has no texture; render it as clay, or reconstruct it with one.")
    assert rig.albedo is not None and surface.uv is not None and surface.uv_triangles is not None
    image = torch.from_numpy(rig.albedo.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return Texture(image, surface.uv, surface.uv_triangles)
