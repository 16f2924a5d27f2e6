"""The rasteriser's two kernels: one source for CPU and CUDA.

`draw_triangles` walks the pixels of each triangle row by row and keeps, per pixel, the smallest of the 64-bit keys
(order of nearness, triangle): an exact depth buffer that does not depend on the order of threads, with the lower
triangle winning a tie. `read_winners` turns the keys into triangle, barycentrics and depth.

Where an edge crosses a row is computed in float64 from its endpoints in a fixed order, so that the two triangles
sharing an edge compute the same number and leave no crack.
"""

# Kernels are Warp's dialect: the argument types are values read at run time (hence no `from __future__ import
# annotations`). Python's type checker is told so:
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportReturnType=false, reportAttributeAccessIssue=false

import warp as wp

wp.set_module_options({"enable_backward": False})

EMPTY_KEY = wp.constant(wp.uint64(0xFFFFFFFFFFFFFFFF))
_TOP_BIT = wp.constant(wp.uint32(0x80000000))

# Twice a triangle's area over its squared extent; below it the float32 corners are on one line but for rounding.
_DEGENERATE = wp.constant(wp.float64(1e-12))


@wp.kernel
def draw_triangles(
    vertices: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    perspective: int,
    band_begin: int,
    row_step: int,
    cull_backfaces: int,
    keys: wp.array3d(dtype=wp.uint64),
):
    """Thread (image, triangle, lane): every `row_step`-th row of a triangle, in the band of rows that `keys` hold."""
    image, index, lane = wp.tid()
    corner = triangles[index]
    a = vertices[image, corner[0]]
    b = vertices[image, corner[1]]
    c = vertices[image, corner[2]]
    if not (wp.isfinite(a) and wp.isfinite(b) and wp.isfinite(c)):
        return
    if perspective != 0 and (a[2] <= 0.0 or b[2] <= 0.0 or c[2] <= 0.0):
        return

    band_end = band_begin + keys.shape[1]
    width = keys.shape[2]
    x_low = wp.min(a[0], wp.min(b[0], c[0]))
    x_high = wp.max(a[0], wp.max(b[0], c[0]))
    y_low = wp.min(a[1], wp.min(b[1], c[1]))
    y_high = wp.max(a[1], wp.max(b[1], c[1]))
    y_begin = wp.max(_first_pixel(wp.float64(y_low), band_end), band_begin)
    y_end = _past_last_pixel(wp.float64(y_high), band_end)
    if y_begin >= y_end or x_high < 0.0 or x_low > wp.float32(width):
        return

    ax = wp.float64(a[0])
    ay = wp.float64(a[1])
    abx = wp.float64(b[0]) - ax
    aby = wp.float64(b[1]) - ay
    acx = wp.float64(c[0]) - ax
    acy = wp.float64(c[1]) - ay
    area = abx * acy - aby * acx
    extent = wp.float64(wp.max(x_high - x_low, y_high - y_low))
    if wp.abs(area) <= _DEGENERATE * extent * extent:
        return
    if cull_backfaces != 0 and area > wp.float64(0.0):
        return

    nearness_a = _nearness(a[2], perspective)
    rise_b = _nearness(b[2], perspective) - nearness_a
    rise_c = _nearness(c[2], perspective) - nearness_a
    nearness_per_x = (rise_b * acy - rise_c * aby) / area
    nearness_per_y = (rise_c * abx - rise_b * acx) / area

    line_a = _line(b, c)
    line_b = _line(c, a)
    line_c = _line(a, b)
    turn = wp.float32(wp.sign(area))
    side_a = (b[1] - c[1]) * turn
    side_b = (c[1] - a[1]) * turn
    side_c = (a[1] - b[1]) * turn

    for y in range(y_begin + lane, y_end, row_step):
        v = wp.float64(y) + wp.float64(0.5)
        span = wp.vec2d(wp.float64(x_low), wp.float64(x_high))
        span = _cut(span, line_a, side_a, v)
        span = _cut(span, line_b, side_b, v)
        span = _cut(span, line_c, side_c, v)
        x_begin = _first_pixel(span[0], width)
        x_end = _past_last_pixel(span[1], width)
        row = nearness_a + nearness_per_y * (v - ay) + nearness_per_x * (wp.float64(0.5) - ax)
        key_row = keys[image, y - band_begin]
        for x in range(x_begin, x_end):
            order = _nearness_to_order(wp.float32(row + nearness_per_x * wp.float64(x)))
            key = (wp.uint64(order) << wp.uint64(32)) | wp.uint64(index)
            if key < key_row[x]:
                wp.atomic_min(key_row, x, key)


@wp.func
def _first_pixel(low: wp.float64, n: int):
    """The first of n pixels whose centre is not below `low`; n if there is none."""
    return int(wp.ceil(wp.clamp(low, wp.float64(0.0), wp.float64(n) + wp.float64(0.5)) - wp.float64(0.5)))


