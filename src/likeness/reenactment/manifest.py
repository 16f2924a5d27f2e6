"""What a set's folder says of itself: which frames are finished, with which options, and what each file's bytes are.

A run that is started again skips the frames whose files are all there and unchanged. The manifest is written whole or
not at all, after each few frames; frames after the last writing are simply made again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import likeness
from likeness.atomic import write_text

FORMAT = "likeness portrait-animation set"
VERSION = 1
_WRITE_EVERY_S = 5.0


class Manifest:
    """The manifest of one source's set in ``folder``, kept in the file ``path``.

    ``made_with`` is a JSON object of everything the pictures depend on (source, targets, options): a manifest of
    another one counts for nothing, and its frames are made anew.
    """

    def __init__(self, path: Path, folder: Path, made_with: dict[str, Any]) -> None:
        self.path, self.folder = path, folder
        self._record: dict[str, Any] = {
            "format": FORMAT,
            "format_version": VERSION,
            "likeness": likeness.__version__,
            **made_with,
            "frames": {},
        }
        earlier = _read(path)
        same = {key: value for key, value in self._record.items() if key != "frames"}
        if earlier is not None and all(earlier.get(key) == value for key, value in same.items()):
            self._record["frames"] = earlier["frames"]
        self._written = time.monotonic()

    def is_done(self, frame: str) -> bool:
        """Whether all files of a frame are there with the bytes that were written."""
        entry = self._record["frames"].get(frame)
        if not isinstance(entry, dict) or entry.get("status") != "done" or not entry.get("files"):
            return False
        return all(_is_intact(self.folder, name, noted) for name, noted in entry["files"].items())

    def note(self, frame: str, target: str, files: Sequence[Path]) -> None:
        """A frame is finished."""
        noted = {file.name: _digest(file) for file in files}
        self._record["frames"][frame] = {"status": "done", "target": target, "files": noted}
        self._write_now_and_then()

    def note_failure(self, frame: str, target: str, reason: str) -> None:
        """A frame could not be made."""
        self._record["frames"][frame] = {"status": "failed", "target": target, "reason": reason}
        self._write_now_and_then()

    def counts(self) -> dict[str, int]:
        """How many frames have which status."""
        statuses = [entry["status"] for entry in self._record["frames"].values()]
        return {status: statuses.count(status) for status in ("done", "failed")}

    def write(self) -> None:
        """Write it now. Raises OutputError."""
        frames = dict(sorted(self._record["frames"].items()))
        write_text(self.path, json.dumps({**self._record, "frames": frames}, indent=1, allow_nan=False) + "\n")
        self._written = time.monotonic()

    def _write_now_and_then(self) -> None:
        if time.monotonic() - self._written > _WRITE_EVERY_S:
            self.write()


def fingerprint(path: Path) -> dict[str, Any]:
    """A file by name, size and content."""
    return {"name": str(path), **_digest(path)}


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _is_intact(folder: Path, name: str, noted: Any) -> bool:
    # Names come from a file that others may have written: none may lead out of the folder.
    path = folder / Path(name).name
    if not isinstance(noted, dict) or not path.is_file() or path.stat().st_size != noted.get("bytes"):
        return False
    return _digest(path) == noted


def _read(path: Path) -> dict[str, Any] | None:
    """An earlier manifest, or None where there is none that makes sense."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("frames"), dict) else None
