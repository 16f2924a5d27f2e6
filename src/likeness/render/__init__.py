"""Rasterising meshes, differentiably, and making pictures of them.

Buffers with one entry per pixel are (B, H, W, C), as the rasteriser writes them; photos and textures are images,
(B, C, H, W).
"""

from likeness.render.antialiasing import antialias
from likeness.render.closest_points import SurfacePoints, closest_points
from likeness.render.interpolation import interpolate
from likeness.render.rasterization import Fragments, rasterize
from likeness.render.textures import rasterize_uv, sample_texture
from likeness.render.visibility import visible

__all__ = [
    "Fragments",
    "SurfacePoints",
    "antialias",
    "closest_points",
    "interpolate",
    "rasterize",
    "rasterize_uv",
    "sample_texture",
    "visible",
]
