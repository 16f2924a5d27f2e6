"""Affine maps of points, as ONNX operators."""

from __future__ import annotations

import numpy as np

from landmark_networks.onnx_writer import OnnxWriter


def box_to_affine(
    writer: OnnxWriter, points: str, subset: list[int], ends: tuple[int, int], crop: np.ndarray, scale: np.ndarray
) -> str:
    """`(B, N, 2)` points -> `(B, 2, 3)` affine from pixels of a crop of size `crop` to the points' frame."""
    first, last = (writer.op("Gather", points, writer.integers(i), axis=1) for i in ends)
    along = writer.op("Sub", last, first)
    along = writer.op("Div", along, writer.op("ReduceL2", along, axes=[2], keepdims=1))
    across = writer.op("MatMul", along, writer.constant(np.array([[0, 1], [-1, 0]], np.float32)))
    axes = writer.op("Concat", along, across, axis=1)  # rows: the crop's x and y axes
    axes_transposed = writer.op("Transpose", axes, perm=[0, 2, 1])
    chosen = writer.op("Gather", points, writer.integers(*subset), axis=1)
    turned = writer.op("MatMul", chosen, axes_transposed)
    high, low = (writer.op(kind, turned, axes=[1], keepdims=1) for kind in ("ReduceMax", "ReduceMin"))
    size = writer.op("Mul", writer.op("Sub", high, low), writer.constant(scale / crop))
    middle = writer.op("Mul", writer.op("Add", high, low), writer.floats(0.5))
    centre = writer.op("Transpose", writer.op("MatMul", middle, axes), perm=[0, 2, 1])
    linear = writer.op("Mul", axes_transposed, size)
    origin = writer.op("Sub", centre, writer.op("MatMul", linear, writer.constant(crop[:, None] / 2)))
    return writer.op("Concat", linear, origin, axis=2)


def apply_affine(writer: OnnxWriter, affine: str, points: str) -> str:
    linear = writer.op("Transpose", columns(writer, affine, 0, 2), perm=[0, 2, 1])
    origin = writer.op("Transpose", columns(writer, affine, 2, 3), perm=[0, 2, 1])
    return writer.op("Add", writer.op("MatMul", points, linear), origin)


def columns(writer: OnnxWriter, value: str, begin: int, end: int, axis: int = 2) -> str:
    return writer.op("Slice", value, *map(writer.integers, (begin, end, axis)))
