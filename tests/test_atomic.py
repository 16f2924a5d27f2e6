"""Nothing is half written: not after an error, on a full disk, or in a folder one may not write to."""

import errno
import os
import re
import subprocess
import sys
import textwrap

import pytest

from likeness.atomic import atomic_folder, atomic_path, write_bytes, write_text
from likeness.errors import OutputError


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_bytes_and_text_are_written_and_replaced(tmp_path):
    write_bytes(tmp_path / "a.bin", b"\r\n\0")
    write_text(tmp_path / "b.json", "ä\n")
    write_bytes(str(tmp_path / "a.bin"), b"new")
    assert content(tmp_path) == {"a.bin": b"new", "b.json": "ä\n".encode()}


def test_permissions_follow_the_umask(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, FileNotFoundError])
def test_a_failing_block_leaves_the_old_file_and_its_own_error(tmp_path, failure):
    write_bytes(tmp_path / "a.png", b"old")
    with pytest.raises(failure), atomic_path(tmp_path / "a.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"half")
        raise failure
    assert content(tmp_path) == {"a.png": b"old"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_others_write_is_an_output_error(tmp_path, number):
    message = f"a.png cannot be written into the folder {tmp_path}: the disk"
    with pytest.raises(OutputError, match=re.escape(message)), atomic_path(tmp_path / "a.png"):
        raise OSError(number, os.strerror(number))
    with pytest.raises(OutputError, match="the disk"), atomic_folder(tmp_path / "results"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_write_that_the_system_cuts_short(tmp_path):
    """A real failing write(2), by a limit on the size of files; in a process of its own, which the limit binds."""
    program = textwrap.dedent("""
        import pathlib, resource, sys
        from likeness.atomic import atomic_folder, write_bytes
        from likeness.errors import OutputError
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        folder = pathlib.Path(sys.argv[1])
        for attempt in ("file", "folder"):
            try:
                if attempt == "file":
                    write_bytes(folder / "large.bin", bytes(2000))
                else:
                    with atomic_folder(folder / "results") as results:
                        write_bytes(results / "small.bin", bytes(10))
                        (results / "large.bin").write_bytes(bytes(2000))
            except OutputError as error:
                print(error)
    """)
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 2 and all("cannot be written" in line and str(tmp_path) in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cases = {tmp_path / "none" / "a.bin": "no such folder", tmp_path / "file" / "a.bin": "a file stands"}
    for path, reason in cases.items():
        with pytest.raises(OutputError, match=reason) as caught:
            write_bytes(path, b"x")
        assert str(path.parent) in str(caught.value)
    with pytest.raises(OutputError, match="a file stands"), atomic_folder(tmp_path / "file"):
        pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="a file stands"), atomic_folder(tmp_path / "file" / "results"):
        pytest.fail("the block must not run")
    assert content(tmp_path) == {"file": b""}


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="needs a POSIX system, and root may write everywhere"
)
def test_a_read_only_folder(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    with pytest.raises(OutputError, match="you may not write there"):
        write_bytes(folder / "a.bin", b"x")


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OutputError, match="a folder stands"):
        write_bytes(tmp_path / "a.bin", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_writers_within_a_folder_name_the_real_one(tmp_path):
    target = tmp_path / "results"
    message = f"into the folder {target / 'sub'}: there is no such folder"
    with pytest.raises(OutputError, match=re.escape(message)), atomic_folder(target) as temporary:
        write_bytes(temporary / "sub" / "a", b"1")
    assert list(tmp_path.iterdir()) == []


def test_new_folder_appears_whole(tmp_path):
    target = tmp_path / "deep" / "results"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_bytes(b"1")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_bytes(b"2")
        assert not target.exists()
    assert content(tmp_path) == {"deep/results/a": b"1", "deep/results/sub/b": b"2"}


def test_existing_folder_keeps_its_other_files(tmp_path):
    target = tmp_path / "results"
    (target / "sub").mkdir(parents=True)
    (target / "a").write_bytes(b"old")
    (target / "sub" / "mine").write_bytes(b"kept")
    with atomic_folder(target) as temporary:
        (temporary / "a").write_bytes(b"new")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_bytes(b"2")
    assert content(tmp_path) == {"results/a": b"new", "results/sub/mine": b"kept", "results/sub/b": b"2"}


def test_a_failing_block_leaves_an_existing_folder_alone(tmp_path):
    target = tmp_path / "results"
    target.mkdir()
    (target / "a").write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "a").write_bytes(b"new")
        raise RuntimeError
    assert content(tmp_path) == {"results/a": b"old"}
