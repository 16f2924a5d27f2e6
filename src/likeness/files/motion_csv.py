"""Motion as the CSV that the Live Link Face app records, which Unreal, Blender and Maya importers read.

A header, then a row a frame: timecode, the number 61, ARKit's 52 weights, and nine angles. The angles are in radians:
yaw about +y (positive to the subject's left), pitch about +x (positive down), roll about +z (positive lifts the
subject's left side), applied in the order roll, pitch, yaw: R = Ry(yaw) Rx(pitch) Rz(roll), in the frames of `Motion`.
A timecode is hh:mm:ss:ff.fff, with ff the frame within the second, counted at the rate rounded up to a whole number.
"""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from likeness.arkit import ARKIT_NAMES
from likeness.atomic import write_text
from likeness.errors import FileFormatError, InputError
from likeness.motion import MAX_FRAMES, Motion

ANGLES = tuple(f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))
HEADER = ("Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in ARKIT_NAMES), *ANGLES)
EULER = "YXZ"
"""Intrinsic, in SciPy's notation."""

MAX_FILE_BYTES = 1 << 30
_MOST_COLUMNS = 1000
_FALLBACK_FPS = 60.0
# Rates that cameras have; a rate measured from timecodes (thousandths of a frame) is rounded to them.
_COMMON_RATES = (23.976024, 24, 25, 29.97003, 30, 48, 50, 59.94006, 60, 90, 100, 119.88012, 120, 240)
_TIMECODE = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})[:;](\d{1,4}(?:\.\d{1,9})?)")


def write_csv(path: str | Path, motion: Motion) -> None:
    """Write Live Link Face's CSV. Raises InputError when a blendshape is none of ARKit's, OutputError."""
    unknown = sorted(set(motion.names) - set(ARKIT_NAMES))
    if unknown:
        raise InputError(
            f"{path}: Live Link Face has ARKit's 52 blendshapes only, not {', '.join(unknown[:4])}"
            f"{' …' if len(unknown) > 4 else ''}; retarget the motion to ARKit's first, or save it as .safetensors."
        )
    weights = np.zeros((len(motion), len(ARKIT_NAMES)), np.float32)
    for column, name in enumerate(motion.names):
        weights[:, ARKIT_NAMES.index(name)] = motion.weights[:, column]
    turns = np.concatenate([motion.head[:, None], motion.eyes], 1)
    values = np.concatenate([weights, angles_of(turns).reshape(len(motion), 9)], 1)
    lines = [",".join(HEADER)]
    for frame, row in enumerate(values.astype(np.float32)):
        numbers = (np.format_float_positional(value, unique=True, trim="-") for value in row)
        lines.append(",".join((timecode(frame, motion.fps), str(len(HEADER) - 2), *numbers)))
    write_text(path, "\n".join(lines) + "\n")


