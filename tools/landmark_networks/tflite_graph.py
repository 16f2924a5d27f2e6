"""Reading TFLite: operators in order, and constants as dense arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tflite
from flatbuffers import flexbuffers


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
