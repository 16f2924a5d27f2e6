"""Runs an attack where it cannot hurt: in a child process with little memory, which must answer soon."""

import subprocess
import sys
import textwrap

import pytest

MEMORY_LIMIT = 4 << 30
"""Address space, of which the imported libraries' own mappings take the most."""

_CHILD = """
import resource, sys, traceback
{setup}
from likeness.errors import LikenessError
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
for path in sys.argv[1:]:
    try:
        {call}
    except LikenessError as error:
        print("answer: refused:", str(error).replace("\\n", "<newline>"))
    except BaseException:
        print("answer: crashed:", traceback.format_exc().replace("\\n", " | "))
    else:
        print("answer: accepted:", path)
# Not getrusage's: that one remembers how large the parent was when it forked.
status = open("/proc/self/status").read().split()
print("answer:", status[status.index("VmHWM:") + 1])
"""


def assert_refused(paths, *, setup, call, max_megabytes):
    """Each file raises a LikenessError that names it in one line, and no more memory than said is ever in use."""
    if sys.platform != "linux":
        pytest.skip("limits on memory are set the Linux way")
    paths = [str(path) for path in paths]
    program = _CHILD.format(setup=textwrap.dedent(setup), call=call, limit=MEMORY_LIMIT)
    run = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    # Some libraries print remarks of their own.
    lines = [line for line in run.stdout.splitlines() if line.startswith("answer: ")]
    *answers, peak = (line.removeprefix("answer: ") for line in lines)
    assert len(answers) == len(paths), run.stdout
    for path, answer in zip(paths, answers, strict=True):
        assert answer.startswith("refused:") and path in answer and "<newline>" not in answer, answer
    assert int(peak) < max_megabytes * 1024
