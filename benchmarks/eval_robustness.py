"""What becomes of a head when its photo is spoilt, and does the confidence know?

    python benchmarks/eval_robustness.py [PHOTOS ...] [--strengths 0.35 0.7 1] [--people 40] [--sheet FOLDER]

PHOTOS (files or folders; without any, scikit-image's astronaut) are reconstructed as they are and with each degradation
of `tools/degradations.py` at each strength; the drift is the mean distance of the 68 landmarks from those of the clean
photo, in parts of the face box's side. ``--people`` renders so many painted open heads at yaws up to 85° besides: there
the truth is known, and the drift is the error.

Printed for each degradation: how often the face was found, confidence and drift, how far the worst mesh is stretched
(longest and shortest edge, against the same edge of the average head), the largest identity in standard deviations per
number, and the share of triangles turned inside out. Below: how well confidence ranks the drifts (area under the ROC
curve for "drift under 5 %"; Spearman's correlation) and how honest it is (share of good ones by confidence).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata, spearmanr

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from degradations import DEGRADATIONS, Picture, Points, box_side

from likeness.api import Reconstructor
from likeness.cameras import Pinhole
from likeness.face import Face
from likeness.heads.open_head import load_open_head
from likeness.images import find_photos, read_image
from likeness.methods import Photo
from likeness.portraits import overview

GOOD = 0.05
"""Drift, in parts of the face box's side, up to which a result counts as right."""

LARGEST = 1000
RENDER_SIZE = 384
SEED = 20263


@dataclass(frozen=True)
class Outcome:
    """One spoilt picture. Without a face, all but the first two are NaN."""

    name: str
    found: bool
    confidence: float
    drift: float
    longest: float
    shortest: float
    identity: float
    flipped: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="files, or folders of them")
    parser.add_argument("--strengths", nargs="+", type=float, default=[0.35, 0.7, 1.0])
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--sheet", type=Path, help="a folder for overviews of the doubtful and the wrong")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.sheet)
    outcomes = [one for picture in pictures(options.photos) for one in bench.spoilt(picture, options.strengths)]
    outcomes += bench.rendered(options.people)
    report(outcomes)


def pictures(photos: list[Path]) -> Iterator[Picture]:
    if not photos:
        import skimage.data

        yield skimage.data.astronaut()
        return
    for path in find_photos(photos):
        image = Image.fromarray(read_image(path))
        image.thumbnail((LARGEST, LARGEST))
        yield np.asarray(image)


class Bench:
    def __init__(self, sheets: Path | None) -> None:
        self.reconstructor = Reconstructor(method="open", quality="fast", device="cpu")
        self.head = load_open_head()
        self.sheets = sheets
        mean = self.head.vertices(torch.zeros(1, self.head.n_identity))[0]
        self.mean_edges, self.mean_normals = self._edges(mean), self._normals(mean)
        # Shorter edges are stretched by any movement: lip lines, eye corners.
        self.long_edges = self.mean_edges > 2.0

    def spoilt(self, picture: Picture, strengths: list[float]) -> Iterator[Outcome]:
        clean = self._face_at(picture, None)
        if clean is None:
            return
        truth = clean.landmarks("ibug68").image
        yield self._judged("clean", clean, truth)
        for name, degrade in DEGRADATIONS.items():
            for strength in strengths:
                seen, where = degrade(picture, truth, strength, np.random.default_rng(SEED))
                yield self._outcome(name, seen, where)

    def rendered(self, n_people: int) -> Iterator[Outcome]:
        if not n_people:
            return
        from calibrate_landmarks import draw_expression
        from open_head.masks import painted_masks
        from open_head.painting import Painter, draw_look
        from open_head.source import load_source
        from open_head.topology import build_topology

        painter, rng = Painter(self.head, painted_masks(build_topology(load_source()))), np.random.default_rng(SEED)
        for number in range(n_people):
            yaw = 85 * (number + 0.5) / n_people
            identity = torch.from_numpy(rng.normal(0, 0.8, (1, self.head.n_identity))).float()
            expression = torch.from_numpy(draw_expression(self.head.expression_names, rng)[None]).float()
            shape, camera = self.head.vertices(identity, expression), _camera(yaw * rng.choice([-1, 1]), rng)
            picture = painter.render(shape[0].numpy(), camera, RENDER_SIZE, draw_look(rng))
            truth = camera.project(self.head.embeddings["ibug68"].points(shape))[0].numpy()
            yield self._outcome(f"yaw {30 * int(yaw / 30)}-{min(30 * int(yaw / 30) + 30, 85)}", picture, truth)

    def _outcome(self, name: str, picture: Picture, truth: Points) -> Outcome:
        face = self._face_at(picture, truth)
        if face is None:
            return Outcome(name, False, *[np.nan] * 6)
        outcome = self._judged(name, face, truth)
        if self.sheets is not None and (outcome.confidence < 0.2 or outcome.drift > 2 * GOOD):
            self.sheets.mkdir(parents=True, exist_ok=True)
            number = len(list(self.sheets.glob("*.jpg")))
            caption = f"{number:03d}-{name}-confidence{outcome.confidence:.2f}-drift{outcome.drift:.3f}.jpg"
            Image.fromarray(overview(picture, face)).save(self.sheets / caption)
        return outcome

    def _face_at(self, picture: Picture, truth: Points | None) -> Face | None:
        """The face at these landmarks, or the largest."""
        photo = Photo(np.ascontiguousarray(picture), "photo")
        found = self.reconstructor._detector.detect(photo.pixels)
        if truth is not None:
            centre, reach = truth.mean(0), box_side(truth)
            found = [one for one in found if np.linalg.norm(one.points[:, :2].mean(0) - centre) < reach]
        return self.reconstructor.together([photo], [found[0]])[0].faces[0] if found else None

    def _judged(self, name: str, face: Face, truth: Points) -> Outcome:
        distance = np.linalg.norm(face.landmarks("ibug68").image - truth, axis=1).mean()
        stretch = (self._edges(face.vertices) / self.mean_edges)[self.long_edges]
        flipped = (self._normals(face.neutral_vertices) * self.mean_normals).sum(-1) < 0
        return Outcome(
            name,
            True,
            face.confidence,
            float(distance / box_side(truth)),
            float(stretch.max()),
            float(stretch.min()),
            float(face.identity.norm() / len(face.identity) ** 0.5),
            float(flipped.float().mean()),
        )

    def _edges(self, vertices: torch.Tensor) -> torch.Tensor:
        corners = vertices[self.head.topology.triangles_tensor]
        return (corners - corners.roll(1, 1)).norm(dim=-1).clamp_min(1e-6)

    def _normals(self, vertices: torch.Tensor) -> torch.Tensor:
        a, b, c = vertices[self.head.topology.triangles_tensor].unbind(1)
        return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)


