"""How near is the re-render to the photo, and how far is the light out of the texture?

    python benchmarks/eval_texture.py SET_DIR [--size 1024]

SET_DIR holds ``idNN/viewK.jpg``, several photos of each person in other light or another pose, and ``index.json`` with
each person's skin ``tone`` (0 light … 1 dark). Every photo is reconstructed alone with the open method; then

- re-render: the head under its own light over the photo, difference in the face region (sRGB 0 … 1, and PSNR);
- sameness: each person's albedo from view0 against those from the other views, where both see skin; beside it the same
  for the photos' raw colours on the same texels (what a texture is without taking the light out), and both again after
  one factor a channel (exposure and white balance) is taken out, so that only what varies over the face is left;
- tone: rank correlation of the skin's green albedo with the person's tone over all photos, and of the raw colour.

The set is not part of this repository.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from likeness.api import Reconstructor, read_photo
from likeness.appearance.chart import ZONE_NAMES, zone_maps
from likeness.appearance.read import Appearance, read_appearance
from likeness.appearance.rerender import RerenderError, rerender_error
from likeness.appearance.unwrap import COARSE, unwrap
from likeness.errors import NoFaceError
from likeness.lighting import ambient_light, linear_to_srgb
from likeness.texture import paint_albedo


@dataclass(frozen=True, eq=False)
class Sample:
    """One photo: its ``albedo`` and ``raw`` colours on the chart (3, S, S) sRGB, and the skin it shows (S, S)."""

    name: str
    albedo: Tensor
    raw: Tensor
    shown: Tensor
    green: float
    raw_green: float
    error: RerenderError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--size", type=int, default=1024, help="texels a side")
    arguments = parser.parse_args()
    index = json.loads((arguments.set / "index.json").read_text())
    reconstructor = Reconstructor(method="open", max_faces=1, quality="fast")
    people: dict[str, list[Sample]] = {}
    began = time.process_time()
    for path in sorted(arguments.set.glob("*/view*.jpg")):
        try:
            people.setdefault(path.parent.name, []).append(take(path, reconstructor, arguments.size))
        except NoFaceError as error:
            print(error)
    samples = [sample for person in people.values() for sample in person]
    print(f"{len(samples)} photos of {len(people)} people, {time.process_time() - began:.0f} s of CPU time")
    report_rerender(samples)
    report_sameness(people)
    report_tone(samples, index)


def take(path: Path, reconstructor: Reconstructor, size: int) -> Sample:
    """Reconstruct one photo and lay it out on the chart, with and without its light."""
    photo = read_photo(path)
    face = reconstructor(photo).faces[0]
    appearance = read_appearance(face, photo.pixels)
    albedo, (light,) = paint_albedo([appearance], [photo.pixels], size=size)
    error = rerender_error(replace(face, albedo=albedo, light=light), photo.pixels)
    raw, shown = raw_colours(appearance, photo.pixels, size)
    cheeks = appearance.view.zones.safe * appearance.confidence > 0.5
    raw_green = float(appearance.view.colour[cheeks, 1].median()) if bool(cheeks.any()) else float("nan")
    name = f"{path.parent.name}/{path.stem}"
    return Sample(name, albedo, raw, shown, float(appearance.skin.base[1]), raw_green, error)


def raw_colours(appearance: Appearance, pixels: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """The photo's own colours on the chart, and where they show skin of the middle of the face squarely."""
    coarse = min(size, COARSE)
    unlit = replace(appearance, light=ambient_light(torch.ones(1, 3))[0])
    layer = unwrap(unlit, pixels, torch.ones(3, coarse, coarse), size=size)
    centre = zone_maps(appearance.view.face.head)[ZONE_NAMES.index("centre")][None, None]
    centre = torch.nn.functional.interpolate(centre, (coarse, coarse), mode="area")[0, 0]
    shown = (layer.seen > 0.5) & (layer.skin > 0.5) & (centre > 0.3)
    shown = torch.nn.functional.interpolate(shown[None, None].float(), (size, size))[0, 0] > 0
    return linear_to_srgb(layer.excess.exp().clamp(0, 1)), shown & layer.reached


def report_rerender(samples: list[Sample]) -> None:
    print("\nre-render in the face region     mean |difference|      rms     PSNR dB")
    for view in ("view0", "view1", "view2", ""):
        errors = [sample.error for sample in samples if sample.name.endswith(view)]
        mean = np.mean([(e.mean_absolute, e.rms, e.psnr) for e in errors], axis=0)
        print(
            f"  {view or 'all':8s} ({len(errors):2d})                    {mean[0]:12.4f} {mean[1]:8.4f} {mean[2]:11.2f}"
        )


def report_sameness(people: dict[str, list[Sample]]) -> None:
    """Differences between a person's maps; brightness and tint of the whole are then taken out."""
    print("\nview0's map against the others', mean |difference| in sRGB     albedo      raw     ratio")
    for label, matched in (("as they are", False), ("one factor a channel taken out", True)):
        pairs = []
        for first, *others in people.values():
            for other in others:
                both = first.shown & other.shown
                if int(both.sum()) > 500:
                    pairs.append([_difference(getattr(first, k), getattr(other, k), both, matched) for k in MAPS])
        albedo, raw = np.mean(pairs, axis=0)
        print(f"  {label:34s} ({len(pairs)} pairs)        {albedo:12.4f} {raw:8.4f} {albedo / raw:9.2f}")


MAPS = ("albedo", "raw")


def _difference(first: Tensor, second: Tensor, both: Tensor, matched: bool) -> float:
    a, b = first[:, both], second[:, both]
    if matched:
        # At the same level for both kinds of map, or the darker ones would win.
        a, b = (0.5 * x / x.mean(1, keepdim=True) for x in (a, b))
    return float((a - b).abs().mean())


def report_tone(samples: list[Sample], index: dict) -> None:
    tones = [index[sample.name.split("/")[0]]["tone"] for sample in samples]
    albedo = spearmanr([-sample.green for sample in samples], tones).statistic
    raw = spearmanr([-sample.raw_green for sample in samples], tones).statistic
    print(f"\nrank correlation with the person's tone: albedo {albedo:.2f}, raw colour {raw:.2f}")


if __name__ == "__main__":
    main()
