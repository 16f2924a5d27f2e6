"""Which triangle does each pixel see, and where on it?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from likeness.errors import InputError
from likeness.render import kernels
from likeness.render.warp_runtime import load_kernels, run_in_threads, torch_stream

# Bounds the memory of one call: 28 bytes a pixel.
MAX_PIXELS = 2**28

# On a GPU one thread per triangle (or per row of pixels) would leave a large one to a single thread, so rows
# (pixels) are dealt out to so many.
_ROW_LANES_ON_GPU = 8
_PIXEL_LANES_ON_GPU = 64

# On the CPU Warp runs a launch on one thread, so that we share the work out ourselves, if there is enough.
_PIXELS_WORTH_A_SHARE = 2**15


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
    at or behind the camera (depth ≤ 0): they are dropped whole, not clipped. On the CPU as many threads work as torch
    may use (`torch.set_num_threads`).

    Raises `InputError` for triangles that name vertices which do not exist and for absurd sizes.
    """
    _check(vertices_px, triangles, size)
    device = vertices_px.device
    load_kernels(kernels.__name__, device)
    vertices = vertices_px.detach().to(torch.float32).contiguous()
    corners = triangles.to(device=device, dtype=torch.int32).contiguous()
    shape = (len(vertices), *size)
    fragments = Fragments(
        triangle=torch.empty(shape, dtype=torch.int32, device=device),
        barycentric=torch.empty((*shape, 3), dtype=torch.float32, device=device),
        depth=torch.empty(shape, dtype=torch.float32, device=device),
        perspective=perspective,
    )
    job = _Job(vertices, corners, fragments, cull_backfaces)
    if device.type == "cpu":
        run_in_threads(job.draw, _shares(shape, torch.get_num_threads()))
    else:
        job.draw(slice(0, len(vertices)), 0, size[0])
    return fragments


@dataclass(frozen=True, eq=False)
class _Job:
    vertices: Float[Tensor, "B V 3"]
    corners: Int[Tensor, "T 3"]
    fragments: Fragments
    cull_backfaces: bool

    def draw(self, images: slice, band_begin: int, band_end: int) -> None:
        """Rows band_begin … band_end - 1 of some images; jobs on different ones do not touch each other's memory."""
        device = self.vertices.device
        row_lanes, pixel_lanes = (1, 1) if device.type == "cpu" else (_ROW_LANES_ON_GPU, _PIXEL_LANES_ON_GPU)
        vertices = wp.from_torch(self.vertices[images], dtype=wp.vec3)
        corners = wp.from_torch(self.corners, dtype=wp.vec3i)
        winner = wp.from_torch(self.fragments.triangle[images])
        barycentric = wp.from_torch(self.fragments.barycentric[images], dtype=wp.vec3)
        depth = wp.from_torch(self.fragments.depth[images])
        n, perspective = vertices.shape[0], int(self.fragments.perspective)
        n, width, perspective = winner.shape[0], winner.shape[2], int(self.fragments.perspective)
        with torch_stream(device):
            # A buffer of this share alone: it is still in the processor's cache when it is read.
            memory = torch.empty((n, band_end - band_begin, width), dtype=torch.int64, device=device)
            keys = wp.from_torch(memory, dtype=wp.uint64)
            keys.fill_(kernels.EMPTY_KEY)
            camera = [vertices, corners, perspective, band_begin]
            wp.launch(
                kernels.draw_triangles,
                dim=(n, len(self.corners), row_lanes),
                inputs=[*camera, row_lanes, int(self.cull_backfaces), keys],
                device=wp.device_from_torch(device),
            )
            wp.launch(
                kernels.read_winners,
                dim=(n, band_end - band_begin, pixel_lanes),
                inputs=[*camera, pixel_lanes, keys],
                outputs=[winner, barycentric, depth],
                device=wp.device_from_torch(device),
            )


def _shares(shape: tuple[int, ...], n_threads: int) -> list[tuple[slice, int, int]]:
    """Images, and bands of them where there are fewer than threads, of about equal work."""
    n_images, height, width = shape
    if n_images * height * width < 2 * _PIXELS_WORTH_A_SHARE:
        return [(slice(0, n_images), 0, height)]
    n_bands = min(-(-n_threads // max(n_images, 1)), -(-height * width // _PIXELS_WORTH_A_SHARE), height)
    borders = [height * band // n_bands for band in range(n_bands + 1)]
    return [(slice(i, i + 1), *band) for i in range(n_images) for band in pairwise(borders)]


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
    if triangles.numel():
        lowest, highest = (int(end) for end in torch.aminmax(triangles))
        if lowest < 0 or highest >= vertices_px.shape[1]:
            raise InputError(
                f"Triangles name vertices {lowest} to {highest}, but there are {vertices_px.shape[1]} (from 0)."
            )
