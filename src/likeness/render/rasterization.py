"""Which triangle does each pixel see, and where on it?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import InputError
from likeness.render import kernels
from likeness.render.warp_runtime import start_warp, torch_stream

# Bounds the memory of one call: 28 bytes a pixel.
MAX_PIXELS = 2**28

# On a GPU one thread per triangle (or per row of pixels) would leave a large one to a single thread, so rows
# (pixels) are dealt out to so many.
_ROW_LANES_ON_GPU = 8
_PIXEL_LANES_ON_GPU = 64


@dataclass(frozen=True, eq=False)
class Fragments:
    """What each pixel sees.

    `triangle` is -1 where there is nothing; there `barycentric` is 0 and `depth` is +inf.
    `barycentric` are the surface's own (perspective-correct) weights of the triangle's corners at the pixel centre.
    No gradient flows from them; `likeness.render.interpolate` recomputes them where one is wanted.
    """

    triangle: Int[Tensor, "B H W"]
    barycentric: Float[Tensor, "B H W 3"]
    depth: Float[Tensor, "B H W"]
    perspective: bool

    @property
    def mask(self) -> Tensor:
        """(B, H, W) bool: pixels that see a triangle."""
        return self.triangle >= 0


def rasterize(
    vertices_px: Float[Tensor, "B V 3"],
    triangles: Int[Tensor, "T 3"],
    size: tuple[int, int],
    *,
    cull_backfaces: bool = False,
    perspective: bool = True,
) -> Fragments:
    """The nearest triangle at every pixel centre of B images of `size` (height, width).

    `vertices_px` are (x px, y px, depth), as from `Camera.project_with_depth`; `perspective` is the camera's.
    A pixel whose centre lies on a triangle's edge belongs to it. Of triangles at the same depth the one with the
    lower index is seen, so that the result is the same bytes in every run on a device. Triangles are drawn from
    both sides unless `cull_backfaces`; front means counter-clockwise to the eye.

    Not drawn: triangles without area, with a coordinate that is not finite and, under perspective, with any corner
    at or behind the camera (depth ≤ 0): they are dropped whole, not clipped.

    Raises `InputError` for triangles that name vertices which do not exist and for absurd sizes.
    """
    _check(vertices_px, triangles, size)
    start_warp()
    device = vertices_px.device
    vertices = vertices_px.detach().to(torch.float32).contiguous()
    corners = triangles.to(device=device, dtype=torch.int32).contiguous()
    shape = (len(vertices), *size)
    # All bits set: the largest key, which every triangle beats. Warp reads it as unsigned.
    keys = torch.full(shape, -1, dtype=torch.int64, device=device)
    triangle = torch.empty(shape, dtype=torch.int32, device=device)
    barycentric = torch.empty((*shape, 3), dtype=torch.float32, device=device)
    depth = torch.empty(shape, dtype=torch.float32, device=device)

    row_lanes, pixel_lanes = (1, 1) if device.type == "cpu" else (_ROW_LANES_ON_GPU, _PIXEL_LANES_ON_GPU)
    wp_device = wp.device_from_torch(device)
    wp_vertices = wp.from_torch(vertices, dtype=wp.vec3)
    wp_corners = wp.from_torch(corners, dtype=wp.vec3i)
    wp_keys = wp.from_torch(keys, dtype=wp.uint64)
    with torch_stream(device):
        wp.launch(
            kernels.draw_triangles,
            dim=(len(vertices), len(corners), row_lanes),
            inputs=[wp_vertices, wp_corners, int(cull_backfaces), int(perspective), row_lanes, wp_keys],
            device=wp_device,
        )
        wp.launch(
            kernels.read_winners,
            dim=(len(vertices), size[0], pixel_lanes),
            inputs=[wp_vertices, wp_corners, int(perspective), pixel_lanes, wp_keys],
            outputs=[
                wp.from_torch(triangle),
                wp.from_torch(barycentric, dtype=wp.vec3),
                wp.from_torch(depth),
            ],
            device=wp_device,
        )
    return Fragments(triangle, barycentric, depth, perspective)


def _check(vertices_px: Tensor, triangles: Tensor, size: tuple[int, int]) -> None:
    height, width = size
    if height < 1 or width < 1 or len(vertices_px) * height * width > MAX_PIXELS:
        raise InputError(
            f"Cannot render {len(vertices_px)} image(s) of {height}×{width} pixels: sides must be at least 1 and "
            f"the total at most {MAX_PIXELS:,} pixels."
        )
    if vertices_px.ndim != 3 or vertices_px.shape[-1] != 3:
        raise InputError(f"Vertices to render must be (B, V, 3), got {tuple(vertices_px.shape)}.")
    if triangles.ndim != 2 or triangles.shape[-1] != 3:
        raise InputError(f"Triangles to render must be (T, 3), got {tuple(triangles.shape)}.")
    if triangles.numel() and not 0 <= int(triangles.min()) <= int(triangles.max()) < vertices_px.shape[1]:
        raise InputError(
            f"Triangles name vertices {int(triangles.min())} to {int(triangles.max())}, "
            f"but there are {vertices_px.shape[1]}."
        )
