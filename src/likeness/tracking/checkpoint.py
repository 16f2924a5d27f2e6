"""What a long run has finished, on disk in chunks, so that it can be stopped and resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from likeness.atomic import write_text
from likeness.errors import FileFormatError, OutputError
from likeness.files.tensors import read_tensors, write_tensors

_KIND, _VERSION = "tracking checkpoint", 1
FOLDER = ".tracking"


class Checkpoint:
    """Numbered chunks of arrays under names, in a hidden folder beside the results.

    A checkpoint belongs to one ``fingerprint``, a JSON object that says what the results depend on; another one's is
    cleared away. Each chunk is written whole or not at all. Raises OutputError when the folder cannot be written.
    """

    def __init__(self, out: Path, fingerprint: dict[str, Any]) -> None:
        self._folder = Path(out) / FOLDER
        self._fingerprint = fingerprint
        text = json.dumps(fingerprint, sort_keys=True, indent=1)
        note = self._folder / "run.json"
        if not note.is_file() or note.read_text(encoding="utf-8", errors="replace") != text:
            self.clear()
            try:
                self._folder.mkdir(parents=True)
            except OSError as error:
                raise OutputError(
                    f"{out}: this folder cannot be made ({error.strerror}). Choose another with -o."
                ) from error
            write_text(note, text)

    def n_chunks(self, name: str) -> int:
        """How many chunks of a name are finished: those from number 0 without a gap."""
        count = 0
        while self._path(name, count).is_file():
            count += 1
        return count

    def write(self, name: str, number: int, arrays: dict[str, np.ndarray], **header: Any) -> None:
        """Keep a finished chunk."""
        write_tensors(self._path(name, number), _KIND, _VERSION, header, arrays)

    def read(self, name: str, number: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """A chunk's header and arrays. Raises FileFormatError when the file is damaged."""
        try:
            return read_tensors(self._path(name, number), _KIND, _VERSION)
        except FileFormatError as error:
            raise FileFormatError(f"{error} Remove the folder {self._folder} and track anew.") from None

    def chunks(self, name: str) -> Iterator[dict[str, np.ndarray]]:
        """The arrays of every finished chunk, one at a time."""
        for number in range(self.n_chunks(name)):
            yield self.read(name, number)[1]

    def file(self, name: str) -> Path:
        """The place of a file of its own in the checkpoint."""
        return self._folder / name

    def clear(self) -> None:
        """Remove everything; the run is finished, or another begins."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str, number: int) -> Path:
        return self._folder / f"{name}-{number:05d}.safetensors"
