"""TFLite operators as ONNX operators."""

from __future__ import annotations

import numpy as np
import tflite
from onnx import TensorProto

from landmark_networks.affines import apply_affine, box_to_affine, columns
from landmark_networks.onnx_writer import OnnxWriter
from landmark_networks.tflite_graph import Operator, TfliteGraph

MERGED = ("CONV_2D", "DEPTHWISE_CONV_2D", "PRELU", "ADD", "MAX_POOL_2D", "PAD")


class Converter:
    """Operator by operator. Four-dimensional activations are kept as NCHW, everything else as in TFLite."""

    def __init__(self, source: TfliteGraph, writer: OnnxWriter, converts_pixels_to: tuple[float, float]) -> None:
        self.source, self.writer = source, writer
        low, high = converts_pixels_to
        image = writer.op("Cast", "image", to=TensorProto.FLOAT)
        image = writer.op("Mul", image, writer.floats((high - low) / 255))
        image = writer.op("Add", image, writer.floats(low)) if low else image
        self.values = {source.inputs[0]: writer.op("Transpose", image, perm=[0, 3, 1, 2])}
        self.parts: dict[int, tuple[str, int, int]] = {}  # tensor -> merged value, its place in it, number of places
        self.subsets: list[list[int]] = []  # mesh indices that each refined region replaces

    def convert(self) -> None:
        """All operators; those that do the same to equal shapes at the same time become one grouped operator.

        The mesh refines lips, eyes and irises in five such branches of tiny feature maps, where the time goes into
        starting operators.
        """
        left = [o for o in self.source.operators if o.kind not in ("DEQUANTIZE", "DENSIFY")]
        while left:
            run = [left[0]]
            if left[0].kind in MERGED:
                run += [o for o in left[1:] if self._signature(o) == self._signature(run[0]) and self._is_ready(o)]
            result = getattr(self, f"_{run[0].kind.lower()}")(*run)
            result = self._activated(result, run[0])
            for place, operator in enumerate(run):
                self.parts[operator.outputs[0]] = (result, place, len(run))
            left = [o for o in left if o not in run]

    def value(self, tensor: int) -> str:
        """The ONNX value of an activation, cut out of its merged one where need be."""
        if tensor not in self.values:
            merged, place, n = self.parts[tensor]
            width = self.source.shape(tensor)[-1]
            self.values[tensor] = merged
            if n > 1:
                self.values[tensor] = columns(self.writer, merged, place * width, (place + 1) * width, axis=1)
        return self.values[tensor]

    def _merged_value(self, tensors: list[int]) -> str:
        """The activations side by side in their channels."""
        if len(tensors) == 1:
            return self.value(tensors[0])
        parts = [self.parts.get(tensor, ("", 0, 0)) for tensor in tensors]
        merged = parts[0][0]
        if parts == [(merged, place, len(parts)) for place in range(len(parts))]:
            return merged
        return self.writer.op("Concat", *(self.value(tensor) for tensor in tensors), axis=1)

    def _inputs(self, run: tuple[Operator, ...], position: int = 0) -> str:
        return self._merged_value([operator.inputs[position] for operator in run])

    def _arrays(self, run: tuple[Operator, ...], position: int, order: tuple[int, ...]) -> np.ndarray:
        """A constant of each operator, its axes in ONNX's order, stacked along the first: the output channels."""
        return np.concatenate([np.transpose(self.array(o.inputs[position]), order) for o in run])

    def _signature(self, operator: Operator) -> tuple:
        numbers = ("Padding", "StrideH", "StrideW", "FilterHeight", "FilterWidth", "FusedActivationFunction")
        options = tuple(getattr(operator.options, name)() for name in numbers if hasattr(operator.options, name))
        shapes = [tuple(self.source.shape(i)) for i in (*operator.inputs, *operator.outputs)]
        return operator.kind, options, *shapes

    def _is_ready(self, operator: Operator) -> bool:
        known = self.values.keys() | self.parts.keys()
        return all(i in known or self.array(i) is not None for i in operator.inputs)

    def _activated(self, result: str, operator: Operator) -> str:
        activation = getattr(operator.options, "FusedActivationFunction", lambda: 0)()
        if activation not in (tflite.ActivationFunctionType.NONE, tflite.ActivationFunctionType.RELU):
            raise ValueError(f"fused activation {activation} is not known to this tool")
        return self.writer.op("Relu", result) if activation else result

    def array(self, tensor: int) -> np.ndarray | None:
        """A constant, seen through the DEQUANTIZE and DENSIFY operators in front of it."""
        made_by = {o.outputs[0]: o for o in self.source.operators if o.kind in ("DEQUANTIZE", "DENSIFY")}
        while tensor in made_by:
            tensor = made_by[tensor].inputs[0]
        return self.source.constant(tensor)

    def _conv_2d(self, *run: Operator) -> str:
        return self._convolution(run, self._arrays(run, 1, (0, 3, 1, 2)), group=len(run))

    def _depthwise_conv_2d(self, *run: Operator) -> str:
        kernel = self._arrays(run, 1, (3, 0, 1, 2))
        return self._convolution(run, kernel, group=len(kernel))

    def _convolution(self, run: tuple[Operator, ...], kernel: np.ndarray, group: int) -> str:
        weights = [self.writer.constant(kernel), self.writer.constant(self._arrays(run, 2, (0,)))]
        window = self._window(run[0], kernel.shape[2:])
        return self.writer.op("Conv", self._inputs(run), *weights, group=group, **window)

    def _max_pool_2d(self, *run: Operator) -> str:
        size = (run[0].options.FilterHeight(), run[0].options.FilterWidth())
        return self.writer.op("MaxPool", self._inputs(run), **self._window(run[0], size))

    def _window(self, operator: Operator, size: tuple[int, ...]) -> dict[str, list[int]]:
        """TensorFlow's SAME puts the odd pixel of padding after, which ONNX's named modes do not always do."""
        strides = [operator.options.StrideH(), operator.options.StrideW()]
        before, after = [0, 0], [0, 0]
        if operator.options.Padding() == tflite.Padding.SAME:
            extents = self.source.shape(operator.inputs[0])[1:3], self.source.shape(operator.outputs[0])[1:3]
            totals = [
                max((n_out - 1) * stride + k - n_in, 0)
                for n_in, n_out, stride, k in zip(*extents, strides, size, strict=True)
            ]
            before = [total // 2 for total in totals]
            after = [total - b for total, b in zip(totals, before, strict=True)]
        return {"kernel_shape": list(size), "strides": strides, "pads": before + after}

    def _prelu(self, *run: Operator) -> str:
        """PReLU(x) = slope x + (1 - slope) ReLU(x), the factors as 1×1 depthwise convolutions.

        ONNX Runtime's blocked CPU layout knows no PReLU and would unpack and repack around each: twice the time.
        """
        value, slope = self._inputs(run), self._arrays(run, 1, (2, 0, 1))
        direct = self.writer.constant(slope[..., None])
        rest = self.writer.op("Sub", self.writer.floats(1), direct)
        window = {"group": len(slope), "kernel_shape": [1, 1]}
        rectified = self.writer.op("Conv", self.writer.op("Relu", value), rest, **window)
        return self.writer.op("Add", rectified, self.writer.op("Conv", value, direct, **window))

    def _relu(self, operator: Operator) -> str:
        return self.writer.op("Relu", self.value(operator.inputs[0]))

    def _add(self, *run: Operator) -> str:
        return self.writer.op("Add", self._inputs(run, 0), self._inputs(run, 1))

    def _mul(self, operator: Operator) -> str:
        factor = self.array(operator.inputs[1]).astype(np.float32)
        if factor.shape == (1, 4, 4):  # an affine: only its first two rows and columns 0, 1, 3 are carried
            factor = factor[:, :2][:, :, [0, 1, 3]]
        return self.writer.op("Mul", self.value(operator.inputs[0]), self.writer.constant(factor))

    def _pad(self, *run: Operator) -> str:
        pads = self.array(run[0].inputs[1])
        if len(run) == 1:
            return self.writer.op(
                "Pad", self._inputs(run), self.writer.integers(*pads[[0, 3, 1, 2]].T.ravel().tolist())
            )
        if pads[:3].any() or pads[3, 0]:
            raise ValueError("only the appending of channels can be merged by this tool")
        # Appending empty channels to each part of a merged value: a convolution with the identity.
        n_in, n_out = (self.source.shape(i)[-1] for i in (run[0].inputs[0], run[0].outputs[0]))
        kernel = np.tile(np.eye(n_out, n_in, dtype=np.float16), (len(run), 1))[..., None, None]
        return self.writer.op("Conv", self._inputs(run), self.writer.constant(kernel), group=len(run))

    def _resize_bilinear(self, operator: Operator) -> str:
        if operator.options.AlignCorners() or not operator.options.HalfPixelCenters():
            raise ValueError("a resize with other than half-pixel centres is not known to this tool")
        size = self.source.shape(operator.outputs[0])[1:3]
        old = self.source.shape(operator.inputs[0])[1:3]
        scales = self.writer.floats(1, 1, size[0] / old[0], size[1] / old[1])
        image = self.value(operator.inputs[0])
        return self.writer.op("Resize", image, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def _depth_to_space(self, operator: Operator) -> str:
        block = operator.options.BlockSize()
        return self.writer.op("DepthToSpace", self.value(operator.inputs[0]), blocksize=block, mode="DCR")

    def _reshape(self, operator: Operator) -> str:
        value, shape = self.value(operator.inputs[0]), self.source.shape(operator.outputs[0])
        if len(self.source.shape(operator.inputs[0])) == 4:
            value = self.writer.op("Transpose", value, perm=[0, 2, 3, 1])
        value = self.writer.op("Reshape", value, self.writer.integers(0, *shape[1:]))
        return self.writer.op("Transpose", value, perm=[0, 3, 1, 2]) if len(shape) == 4 else value

    def _concatenation(self, operator: Operator) -> str:
        if any(len(self.source.shape(i)) != 3 for i in operator.inputs):
            raise ValueError("only concatenations of flat predictions are known to this tool")
        return self.writer.op("Concat", *(self.value(i) for i in operator.inputs), axis=operator.options.Axis())

    def _strided_slice(self, operator: Operator) -> str:
        begin, end, strides = (self.array(i) for i in operator.inputs[1:])
        if begin.any() or (strides != 1).any() or end.tolist() != self.source.shape(operator.inputs[0]):
            raise ValueError("only the slice that takes everything is known to this tool")
        return self.value(operator.inputs[0])

    def _landmarks2transformmatrix(self, operator: Operator) -> str:
        """`(B, 468, 3)` points -> `(B, 2, 3)` affine from crop pixels to the points' frame.

        The crop's x axis runs along the line between two points, and 1.5 times the box of a subset fills it.
        """
        options = operator.options
        if options["target_rotation_radians"] != 0:
            raise ValueError("only upright targets are known to this tool")
        self.subsets.append(list(options["subset_idxs"]))
        ends = options["left_rotation_idx"], options["right_rotation_idx"]
        crop = np.array([options["output_width"], options["output_height"]], np.float32)
        scale = np.array([options["scale_x"], options["scale_y"]], np.float32)
        points = columns(self.writer, self.value(operator.inputs[0]), 0, 2)
        return box_to_affine(self.writer, points, self.subsets[-1], ends, crop, scale)

    def _transformtensorbilinear(self, operator: Operator) -> str:
        """Sample a crop of a feature map at pixel centres; samples outside the outermost centres are zero."""
        features, affine = (self.value(i) for i in operator.inputs)
        height, width = (operator.options[f"output_{side}"] for side in ("height", "width"))
        rows, cols = np.mgrid[:height, :width].reshape(2, 1, -1).astype(np.float32) + 0.5
        centres = self.writer.constant(np.stack([cols, rows], axis=-1))
        centres = self.writer.op("Sub", apply_affine(self.writer, affine, centres), self.writer.floats(0.5))
        _, rows_in, cols_in, _ = self.source.shape(operator.inputs[0])
        to_unit = self.writer.floats(2 / (cols_in - 1), 2 / (rows_in - 1))
        grid = self.writer.op("Sub", self.writer.op("Mul", centres, to_unit), self.writer.floats(1))
        grid = self.writer.op("Reshape", grid, self.writer.integers(-1, height, width, 2))
        sampled = self.writer.op("GridSample", features, grid, mode="bilinear", align_corners=1)
        reach = self.writer.op("ReduceMax", self.writer.op("Abs", grid), axes=[3], keepdims=0)
        inside = self.writer.op("LessOrEqual", reach, self.writer.floats(1))
        inside = self.writer.op("Cast", inside, to=TensorProto.FLOAT)
        inside = self.writer.op("Reshape", inside, self.writer.integers(-1, 1, height, width))
        return self.writer.op("Mul", sampled, inside)

    def _transformlandmarks(self, operator: Operator) -> str:
        points, affine = (self.value(i) for i in operator.inputs)
        return apply_affine(self.writer, affine, points)
