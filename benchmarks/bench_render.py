"""Rasterising a head on the CPU: Likeness beside what one would write with numba, in one run.

    python benchmarks/bench_render.py [--device cuda]

Of the usual libraries none serves here: pyrender and trimesh's viewer need an OpenGL context, which a machine
without screen, GPU or libGL has not; nvdiffrast and PyTorch3D must be compiled. So the rival is the software
rasteriser that a user with none of these would write: a loop over bounding boxes compiled by numba
(`pip install numba`), in float32 with a plain depth buffer; a batch goes over parallel threads. It writes what we
write: triangle, perspective-correct barycentrics and depth.

The mesh is a displaced sphere with about as many triangles as the open head. Times are the best of many runs, in
milliseconds; `OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1` compares single threads.
"""

import argparse
import subprocess
import sys
import tempfile
import time

import numba
import numpy as np
import torch
import trimesh

from likeness.meshes import triangle_neighbours, vertex_normals
from likeness.render import antialias, interpolate, rasterize
from likeness.render.pictures import portrait_camera, shaded_view


@numba.njit(cache=False, fastmath=True)
def rasterize_numba(vertices, triangles, winner, barycentric, depth):
    height, width = winner.shape
    winner[:] = -1
    barycentric[:] = 0
    depth[:] = np.inf
    for t in range(triangles.shape[0]):
        a, b, c = vertices[triangles[t, 0]], vertices[triangles[t, 1]], vertices[triangles[t, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0 or a[2] <= 0 or b[2] <= 0 or c[2] <= 0:
            continue
        scale = np.float32(1) / area
        za, zb, zc = np.float32(1) / a[2], np.float32(1) / b[2], np.float32(1) / c[2]
        x0 = max(int(np.ceil(min(a[0], b[0], c[0]) - 0.5)), 0)
        x1 = min(int(np.floor(max(a[0], b[0], c[0]) - 0.5)), width - 1)
        y0 = max(int(np.ceil(min(a[1], b[1], c[1]) - 0.5)), 0)
        y1 = min(int(np.floor(max(a[1], b[1], c[1]) - 0.5)), height - 1)
        for y in range(y0, y1 + 1):
            v = np.float32(y + 0.5)
            for x in range(x0, x1 + 1):
                u = np.float32(x + 0.5)
                wa = ((b[0] - u) * (c[1] - v) - (b[1] - v) * (c[0] - u)) * scale
                wb = ((c[0] - u) * (a[1] - v) - (c[1] - v) * (a[0] - u)) * scale
                wc = 1 - wa - wb
                if wa >= 0 and wb >= 0 and wc >= 0:
                    pa, pb, pc = wa * za, wb * zb, wc * zc
                    z = np.float32(1) / (pa + pb + pc)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        winner[y, x] = t
                        barycentric[y, x, 0] = pa * z
                        barycentric[y, x, 1] = pb * z
                        barycentric[y, x, 2] = pc * z


@numba.njit(parallel=True, cache=False, fastmath=True)
def rasterize_numba_batch(vertices, triangles, winner, barycentric, depth):
    for i in numba.prange(vertices.shape[0]):
        rasterize_numba(vertices[i], triangles, winner[i], barycentric[i], depth[i])


def head_like_mesh():
    """A lumpy ball of about the open head's 4,538 vertices and 9,014 triangles, mm."""
    mesh = trimesh.creation.uv_sphere(count=[46, 48])
    x, y, z = mesh.vertices.T
    bumps = 1 + 0.06 * np.sin(5 * x) * np.sin(4 * y) * np.sin(6 * z)
    vertices = mesh.vertices * bumps[:, None] * [80, 120, 95]
    return torch.tensor(vertices, dtype=torch.float32), torch.tensor(mesh.faces)


def best_ms(function, synchronize, seconds=1.0):
    function()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        synchronize()
        start = time.perf_counter()
        function()
        synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def bench_numba(vertices_px, triangles, size, synchronize):
    v, t = vertices_px.cpu().numpy(), triangles.cpu().numpy().astype(np.int32)

    def run():
        winner = np.empty((len(v), size, size), np.int32)
        barycentric = np.empty((len(v), size, size, 3), np.float32)
        depth = np.empty((len(v), size, size), np.float32)
        if len(v) == 1:
            rasterize_numba(v[0], t, winner[0], barycentric[0], depth[0])
        else:
            rasterize_numba_batch(v, t, winner, barycentric, depth)
        return winner

    return best_ms(run, synchronize), run()


def first_use_seconds():
    """Import and first picture in a fresh process with an empty kernel cache, then in one with the cache filled."""
    program = (
        "import time; s = time.perf_counter(); import torch; a = time.perf_counter()\n"
        "from likeness.render import rasterize; b = time.perf_counter()\n"
        "rasterize(torch.rand(1, 3, 3), torch.tensor([[0, 1, 2]]), (4, 4)); c = time.perf_counter()\n"
        "print(b - a, c - b)"
    )
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", program]
        runs = [
            subprocess.run(command, env={"WARP_CACHE_PATH": cache, "PATH": ""}, capture_output=True, check=True)
            for _ in range(2)
        ]
    return [tuple(map(float, run.stdout.split())) for run in runs]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    vertices, triangles = head_like_mesh()
    vertices, triangles = vertices.to(device), triangles.to(device)
    threads = f"{torch.get_num_threads()} torch and {numba.get_num_threads()} numba threads"
    print(f"{len(vertices)} vertices, {len(triangles)} triangles, {threads}, {device}\n")

    print("| size | batch | Likeness ms | numba ms | numba / Likeness | pixels that agree |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in (256, 512, 1024):
        for batch in (1, 8):
            turned = torch.cat([vertices[None]] * batch)
            cameras = portrait_camera(turned, (size, size), yaw=25)
            vertices_px = cameras.project_with_depth(turned)
            ours = best_ms(lambda v=vertices_px, s=size: rasterize(v, triangles, (s, s)), synchronize)
            theirs, winner = bench_numba(vertices_px, triangles, size, synchronize)
            same = (rasterize(vertices_px, triangles, (size, size)).triangle.cpu().numpy() == winner).mean()
            print(f"| {size}² | {batch} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} | {same:.3%} |")

    print("\n| on top, 512², one image | ms |\n| --- | --- |")
    bench_rest(vertices[None], triangles, synchronize)
    (import_cold, first_cold), (import_warm, first_warm) = first_use_seconds()
    print("\n| first use in a process | import, s | first picture, s |\n| --- | --- | --- |")
    print(f"| kernels compiled (once per machine) | {import_cold:.2f} | {first_cold:.2f} |")
    print(f"| kernels in the cache | {import_warm:.2f} | {first_warm:.2f} |")


def bench_rest(vertices, triangles, synchronize):
    camera = portrait_camera(vertices, (512, 512), yaw=25)
    vertices_px = camera.project_with_depth(vertices)
    fragments = rasterize(vertices_px, triangles, (512, 512))
    normals = vertex_normals(vertices, triangles)
    neighbours = triangle_neighbours(triangles)
    leaf = vertices_px.clone().requires_grad_()
    picture = interpolate(normals, triangles, fragments)

    def backward():
        seen = interpolate(normals, triangles, fragments, vertices_px=leaf)
        antialias(seen, fragments, leaf, triangles, neighbours).square().sum().backward()

    rows = {
        "vertex normals": lambda: vertex_normals(vertices, triangles),
        "interpolate 3 channels": lambda: interpolate(normals, triangles, fragments),
        "antialias 3 channels": lambda: antialias(picture, fragments, vertices_px, triangles, neighbours),
        "interpolate + antialias, forward and backward to the vertices": backward,
        "shaded_view, 2× supersampled": lambda: shaded_view(vertices, triangles, camera, (512, 512)),
    }
    for name, function in rows.items():
        print(f"| {name} | {best_ms(function, synchronize):.1f} |")


if __name__ == "__main__":
    main()
