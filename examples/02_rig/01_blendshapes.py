"""A Rig: neutral mesh and 52 ARKit blendshapes, evaluated, saved, opened again."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import skimage

import likeness


def main() -> None:
    rig = likeness.reconstruct(skimage.data.astronaut(), quality="fast")[0].rig()
    smile = rig.evaluate({"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
    moved = np.linalg.norm(smile.vertices - rig.neutral, axis=1)
    print(f"{len(rig.blendshape_names)} blendshapes; a full smile moves the skin by up to {moved.max():.1f} mm")

    with TemporaryDirectory() as folder:
        rig.save(Path(folder) / "head.glb")
        rig.save(Path(folder) / "rig.safetensors")
        again = likeness.Rig.load(Path(folder) / "rig.safetensors")
    print("lossless:", np.array_equal(again.blendshapes, rig.blendshapes))


if __name__ == "__main__":
    main()
