"""Results appear whole or not at all: written under a hidden temporary name beside the target, then moved into place.

Guards against a failing program, a full disk and Ctrl-C; not against a power cut (nothing is fsync'ed).
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from likeness.errors import OutputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the file grew larger than this system allows; choose another disk",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.EACCES: "you may not write there; choose another folder or change its permissions",
    errno.EPERM: "you may not write there; choose another folder or change its permissions",
    errno.ENOENT: "there is no such folder; make it first",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
    errno.EEXIST: "a file stands where a folder is needed; choose another folder",
    errno.EISDIR: "a folder stands where the file should go; move it away or choose another name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk reports an error; choose another disk",
}
# Only these can be blamed on the output when they come out of a block that may also read files.
_WRITE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path (same folder, same suffix) to write to; it becomes `path` when the block ends well.

    When the block fails, nothing is left and an older file at `path` is untouched. A full disk or an unwritable
    folder raises `OutputError`.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem[:60]}-{secrets.token_hex(6)}{target.suffix}")
    try:
        # Taken at once, so that an unwritable folder is noticed before any work; 0o666 lets the umask decide.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _output_error(target, error) from error
    try:
        yield temporary
        _replace(temporary, target)
    except OSError as error:
        if not _is_about(error, temporary):
            raise
        raise _output_error(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike, data: bytes | bytearray | memoryview) -> None:
    """Write a whole file, or raise `OutputError` and leave whatever was there before."""
    with atomic_path(path) as temporary:
        _naming(temporary, lambda: temporary.write_bytes(data))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a whole UTF-8 file with Unix line ends, or raise `OutputError` and leave whatever was there before."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def atomic_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """A hidden temporary folder to fill; its content becomes `folder` when the block ends well.

    Missing parents are made. A folder that is new appears in one move; into one that exists, the files are moved
    one by one, each replacing its namesake, and other files there are left alone. When the block fails, the
    temporary folder is removed and `folder` is as it was. Raises `OutputError`.
    """
    target = Path(folder)
    temporary = target.with_name(f".{target.name[:60]}-{secrets.token_hex(6)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
        temporary.mkdir()
    except OSError as error:
        raise _output_error(target, error) from error
    try:
        yield temporary
        _move_into(temporary, target)
    except OutputError as error:  # from a writer within, who knows the hidden name only
        raise OutputError(str(error).replace(str(temporary), str(target))) from error
    except OSError as error:
        if not _is_about(error, temporary):
            raise
        raise _output_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into(source: Path, target: Path) -> None:
    if not target.exists():
        _replace(source, target)
        return
    for item in sorted(source.iterdir()):
        if item.is_dir():
            _move_into(item, target / item.name)
        else:
            _replace(item, target / item.name)


def _replace(source: Path, target: Path) -> None:
    _naming(source, lambda: source.replace(target))


def _naming(path: Path, action) -> None:
    """Run an action whose every failure is about `path` (`write` itself does not name the file when it fails)."""
    try:
        action()
    except OSError as error:
        error.filename = str(path)
        raise


def _is_about(error: OSError, temporary: Path) -> bool:
    named = isinstance(error.filename, str | os.PathLike) and str(error.filename).startswith(str(temporary))
    return named or error.errno in _WRITE_ERRNOS


def _output_error(target: Path, error: OSError) -> OutputError:
    reason = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"{target.name} cannot be written into the folder {target.parent}: {reason}.")