def _camera(yaw: float, rng: np.random.Generator) -> Pinhole:
    turn = Rotation.from_euler("ZXY", [rng.normal(0, 6), rng.normal(0, 8), yaw], degrees=True).as_matrix()
    distance = float(np.exp(rng.uniform(np.log(450), np.log(2000))))
    return Pinhole.from_focal(
        rotation=torch.from_numpy(np.diag([1.0, -1.0, -1.0]) @ turn).float()[None],
        translation=torch.tensor([[*rng.uniform(-15, 15, 2), distance]], dtype=torch.float32),
        focal=torch.tensor([rng.uniform(0.45, 0.62) * RENDER_SIZE * distance / 200], dtype=torch.float32),
        centre=torch.full((1, 2), RENDER_SIZE / 2),
    )


def report(outcomes: list[Outcome]) -> None:
    print(f"{'':12} {'n':>4} found  confidence  drift %: median  worst   stretch     identity  flipped %")
    for name in dict.fromkeys(outcome.name for outcome in outcomes):
        rows = [outcome for outcome in outcomes if outcome.name == name]
        seen = [outcome for outcome in rows if outcome.found]
        line = f"{name:12} {len(rows):4} {100 * len(seen) / len(rows):4.0f}%"
        if seen:
            confidence, drift = ([getattr(outcome, key) for outcome in seen] for key in ("confidence", "drift"))
            line += f"  {np.mean(confidence):10.2f}  {100 * np.median(drift):15.1f}  {100 * max(drift):5.1f}"
            line += f"   {min(o.shortest for o in seen):.2f}-{max(o.longest for o in seen):.2f}"
            line += f"  {max(o.identity for o in seen):10.2f}  {100 * max(o.flipped for o in seen):9.2f}"
        print(line)
    seen = [outcome for outcome in outcomes if outcome.found]
    confidence = np.array([outcome.confidence for outcome in seen])
    drift = np.array([outcome.drift for outcome in seen])
    good = drift < GOOD
    print(f"\n{len(seen)} faces, {100 * good.mean():.0f} % of them within {100 * GOOD:.0f} %")
    print(
        f"Spearman's correlation of confidence and drift {spearmanr(confidence, drift).statistic:.2f}; "
        f"area under the ROC curve {area_under_roc(confidence, good):.3f}; "
        f"Brier score {np.mean((confidence - good) ** 2):.3f} (always the mean: {good.mean() * (1 - good.mean()):.3f})"
    )
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = (confidence >= low) & (confidence < high)
        if inside.any():
            print(
                f"  confidence {low:.2f}-{min(high, 1):.2f}: {inside.sum():4} faces, "
                f"mean {confidence[inside].mean():.2f}, within {100 * GOOD:.0f} %: {good[inside].mean():.2f}"
            )


def area_under_roc(score: np.ndarray, positive: np.ndarray) -> float:
    n_positive, n_negative = positive.sum(), (~positive).sum()
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


if __name__ == "__main__":
    main()
