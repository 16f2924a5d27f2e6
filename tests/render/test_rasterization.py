"""The rasteriser against a plain one, and its promises: determinism, ties, no cracks, nothing from behind."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import InputError
from likeness.render import rasterize

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def rasterize_naive(vertices, triangles, size, *, cull_backfaces=False, perspective=True):
    """Textbook: every triangle against every pixel in float64. Also says which pixels are too close to call."""
    height, width = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    nearest = np.full(size, np.inf)
    winner = np.full(size, -1)
    weights = np.zeros((*size, 3))
    doubtful = np.zeros(size, bool)
    for index, corners in enumerate(triangles):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = vertices[corners].astype(np.float64)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (cull_backfaces and area > 0) or (perspective and min(az, bz, cz) <= 0):
            continue
        flat = np.stack(
            [
                (bx - x) * (cy - y) - (by - y) * (cx - x),
                (cx - x) * (ay - y) - (cy - y) * (ax - x),
                (ax - x) * (by - y) - (ay - y) * (bx - x),
            ],
            -1,
        )
        flat /= area
        inside = (flat >= 0).all(-1)
        w = flat / (np.array([az, bz, cz]) if perspective else 1.0)
        with np.errstate(all="ignore"):
            w = w / w.sum(-1, keepdims=True)
            depth = w @ np.array([az, bz, cz])
        near_edge = (np.abs(flat).min(-1) < 1e-6) & (flat > -1e-6).all(-1)
        doubtful |= near_edge | (inside & np.isclose(depth, nearest, rtol=1e-5))
        closer = inside & (depth < nearest)
        nearest[closer], winner[closer], weights[closer] = depth[closer], index, w[closer]
    return winner, weights, nearest, doubtful


def random_soup(seed, n_triangles, size):
    rng = np.random.default_rng(seed)
    spread = rng.uniform(1.0, 1.5 * max(size))
    centre = rng.uniform(-0.2, 1.2, (n_triangles, 1, 2)) * [size[1], size[0]]
    xy = centre + rng.normal(size=(n_triangles, 3, 2)) * spread / 2
    z = rng.uniform(50, 500, (n_triangles, 3, 1))
    vertices = np.concatenate([xy, z], -1).reshape(-1, 3).astype(np.float32)
    return vertices, np.arange(3 * n_triangles).reshape(-1, 3)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_triangles=st.integers(1, 12),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    cull_backfaces=st.booleans(),
    perspective=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_naive_rasteriser(seed, n_triangles, size, cull_backfaces, perspective):
    vertices, triangles = random_soup(seed, n_triangles, size)
    if not perspective:  # orthographic depth has no zero
        vertices[:, 2] -= 300
    options = {"cull_backfaces": cull_backfaces, "perspective": perspective}
    expected, weights, depth, doubtful = rasterize_naive(vertices, triangles, size, **options)
    fragments = rasterize(torch.from_numpy(vertices)[None], torch.from_numpy(triangles), size, **options)
    sure = ~doubtful
    assert np.array_equal(fragments.triangle[0].numpy()[sure], expected[sure])
    # float32 results of float64 arithmetic; slivers lose some digits in both.
    assert np.allclose(fragments.barycentric[0].numpy()[sure], weights[sure], atol=2e-5)
    assert np.allclose(fragments.depth[0].numpy()[sure], depth[sure], rtol=1e-5, atol=1e-2)


def grid_mesh(n, size, seed=0):
    """A sheet of jittered triangles that covers the picture and more, some corners right on pixel centres."""
    rng = np.random.default_rng(seed)
    steps = np.linspace(-3, size + 3, n)
    x, y = np.meshgrid(steps, steps)
    x, y = x + rng.normal(size=x.shape) * 0.2, y + rng.normal(size=y.shape) * 0.2
    on_centre = rng.random(x.shape) < 0.5
    x[on_centre], y[on_centre] = np.floor(x[on_centre]) + 0.5, np.floor(y[on_centre]) + 0.5
    vertices = np.stack([x, y, np.full_like(x, 100)], -1).reshape(-1, 3).astype(np.float32)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1].ravel(), i[:-1, 1:].ravel(), i[1:, 1:].ravel(), i[1:, :-1].ravel()
    return torch.from_numpy(vertices), torch.from_numpy(
        np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [2, 7, 40])
def test_a_sheet_has_no_cracks(device, n):
    vertices, triangles = grid_mesh(n, 64, seed=n)
    fragments = rasterize(vertices[None].to(device), triangles.to(device), (64, 64))
    assert fragments.mask.all()
    assert (fragments.depth == 100).all()
    assert torch.allclose(fragments.barycentric.sum(-1), torch.ones(1, 64, 64, device=device), atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_two_runs_give_the_same_bytes_and_a_batch_is_its_images(device):
    soups = [random_soup(seed, 300, (60, 80)) for seed in range(3)]
    vertices = torch.stack([torch.from_numpy(v) for v, _ in soups]).to(device)
    triangles = torch.from_numpy(soups[0][1]).to(device)
    first, second = (rasterize(vertices, triangles, (60, 80)) for _ in range(2))
    for name in ("triangle", "barycentric", "depth"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        for image in range(3):
            alone = rasterize(vertices[image : image + 1], triangles, (60, 80))
            assert torch.equal(getattr(alone, name)[0], getattr(first, name)[image])


@pytest.mark.parametrize("n_images", [1, 2, 5])
def test_threads_change_nothing(n_images):
    vertices = torch.stack([torch.from_numpy(random_soup(seed, 200, (256, 256))[0]) for seed in range(n_images)])
    triangles = torch.arange(600).view(-1, 3)
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = rasterize(vertices, triangles, (257, 256))
        torch.set_num_threads(3)
        shared = rasterize(vertices, triangles, (257, 256))
    finally:
        torch.set_num_threads(n_threads)
    for name in ("triangle", "barycentric", "depth"):
        assert torch.equal(getattr(alone, name), getattr(shared, name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cpu_and_cuda_agree():
    vertices, triangles = random_soup(5, 300, (200, 300))
    vertices, triangles = torch.from_numpy(vertices)[None], torch.from_numpy(triangles)
    on_cpu = rasterize(vertices, triangles, (200, 300))
    on_gpu = rasterize(vertices.cuda(), triangles.cuda(), (200, 300))
    # Fused multiply-adds may turn a pixel that lies on an edge to within 1e-13.
    same = on_cpu.triangle == on_gpu.triangle.cpu()
    assert same.float().mean() > 0.9999
    assert torch.allclose(on_cpu.depth[same], on_gpu.depth.cpu()[same], rtol=1e-5)


def quad(z, ids):
    corners = [[2.0, 2.0, z], [2.0, 8.0, z], [8.0, 8.0, z], [8.0, 2.0, z]]
    return corners, [[ids, ids + 1, ids + 2], [ids, ids + 2, ids + 3]]


def test_nearer_hides_farther_and_ties_go_to_the_lower_index():
    (far, t0), (near, t1), (again, t2) = quad(200.0, 0), quad(100.0, 4), quad(100.0, 8)
    vertices = torch.tensor([far + near + again])
    fragments = rasterize(vertices, torch.tensor(t0 + t1 + t2), (10, 10))
    assert set(fragments.triangle.unique().tolist()) == {-1, 2, 3}
    assert torch.equal(fragments.mask[0], torch.nn.functional.pad(torch.ones(6, 6), (2, 2, 2, 2)).bool())
    assert (fragments.depth[fragments.mask] == 100).all()
    assert torch.isinf(fragments.depth[~fragments.mask]).all()
    assert (fragments.barycentric[~fragments.mask] == 0).all()


def test_front_is_counter_clockwise_to_the_eye():
    # y points down, so going down first and then right is counter-clockwise.
    vertices = torch.tensor([[[1.0, 1, 5], [1, 9, 5], [9, 9, 5]]])
    assert rasterize(vertices, torch.tensor([[0, 1, 2]]), (10, 10), cull_backfaces=True).mask.any()
    assert not rasterize(vertices, torch.tensor([[0, 2, 1]]), (10, 10), cull_backfaces=True).mask.any()
    assert rasterize(vertices, torch.tensor([[0, 2, 1]]), (10, 10)).mask.any()


def test_perspective_weights_follow_the_surface():
    # Half-way between the ends in the picture is nearer the near end on the surface: weights ∝ 1/z.
    vertices = torch.tensor([[[0.0, 0, 100], [10, 0, 300], [0, 10, 100]]])
    fragments = rasterize(vertices, torch.tensor([[0, 1, 2]]), (1, 10))
    flat = 0.45  # of pixel 4's centre, along x
    a, b, c = fragments.barycentric[0, 0, 4].tolist()
    total = (1 - flat) / 100 + flat / 300
    assert b == pytest.approx(flat / 300 / total, abs=1e-6)
    assert a + c == pytest.approx((1 - flat) / 100 / total, abs=1e-6)
    assert fragments.depth[0, 0, 4].item() == pytest.approx(1 / total, rel=1e-6)


@pytest.mark.parametrize(
    "corner",
    [[5.0, 5, -1], [5.0, 5, 0], [float("nan"), 5, 10], [5.0, float("inf"), 10], [5.0, 5, float("nan")], [4.5, 4.5, 10]],
    ids=["behind", "at camera", "nan x", "inf y", "nan z", "no area"],
)
def test_what_cannot_be_drawn_is_dropped_and_the_rest_drawn(corner):
    bad = [[1.0, 1, 10], [8.0, 8, 10], corner]
    good = [[0.0, 0, 20], [0, 10, 20], [10, 10, 20]]
    vertices = torch.tensor([bad + good])
    fragments = rasterize(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), (10, 10))
    assert set(fragments.triangle.unique().tolist()) == {-1, 1}


def test_huge_and_far_off_triangles_neither_hang_nor_leak():
    vertices = torch.tensor(
        [[[-1e30, -1e30, 10.0], [-1e30, 1e30, 10], [1e30, 0, 10], [2e9, 0, 5], [2e9, 9, 5], [3e9, 4, 5]]]
    )
    fragments = rasterize(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), (8, 8))
    assert (fragments.triangle == 0).all()
    assert torch.isfinite(fragments.barycentric).all()


def test_slivers_give_sound_weights():
    rng = np.random.default_rng(3)
    ends = rng.uniform(0, 32, (400, 2, 2))
    middle = ends.mean(1) + rng.normal(size=(400, 2)) * np.logspace(-12, 0, 400)[:, None]
    xy = np.concatenate([ends, middle[:, None]], 1)
    vertices = np.concatenate([xy, rng.uniform(50, 100, (400, 3, 1))], -1).reshape(1, -1, 3).astype(np.float32)
    fragments = rasterize(torch.from_numpy(vertices), torch.arange(1200).view(-1, 3), (32, 32))
    weights = fragments.barycentric[fragments.mask]
    assert len(weights) > 100
    assert (weights >= 0).all()
    assert torch.allclose(weights.sum(-1), torch.ones(len(weights)), atol=1e-6)
    depth = fragments.depth[fragments.mask]
    assert (depth >= 49.9).all() and (depth <= 100.1).all()


def test_no_triangles_is_an_empty_picture():
    fragments = rasterize(torch.zeros(2, 0, 3), torch.zeros(0, 3, dtype=torch.int64), (4, 5))
    assert fragments.triangle.shape == (2, 4, 5)
    assert not fragments.mask.any()


def test_a_batch_of_none_is_a_batch_of_none():
    fragments = rasterize(torch.zeros(0, 3, 3), torch.tensor([[0, 1, 2]]), (400, 500))
    assert fragments.barycentric.shape == (0, 400, 500, 3)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (20000, 20000)])
def test_absurd_sizes_are_refused(size):
    with pytest.raises(InputError, match="pixels"):
        rasterize(torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]]), size)


@pytest.mark.parametrize("triangles", [[[0, 1, 3]], [[-1, 0, 1]]])
def test_triangles_of_missing_vertices_are_refused(triangles):
    with pytest.raises(InputError, match="vertices"):
        rasterize(torch.zeros(1, 3, 3), torch.tensor(triangles), (4, 4))


@pytest.mark.parametrize("shape", [(3, 3), (1, 3, 2)])
def test_vertices_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(InputError, match="B, V, 3"):
        rasterize(torch.zeros(shape), torch.tensor([[0, 1, 2]]), (4, 4))
