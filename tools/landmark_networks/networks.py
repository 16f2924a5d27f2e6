"""The three networks: their inputs and outputs in ONNX."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from landmark_networks.affines import columns
from landmark_networks.converter import Converter
from landmark_networks.onnx_writer import OnnxWriter
from landmark_networks.tflite_graph import TfliteGraph

N_MESH = 468
N_IRIS = 5
# Inner layers that `likeness.methods.open.identity_regression` reads: the last of the whole face before its points are
# read off (128 channels on 3 x 3), and where the attention branch ends (160 on 2 x 2). By their names in the graph.
INNER_LAYERS = {"features_3": ("Add_240", (128, 3, 3)), "features_2": ("Conv_554", (160, 2, 2))}


def tflite_to_onnx(data: bytes, title: str) -> onnx.ModelProto:
    source, writer = TfliteGraph(data), OnnxWriter()
    converter = Converter(source, writer, converts_pixels_to=(0, 1) if "mesh" in title else (-1, 1))
    converter.convert()
    _, height, width, _ = source.shape(source.inputs[0])
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", height, width, 3])]
    outputs = merge_mesh_outputs(converter) if "mesh" in title else name_detector_outputs(converter)
    return writer.finish(title, inputs, outputs)


def name_detector_outputs(converter: Converter) -> list[onnx.ValueInfoProto]:
    """`boxes (B, anchors, 16)`: offsets of centre, size and six keypoints; `scores (B, anchors, 1)`: logits."""
    source, outputs = converter.source, []
    for name, width in (("boxes", 16), ("scores", 1)):
        (tensor,) = (t for t in source.outputs if source.shape(t)[-1] == width)
        converter.writer.op("Identity", converter.value(tensor))
        converter.writer.rename_last(name)
        shape = ["batch", *source.shape(tensor)[1:]]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return outputs


def merge_mesh_outputs(converter: Converter) -> list[onnx.ValueInfoProto]:
    """The refined regions replace x and y of the mesh; an iris takes the mean depth of its eye's contour."""
    source, writer = converter.source, converter.writer
    values = {source.name(t): converter.value(t) for t in source.outputs}
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
    outputs: dict[str, tuple[int, ...]] = {"points": (N_MESH + 2 * N_IRIS, 3), "presence": ()}
    for name, (layer, shape) in INNER_LAYERS.items():
        writer.op("Identity", layer)
        writer.rename_last(name)
        outputs[name] = shape
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *outputs[name]]) for name in outputs]
