"""The rasteriser's two kernels: one source for CPU and CUDA.

`draw_triangles` walks the pixels in each triangle's bounding box and keeps, per pixel, the smallest of the 64-bit
keys (depth, triangle): an exact depth buffer that does not depend on the order of threads, with the lower triangle
winning a tie. `read_winners` turns the keys into triangle, barycentrics and depth.

Edge functions are evaluated in float64 with the two endpoints of an edge in a fixed order, so that two triangles
sharing an edge agree on which side a pixel lies and leave no crack.
"""

# Kernels are Warp's dialect: the argument types are values read at run time (hence no `from __future__ import
# annotations`), and `int(0)` declares a variable where `0` would be a constant. Python's checkers are told so:
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportReturnType=false, reportAttributeAccessIssue=false
# ruff: noqa: UP018, RUF046

import warp as wp

wp.set_module_options({"enable_backward": False})

EMPTY_KEY = wp.constant(wp.uint64(0xFFFFFFFFFFFFFFFF))
_TOP_BIT = wp.constant(wp.uint32(0x80000000))


@wp.func
def _depth_to_order(depth: wp.float32):
    """Bits that compare as unsigned integers the way finite depths of either sign compare."""
    bits = wp.cast(depth, wp.uint32)
    if bits < _TOP_BIT:
        return bits | _TOP_BIT
    return ~bits


@wp.func
def _order_to_depth(order: wp.uint32):
    if order < _TOP_BIT:
        return wp.cast(~order, wp.float32)
    return wp.cast(order & (~_TOP_BIT), wp.float32)


@wp.func
def _edge(a: wp.vec3, b: wp.vec3):
    """(p, q, r) of the line through a and b: p·x + q·y + r is twice the area of (a, b, (x, y))."""
    ax = wp.float64(a[0])
    ay = wp.float64(a[1])
    bx = wp.float64(b[0])
    by = wp.float64(b[1])
    sign = wp.float64(1.0)
    if ax > bx or (ax == bx and ay > by):
        ax = wp.float64(b[0])
        ay = wp.float64(b[1])
        bx = wp.float64(a[0])
        by = wp.float64(a[1])
        sign = wp.float64(-1.0)
    return wp.vec3d(sign * (ay - by), sign * (bx - ax), sign * (ax * by - ay * bx))


@wp.func
def _inverse_depth(depth: wp.float32, perspective: int):
    if perspective == 0:
        return wp.float64(1.0)
    return wp.float64(1.0) / wp.float64(depth)


@wp.func
def _first_pixel(low: float, n: int):
    """The first of n pixels whose centre is not below `low`."""
    return int(wp.ceil(wp.clamp(low, 0.0, float(n)) - 0.5))


@wp.func
def _past_last_pixel(high: float, n: int):
    """One past the last of n pixels whose centre is not above `high`."""
    return wp.min(int(wp.floor(wp.clamp(high, -1.0, float(n)) + 0.5)), n)


