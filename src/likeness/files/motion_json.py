"""Motion as JSON with ARKit's names: readable without a header of columns, and nothing is lost.

    {"format": "arkit-face", "version": 1, "fps": 30.0,
     "frames": [{"time": 0.0, "blendShapes": {"jawOpen": 0.1, …}, "transform": [16 numbers],
                 "leftEyeTransform": [16 numbers], "rightEyeTransform": [16 numbers], "confidence": 0.9}, …]}

Transforms are 4 × 4 matrices in column-major order with translations in metres, as ARKit's `simd_float4x4`: the head
in the camera's upright frame, the eyes in the head's. ``time`` is in seconds, ``confidence`` may be absent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from likeness.atomic import write_text
from likeness.errors import FileFormatError
from likeness.motion import MAX_FRAMES, Motion

_FORMAT, _VERSION = "arkit-face", 1
MAX_FILE_BYTES = 1 << 29
_MOST_NAMES = 1000
_METRES_PER_MM = 0.001


def write_json(path: str | Path, motion: Motion) -> None:
    """Write the layout above. Raises OutputError."""
    head = _matrices(motion.head, motion.position)
    eyes = _matrices(motion.eyes.reshape(-1, 3), None).reshape(-1, 2, 16)
    frames = []
    for frame, weights in enumerate(motion.weights):
        record: dict[str, Any] = {
            "time": frame / motion.fps,
            "blendShapes": {name: _plain(value) for name, value in zip(motion.names, weights, strict=True)},
            "transform": head[frame].tolist(),
            "leftEyeTransform": eyes[frame, 0].tolist(),
            "rightEyeTransform": eyes[frame, 1].tolist(),
        }
        if motion.confidence is not None:
            record["confidence"] = _plain(motion.confidence[frame])
        frames.append(json.dumps(record, allow_nan=False))
    head_line = json.dumps({"format": _FORMAT, "version": _VERSION, "fps": motion.fps, "frames": []})
    # A line a frame: such files are read by people and compared by line.
    write_text(path, head_line[:-2] + "\n" + ",\n".join(frames) + "\n]}\n")


def _plain(value: np.floating) -> float:
    """The shortest decimal that is this float32."""
    return float(str(np.float32(value)))


def _matrices(rotvec: Float[np.ndarray, "F 3"], position: Float[np.ndarray, "F 3"] | None) -> np.ndarray:
    """(F, 16), column-major."""
    matrices = np.tile(np.eye(4), (len(rotvec), 1, 1))
    matrices[:, :3, :3] = Rotation.from_rotvec(rotvec.astype(np.float64)).as_matrix()
    if position is not None:
        matrices[:, :3, 3] = position * _METRES_PER_MM
    return matrices.transpose(0, 2, 1).reshape(-1, 16)


def read_json(path: str | Path) -> Motion:
    """Read the layout above. Raises FileFormatError."""
    path = Path(path)
    frames, fps = _frames(path)
    names = tuple(frames[0]["blendShapes"])
    if len(names) > _MOST_NAMES:
        raise FileFormatError(f"{path}: {len(names):,} blendshapes; at most {_MOST_NAMES:,} are read.")
    weights = np.zeros((len(frames), len(names)), np.float32)
    turns = np.zeros((len(frames), 3, 4, 4))
    for number, frame in enumerate(frames):
        try:
            weights[number] = [frame["blendShapes"][name] for name in names]
            for k, key in enumerate(("transform", "leftEyeTransform", "rightEyeTransform")):
                turns[number, k] = np.array(frame[key], float).reshape(4, 4).T
        except (KeyError, TypeError, ValueError, OverflowError):
            raise FileFormatError(
                f"{path}: frame {number}: expected the first frame's blendShapes and three transforms of 16 numbers."
            ) from None
    _check_numbers(path, weights, turns)
    rotvec = Rotation.from_matrix(turns[..., :3, :3].reshape(-1, 3, 3)).as_rotvec().reshape(-1, 3, 3)
    position = (turns[:, 0, :3, 3] / _METRES_PER_MM).astype(np.float32)
    return Motion(
        fps,
        names,
        weights,
        rotvec[:, 0].astype(np.float32),
        rotvec[:, 1:].astype(np.float32),
        position if position.any() else None,
        _confidence(path, frames),
    )


def _frames(path: Path) -> tuple[list[dict[str, Any]], float]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FileFormatError(f"{path}: larger than the {MAX_FILE_BYTES:,} bytes that are read; cut it in pieces.")
        root = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(f"{path}: cannot be read as JSON ({reason}).") from None
    if not isinstance(root, dict) or root.get("format") != _FORMAT or root.get("version") != _VERSION:
        raise FileFormatError(f'{path}: not a motion file; expected "format": "{_FORMAT}", "version": {_VERSION}.')
    frames, fps = root.get("frames"), root.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= 1000:
        raise FileFormatError(f"{path}: fps is {fps!r:.40}; expected a number above 0, at most 1000.")
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_FRAMES:
        raise FileFormatError(f"{path}: expected a list of 1 to {MAX_FRAMES:,} frames.")
    if not all(isinstance(frame, dict) and isinstance(frame.get("blendShapes"), dict) for frame in frames):
        raise FileFormatError(f"{path}: every frame needs an object 'blendShapes' of weights by name.")
    return frames, float(fps)


def _check_numbers(path: Path, weights: np.ndarray, turns: np.ndarray) -> None:
    if not (np.isfinite(weights).all() and np.isfinite(turns).all()):
        raise FileFormatError(f"{path}: a weight or transform is no finite number.")
    linear = turns[..., :3, :3]
    if np.abs(linear @ linear.swapaxes(-1, -2) - np.eye(3)).max() > 1e-3 or (np.linalg.det(linear) < 0).any():
        raise FileFormatError(f"{path}: a transform is no rotation with a translation (does it scale or mirror?).")


def _confidence(path: Path, frames: list[dict[str, Any]]) -> Float[np.ndarray, " F"] | None:
    if not all("confidence" in frame for frame in frames):
        return None
    try:
        values = np.array([frame["confidence"] for frame in frames], np.float32)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if values.shape != (len(frames),) or not ((values >= 0) & (values <= 1)).all():
        raise FileFormatError(f"{path}: a confidence is no number from 0 to 1.")
    return values
