"""Writing one ONNX graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


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
        model.doc_string = "Converted from MediaPipe 0.10.21 (Apache-2.0, The MediaPipe Authors)."
        return model