@wp.kernel
def draw_triangles(
    vertices: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    cull_backfaces: int,
    perspective: int,
    row_step: int,
    keys: wp.array3d(dtype=wp.uint64),
):
    """Thread (image, triangle, lane): every `row_step`-th row of one triangle."""
    image, index, lane = wp.tid()
    corner = triangles[index]
    a = vertices[image, corner[0]]
    b = vertices[image, corner[1]]
    c = vertices[image, corner[2]]
    # Written so that NaN is refused too.
    if not (wp.isfinite(a) and wp.isfinite(b) and wp.isfinite(c)):
        return
    if perspective != 0 and not (a[2] > 0.0 and b[2] > 0.0 and c[2] > 0.0):
        return

    edge_a = _edge(b, c)
    edge_b = _edge(c, a)
    edge_c = _edge(a, b)
    area = edge_a[2] + edge_b[2] + edge_c[2]
    if area == wp.float64(0.0) or (cull_backfaces != 0 and area > wp.float64(0.0)):
        return
    edge_a = edge_a / area
    edge_b = edge_b / area
    edge_c = edge_c / area

    height = keys.shape[1]
    width = keys.shape[2]
    x_begin = _first_pixel(wp.min(a[0], wp.min(b[0], c[0])), width)
    x_end = _past_last_pixel(wp.max(a[0], wp.max(b[0], c[0])), width)
    y_begin = _first_pixel(wp.min(a[1], wp.min(b[1], c[1])), height)
    y_end = _past_last_pixel(wp.max(a[1], wp.max(b[1], c[1])), height)

    inverse_a = _inverse_depth(a[2], perspective)
    inverse_b = _inverse_depth(b[2], perspective)
    inverse_c = _inverse_depth(c[2], perspective)

    for y in range(y_begin + lane, y_end, row_step):
        v = wp.float64(y) + wp.float64(0.5)
        row_a = edge_a[1] * v + edge_a[2]
        row_b = edge_b[1] * v + edge_b[2]
        row_c = edge_c[1] * v + edge_c[2]
        entered = int(0)
        for x in range(x_begin, x_end):
            u = wp.float64(x) + wp.float64(0.5)
            weight_a = edge_a[0] * u + row_a
            weight_b = edge_b[0] * u + row_b
            weight_c = edge_c[0] * u + row_c
            if weight_a >= wp.float64(0.0) and weight_b >= wp.float64(0.0) and weight_c >= wp.float64(0.0):
                entered = int(1)
                depth = wp.float64(0.0)
                if perspective != 0:
                    depth = wp.float64(1.0) / (weight_a * inverse_a + weight_b * inverse_b + weight_c * inverse_c)
                else:
                    depth = weight_a * wp.float64(a[2]) + weight_b * wp.float64(b[2]) + weight_c * wp.float64(c[2])
                order = wp.uint64(_depth_to_order(wp.float32(depth)))
                key = (order << wp.uint64(32)) | wp.uint64(index)
                if key < keys[image, y, x]:
                    wp.atomic_min(keys, image, y, x, key)
            elif entered != 0:
                # A triangle is convex: once left, a row does not enter it again.
                break


@wp.kernel
def read_winners(
    vertices: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    perspective: int,
    keys: wp.array3d(dtype=wp.uint64),
    winner: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=wp.float32),
):
    """Thread (image, row, column)."""
    image, y, x = wp.tid()
    key = keys[image, y, x]
    if key == EMPTY_KEY:
        winner[image, y, x] = -1
        barycentric[image, y, x] = wp.vec3(0.0, 0.0, 0.0)
        depth[image, y, x] = wp.inf
        return
    index = wp.int32(key & wp.uint64(0xFFFFFFFF))
    corner = triangles[index]
    a = vertices[image, corner[0]]
    b = vertices[image, corner[1]]
    c = vertices[image, corner[2]]
    edge_a = _edge(b, c)
    edge_b = _edge(c, a)
    edge_c = _edge(a, b)
    u = wp.float64(x) + wp.float64(0.5)
    v = wp.float64(y) + wp.float64(0.5)
    weight_a = (edge_a[0] * u + (edge_a[1] * v + edge_a[2])) * _inverse_depth(a[2], perspective)
    weight_b = (edge_b[0] * u + (edge_b[1] * v + edge_b[2])) * _inverse_depth(b[2], perspective)
    weight_c = (edge_c[0] * u + (edge_c[1] * v + edge_c[2])) * _inverse_depth(c[2], perspective)
    total = weight_a + weight_b + weight_c
    winner[image, y, x] = index
    barycentric[image, y, x] = wp.vec3(
        wp.float32(weight_a / total), wp.float32(weight_b / total), wp.float32(weight_c / total)
    )
    depth[image, y, x] = _order_to_depth(wp.uint32(key >> wp.uint64(32)))