def timecode(frame: int, fps: float) -> str:
    """hh:mm:ss:ff.fff of a frame counted from 0."""
    base = math.ceil(fps - 1e-6)
    # Whole thousandths of a base frame, so that rounding carries over into the seconds.
    ticks = round(frame / fps * base * 1000)
    seconds, rest = divmod(ticks, base * 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def angles_of(rotvec: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """Rotation vectors as yaw, pitch, roll, radians."""
    return Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_euler(EULER).reshape(rotvec.shape)


def rotvec_of(angles: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """The inverse of `angles_of`."""
    return Rotation.from_euler(EULER, angles.reshape(-1, 3)).as_rotvec().reshape(angles.shape)


def read_csv(path: str | Path, *, fps: float | None = None) -> Motion:
    """A recording of Live Link Face, or what `write_csv` made; columns may come in any order, angles may be absent.

    Rows without values (the app leaves them while it sees no face) hold the row before. Raises FileFormatError.
    """
    path = Path(path)
    rows = _rows(path)
    header = [name.strip().lstrip("\ufeff").lower() for name in next(rows, [])]
    columns = {name: header.index(name) for name in (name.lower() for name in HEADER) if name in header}
    found = [name for name in ARKIT_NAMES if name.lower() in columns]
    if "timecode" not in columns or not found:
        raise FileFormatError(
            f"{path}: not a recording of Live Link Face: its first line must begin with Timecode,BlendShapeCount and "
            "name ARKit's blendshapes."
        )
    wanted = [columns[name.lower()] for name in found]
    angles = [columns.get(name.lower()) for name in ANGLES]
    times, values = _values(path, rows, columns["timecode"], [*wanted, *(a for a in angles if a is not None)])
    turns = np.zeros((len(values), 9))
    turns[:, [k for k, a in enumerate(angles) if a is not None]] = values[:, len(wanted) :]
    rotvec = rotvec_of(turns.reshape(-1, 3, 3)).astype(np.float32)
    weights = values[:, : len(wanted)].astype(np.float32)
    return Motion(fps or _rate(times), tuple(found), weights, rotvec[:, 0], rotvec[:, 1:])


def _rows(path: Path) -> Iterator[list[str]]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FileFormatError(f"{path}: larger than the {MAX_FILE_BYTES:,} bytes that are read; cut it in pieces.")
        with path.open(encoding="utf-8", newline="") as file:
            # A line of bounded length, so that a file without line ends does not fill the memory.
            lines = iter(lambda: file.readline(1 << 16), "")
            yield from csv.reader(lines, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(f"{path}: cannot be read as CSV ({reason}).") from None


def _values(
    path: Path, rows: Iterator[list[str]], time_column: int, columns: list[int]
) -> tuple[list[tuple[int, float]], Float[np.ndarray, "F C"]]:
    """Each row's (whole seconds, frame within the second), and the numbers of the chosen columns."""
    times: list[tuple[int, float]] = []
    values: list[np.ndarray] = []
    held = np.zeros(len(columns))
    for number, row in enumerate(itertools.islice(rows, MAX_FRAMES + 1), 2):
        if not row or row == [""]:
            continue
        if len(row) > _MOST_COLUMNS or len(times) == MAX_FRAMES:
            raise FileFormatError(f"{path}: line {number}: more columns or frames than are read.")
        times.append(_time(path, number, row[time_column] if time_column < len(row) else ""))
        held = _numbers(path, number, row, columns) if len(row) > max(columns) else held
        values.append(held)
    if not values:
        raise FileFormatError(f"{path}: no frames, only a header.")
    return times, np.stack(values)


def _time(path: Path, number: int, text: str) -> tuple[int, float]:
    match = _TIMECODE.fullmatch(text.strip())
    if match is None:
        raise FileFormatError(f"{path}: line {number}: '{text[:40]}' is no timecode (hh:mm:ss:ff.fff).")
    hours, minutes, seconds, frame = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds), float(frame)


def _numbers(path: Path, number: int, row: list[str], columns: list[int]) -> Float[np.ndarray, " C"]:
    try:
        values = np.array([float(row[column]) for column in columns])
    except ValueError:
        values = np.array([np.nan])
    # Angles and weights are all small; anything else is another quantity or damage.
    if not np.isfinite(values).all() or np.abs(values).max() > 1000:
        raise FileFormatError(f"{path}: line {number}: a value is no number, or far too large for a weight or radians.")
    return values


def _rate(times: list[tuple[int, float]]) -> float:
    """Frames per second from the timecodes: the span of the rows, measured in whole seconds where there is one."""
    if len(times) < 2 or times[0][0] == times[-1][0]:
        return _FALLBACK_FPS
    base = _base(times)
    seconds = [second + frame / base for second, frame in times]
    span = seconds[-1] - seconds[0]
    if span <= 0:
        return _FALLBACK_FPS
    rate = min((len(times) - 1) / span, 1000.0)
    nearest = min(_COMMON_RATES, key=lambda common: abs(common - rate))
    # Timecodes are good to a thousandth of a frame; dropped frames show as larger departures, and are kept.
    return float(nearest) if abs(nearest - rate) <= max(1e-4, 2e-3 / len(times)) * nearest else float(rate)


def _base(times: list[tuple[int, float]]) -> int:
    """How many frames a second of the timecode has: where a second ends, the count begins anew."""
    steps = [b - a for (s, a), (t, b) in itertools.pairwise(times) if s == t]
    step = float(np.median(steps)) if steps else 1.0
    largest = max(frame for _, frame in times)
    # The last frame of a full second stands one step before the base.
    guess = largest + min(max(step, 0.0), 1.0)
    common = [math.ceil(rate - 1e-6) for rate in _COMMON_RATES]
    return min((base for base in common if abs(base - guess) < 0.6 and base > largest), default=math.ceil(guess - 1e-6))
