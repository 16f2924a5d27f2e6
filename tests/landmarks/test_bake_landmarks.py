"""The networks that ship are what the bake makes of the pinned wheel."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

ROOT = Path(__file__).parents[2]
NETWORKS = ROOT / "src" / "likeness" / "landmarks" / "networks"


def test_networks_are_small_and_of_standard_operators() -> None:
    onnx = pytest.importorskip("onnx", reason="needs the dev extra")
    paths = sorted(NETWORKS.glob("*.onnx"))
    assert [path.stem for path in paths] == ["face_detector_full", "face_detector_short", "face_mesh"]
    assert sum(path.stat().st_size for path in paths) < 5e6
    for path in paths:
        model = onnx.load(path)
        assert {node.domain for node in model.graph.node} == {""}
        large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) > 1000]
        assert {tensor.data_type for tensor in large} <= {onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT}
        assert sum(t.data_type == onnx.TensorProto.FLOAT16 for t in large) > 0.9 * len(large)


@pytest.mark.parametrize(
    ("name", "n_pixels", "shapes"),
    [
        ("face_detector_short", 128, {"boxes": (896, 16), "scores": (896, 1)}),
        ("face_detector_full", 192, {"boxes": (2304, 16), "scores": (2304, 1)}),
        ("face_mesh", 192, {"points": (478, 3), "presence": (), "features_3": (128, 3, 3), "features_2": (160, 2, 2)}),
    ],
)
def test_networks_run_on_any_batch(name: str, n_pixels: int, shapes: dict[str, tuple[int, ...]]) -> None:
    session = onnxruntime.InferenceSession(NETWORKS / f"{name}.onnx", providers=["CPUExecutionProvider"])
    for n in (1, 3):
        image = np.random.default_rng(0).integers(0, 256, (n, n_pixels, n_pixels, 3), dtype=np.uint8)
        outputs = session.run(list(shapes), {"image": image})
        assert [output.shape for output in outputs] == [(n, *shape) for shape in shapes.values()]
        assert all(np.isfinite(output).all() for output in outputs)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_baking_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for module in ("onnx", "tflite", "flatbuffers"):
        pytest.importorskip(module, reason="needs the dev extra")
    command = [sys.executable, ROOT / "tools" / "bake_landmarks.py", "--output", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "could not be downloaded" in result.stderr:
        pytest.skip("the mediapipe wheel could not be downloaded")
    assert result.returncode == 0, result.stderr
    for path in NETWORKS.glob("*.onnx"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
