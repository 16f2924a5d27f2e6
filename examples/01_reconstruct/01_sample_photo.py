"""A photo in, a riggable head out: the sample photo, and where to look.

    python examples/01_reconstruct/01_sample_photo.py [OUT]

The sample is Eileen Collins by NASA, public domain, as it comes with scikit-image. Give any photo of your own to
`likeness reconstruct` instead.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import skimage
from PIL import Image


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    with tempfile.TemporaryDirectory() as scratch:
        photo = Path(scratch) / "astronaut.png"
        Image.fromarray(skimage.data.astronaut()).save(photo)
        subprocess.run([sys.executable, "-m", "likeness.cli", "reconstruct", str(photo), "-o", str(out)], check=True)
    folder = out / "astronaut"
    print(f"\nLook at    {folder / 'overview.png'}")
    print(f"Open       {folder / 'head.glb'}   in Blender, three.js, Unreal: 52 blendshapes, joints, texture")
    print(f"Load       likeness.Face.load('{folder / 'face.safetensors'}')")


if __name__ == "__main__":
    main()
