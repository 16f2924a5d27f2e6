"""Rasterising meshes, differentiably, and making pictures of them.

Buffers with one entry per pixel are (B, H, W, C), as the rasteriser writes them; photos and textures are images,
(B, C, H, W).
"""

from likeness.render.rasterization import Fragments, rasterize

__all__ = ["Fragments", "rasterize"]
