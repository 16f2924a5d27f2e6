"""How long a frame of a portrait-animation set takes, part by part, in processor time (the machine may be busy).

    python benchmarks/bench_reenact.py [PHOTO ...]

Without photos: the sample photo (an astronaut, public domain) at 512 pixels and enlarged to 2048.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from likeness.api import Reconstructor, read_photo
from likeness.face import Face
from likeness.methods import Photo
from likeness.reenactment.pictures import KINDS, FrameOutput, write_frame
from likeness.reenactment.portrait import Portrait

N_FRAMES = 5
FORK_FILES = ("rendered_images", "masked_rendered_images", "mask", "depth")


def main() -> None:
    torch.set_num_threads(1)
    reconstructor = Reconstructor(method="open", quality="fast", max_faces=1)
    for photo in photos(sys.argv[1:]):
        measure(photo, reconstructor)


def photos(paths: list[str]) -> list[Photo]:
    if paths:
        return [read_photo(path) for path in paths]
    import skimage.data

    sample = Image.fromarray(skimage.data.astronaut())
    large = sample.resize((2048, 2048), Image.Resampling.BICUBIC)
    return [Photo(np.asarray(picture), f"sample {picture.width}") for picture in (sample, large)]


def measure(photo: Photo, reconstructor: Reconstructor) -> None:
    face = reconstructor(photo).faces[0]
    prepare_s, portrait = timed(lambda: Portrait(face, photo.pixels))
    worn = [speaking(face, step / N_FRAMES) for step in range(1, N_FRAMES + 1)]
    portrait.draw(worn[0])
    draw_s = sum(timed(lambda w=w: portrait.draw(w))[0] for w in worn) / N_FRAMES
    made = [FrameOutput(portrait, w, portrait.draw(w)) for w in worn]
    window = portrait.window
    height, width = photo.pixels.shape[:2]
    print(f"\n{photo.name}: {width} x {height}, window {window.width} x {window.height} drawn at {window.scale:g}")
    print(f"  prepare a source      {prepare_s * 1000:6.0f} ms")
    print(f"  draw a frame          {draw_s * 1000:6.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        for files in (FORK_FILES, *((kind,) for kind in KINDS if kind not in FORK_FILES)):
            seconds, _ = timed(lambda f=files: [write_frame(Path(folder), "x", m, f) for m in made])
            print(f"  write {', '.join(files)[:40]:<40} {seconds / N_FRAMES * 1000:6.0f} ms")
    buffer = io.BytesIO()
    seconds, _ = timed(lambda: Image.fromarray(photo.pixels).save(buffer, "PNG", compress_level=1))
    print(f"  (of that, one PNG of the photo's size: {seconds * 1000:.0f} ms)")


def speaking(face: Face, strength: float) -> Face:
    """An open, smiling mouth and half-shut eyes."""
    expression = face.expression.clone()
    for name, weight in (("jawOpen", 0.6), ("mouthSmileLeft", 0.5), ("mouthSmileRight", 0.5), ("eyeBlinkLeft", 0.7)):
        expression[face.head.expression_names.index(name)] = weight * strength
    return replace(face, expression=expression)


def timed(work: Callable) -> tuple[float, object]:
    start = time.process_time()
    with torch.inference_mode():
        result = work()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