@wp.func
def _past_last_pixel(high: wp.float64, n: int):
    """One past the last of n pixels whose centre is not above `high`; 0 if there is none."""
    return int(wp.floor(wp.clamp(high, wp.float64(-0.5), wp.float64(n)) + wp.float64(0.5)))


@wp.func
def _nearness(depth: wp.float32, perspective: int):
    """What is linear over a triangle's picture, and larger for nearer points."""
    if perspective == 0:
        return -wp.float64(depth)
    return wp.float64(1.0) / wp.float64(depth)


@wp.func
def _nearness_to_order(nearness: wp.float32):
    """Bits that compare as unsigned integers: the nearer, the smaller."""
    bits = wp.cast(nearness, wp.uint32)
    if bits < _TOP_BIT:
        return (~bits) & (~_TOP_BIT)
    return bits


@wp.func
def _line(a: wp.vec3, b: wp.vec3):
    """(x, y, dx/dy) of the line through a and b, the same whichever comes first."""
    ax = wp.float64(a[0])
    ay = wp.float64(a[1])
    bx = wp.float64(b[0])
    by = wp.float64(b[1])
    if ay == by:
        return wp.vec3d(ax, ay, wp.float64(0.0))
    slope = (bx - ax) / (by - ay)
    if ay < by:
        return wp.vec3d(ax, ay, slope)
    return wp.vec3d(bx, by, slope)


@wp.func
def _cut(span: wp.vec2d, line: wp.vec3d, side: wp.float32, v: wp.float64):
    """The part of a row's span on the triangle's side of an edge; a horizontal edge (side 0) cuts no row."""
    crossing = line[0] + (v - line[1]) * line[2]
    if side > 0.0:
        return wp.vec2d(wp.max(span[0], crossing), span[1])
    if side < 0.0:
        return wp.vec2d(span[0], wp.min(span[1], crossing))
    return span


@wp.kernel
def read_winners(
    vertices: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    perspective: int,
    band_begin: int,
    column_step: int,
    keys: wp.array3d(dtype=wp.uint64),
    winner: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=wp.float32),
):
    """Thread (image, row of the band, lane): every `column_step`-th pixel of one row."""
    image, row, lane = wp.tid()
    y = band_begin + row
    key_row = keys[image, row]
    winner_row = winner[image, y]
    barycentric_row = barycentric[image, y]
    depth_row = depth[image, y]
    for x in range(lane, keys.shape[2], column_step):
        key = key_row[x]
        if key == EMPTY_KEY:
            winner_row[x] = -1
            barycentric_row[x] = wp.vec3(0.0, 0.0, 0.0)
            depth_row[x] = wp.inf
        else:
            index = wp.int32(key & wp.uint64(0xFFFFFFFF))
            corner = triangles[index]
            a = vertices[image, corner[0]]
            b = vertices[image, corner[1]]
            c = vertices[image, corner[2]]
            u = wp.float64(x) + wp.float64(0.5)
            v = wp.float64(y) + wp.float64(0.5)
            weights = _weights_at(a, b, c, u, v, perspective)
            winner_row[x] = index
            barycentric_row[x] = wp.vec3(wp.float32(weights[0]), wp.float32(weights[1]), wp.float32(weights[2]))
            # In float64 a flat surface at depth z reads exactly z.
            corner_depths = wp.vec3d(wp.float64(a[2]), wp.float64(b[2]), wp.float64(c[2]))
            depth_row[x] = wp.float32(wp.dot(weights, corner_depths))


@wp.func
def _weights_at(a: wp.vec3, b: wp.vec3, c: wp.vec3, u: wp.float64, v: wp.float64, perspective: int):
    """Barycentric weights of (u, v), on the surface itself where there is perspective."""
    ax = wp.float64(a[0]) - u
    ay = wp.float64(a[1]) - v
    bx = wp.float64(b[0]) - u
    by = wp.float64(b[1]) - v
    cx = wp.float64(c[0]) - u
    cy = wp.float64(c[1]) - v
    weight_a = bx * cy - by * cx
    weight_b = cx * ay - cy * ax
    weight_c = ax * by - ay * bx
    # The pixel is inside: what lies beyond 0 is rounding.
    turn = wp.sign(weight_a + weight_b + weight_c)
    weight_a = wp.max(weight_a * turn, wp.float64(0.0))
    weight_b = wp.max(weight_b * turn, wp.float64(0.0))
    weight_c = wp.max(weight_c * turn, wp.float64(0.0))
    if perspective != 0:
        # Each over its corner's depth, all times the product of the depths to save the divisions.
        weight_a = weight_a * (wp.float64(b[2]) * wp.float64(c[2]))
        weight_b = weight_b * (wp.float64(c[2]) * wp.float64(a[2]))
        weight_c = weight_c * (wp.float64(a[2]) * wp.float64(b[2]))
    scale = wp.float64(1.0) / (weight_a + weight_b + weight_c)
    return wp.vec3d(weight_a * scale, weight_b * scale, weight_c * scale)
