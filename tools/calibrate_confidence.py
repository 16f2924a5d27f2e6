"""Fit the open method's confidence: what tells, before anyone knows the truth, that landmarks are right?

    python tools/calibrate_confidence.py [PHOTOS ...] [--people 100] [--seed 1]

Renders of known people at yaws up to 88°, and PHOTOS (files or folders), are spoilt by `degradations`. A result counts
as right when the fitted head's 68 landmarks lie within 5 % of the face box's side of the true ones (of a photo: of what
was found in it unspoilt). Prints the two rules of `likeness.methods.open.confidence`, and how well they do on
degradations and on people that were left out of the fit. Needs the bake extra.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from calibrate_landmarks import draw_expression
from degradations import DEGRADATIONS, Picture, Points, box_side
from open_head.masks import painted_masks
from open_head.painting import Painter, draw_look
from open_head.source import load_source
from open_head.topology import build_topology
from PIL import Image
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata

from likeness.api import Reconstructor
from likeness.cameras import Pinhole
from likeness.face import Face
from likeness.heads.open_head import load_open_head
from likeness.images import find_photos, read_image
from likeness.methods import Photo
from likeness.methods.open.confidence import looks_doubt, strangeness_of

GOOD = 0.05
RENDER_SIZE = 384
MARGIN = 1.3  # of photos round the face, in sides of its box: the rest only costs time
N_SPOILT = {"render": 3, "photo": 9}
# Pull of the weights towards zero, of standardised numbers: one observation's worth.
RIDGE = 1.0


@dataclass(frozen=True)
class Observation:
    """One face found in a spoilt picture."""

    person: str
    degradation: str
    doubt: float
    residual_mm: float
    strangeness: float
    drift: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="files, or folders of them")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    gather = Gatherer()
    seen = [one for number in range(options.people) for one in gather.of_render(number, rng)]
    if options.photos:
        seen += [one for path in find_photos(options.photos) for one in gather.of_photo(path, rng)]
    good = np.array([one.drift < GOOD for one in seen])
    print(f"{len(seen)} faces found, {good.mean():.3f} of them within {GOOD:.0%}")
    for name in ("doubt", "residual_mm"):
        features = np.array([[np.log(getattr(one, name)), one.strangeness] for one in seen])
        weights, constant = fit(features, good)
        print(f"by {name}: constant={constant:.3f}, doubt={weights[0]:.3f}, strangeness={weights[1]:.3f}")
        for group in ("degradation", "person"):
            probability = held_out(features, good, [getattr(one, group) for one in seen])
            print(
                f"    left out by {group}: Brier score {np.mean((probability - good) ** 2):.4f}, "
                f"area under ROC {area_under_roc(probability, good):.3f}"
            )
    print(f"    for comparison, always the mean: Brier score {good.mean() * (1 - good.mean()):.4f}")


class Gatherer:
    def __init__(self) -> None:
        self.head = load_open_head()
        self.painter = Painter(self.head, painted_masks(build_topology(load_source())))
        self.reconstructor = Reconstructor(method="open", quality="fast", device="cpu")

    def of_render(self, number: int, rng: np.random.Generator) -> Iterator[Observation]:
        """Every other person looks any way up to 88° aside, the others rather ahead."""
        head = self.head
        identity = _float(rng.normal(0, rng.uniform(0.5, 1.1), (1, head.n_identity)))
        shape = head.vertices(identity, _float(draw_expression(head.expression_names, rng)[None]))
        camera = draw_camera(rng.uniform(-88, 88) if number % 2 else rng.normal(0, 20), rng)
        picture = self.painter.render(shape[0].numpy(), camera, RENDER_SIZE, draw_look(rng))
        truth = camera.project(head.embeddings["ibug68"].points(shape))[0].numpy()
        yield from self._observed(f"render {number}", "clean", picture, truth)
        yield from self._spoilt(f"render {number}", picture, truth, N_SPOILT["render"], rng)

    def of_photo(self, path: Path, rng: np.random.Generator) -> Iterator[Observation]:
        image = Image.fromarray(read_image(path))
        image.thumbnail((700, 700))
        clean = self._face(np.asarray(image), None)
        if clean is None:
            return
        truth = clean[0].landmarks("ibug68").image
        centre, reach = truth.mean(0), MARGIN * box_side(truth)
        corner, end = np.maximum(centre - reach, 0).astype(int), (centre + reach).astype(int)
        picture = np.ascontiguousarray(np.asarray(image)[corner[1] : end[1], corner[0] : end[0]])
        yield from self._spoilt(path.name, picture, truth - corner, N_SPOILT["photo"], rng)

    def _spoilt(
        self, person: str, picture: Picture, truth: Points, count: int, rng: np.random.Generator
    ) -> Iterator[Observation]:
        for name in rng.choice(list(DEGRADATIONS), count, replace=False):
            seen, where = DEGRADATIONS[name](picture, truth, rng.uniform(), rng)
            yield from self._observed(person, name, seen, where)

    def _observed(self, person: str, name: str, picture: Picture, truth: Points) -> Iterator[Observation]:
        found = self._face(picture, truth)
        if found is None:
            return
        face, doubt = found
        distance = np.linalg.norm(face.landmarks("ibug68").image - truth, axis=1).mean()
        yield Observation(
            person,
            name,
            doubt,
            face.residuals["landmarks_mm"],
            strangeness_of(face.identity),
            float(distance / box_side(truth)),
        )

    def _face(self, picture: Picture, truth: Points | None) -> tuple[Face, float] | None:
        """The face at these landmarks, or the largest; and the doubt about it."""
        photo = Photo(np.ascontiguousarray(picture), "photo")
        found = self.reconstructor._detector.detect(photo.pixels)
        if truth is not None:
            centre, reach = truth.mean(0), box_side(truth)
            found = [one for one in found if np.linalg.norm(one.points[:, :2].mean(0) - centre) < reach]
        if not found:
            return None
        face = self.reconstructor.together([photo], [found[0]])[0].faces[0]
        return face, looks_doubt(photo.pixels, found[0], device="cpu")


def draw_camera(yaw: float, rng: np.random.Generator) -> Pinhole:
    """A camera that has the head, turned by ``yaw`` degrees and a little otherwise, in a picture of `RENDER_SIZE`."""
    turn = Rotation.from_euler("ZXY", [rng.normal(0, 7), rng.normal(0, 9), yaw], degrees=True).as_matrix()
    distance = float(np.exp(rng.uniform(np.log(420), np.log(2000))))
    return Pinhole.from_focal(
        rotation=_float(np.diag([1.0, -1.0, -1.0]) @ turn)[None],
        translation=_float(np.array([[*rng.uniform(-15, 15, 2), distance]])),
        focal=_float(np.array([rng.uniform(0.45, 0.62) * RENDER_SIZE * distance / 200])),
        centre=torch.full((1, 2), RENDER_SIZE / 2),
    )


def fit(features: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and constant of a logistic regression."""
    mean, spread = features.mean(0), features.std(0)
    design = np.column_stack([(features - mean) / spread, np.ones(len(features))])
    shrunk = np.array([RIDGE] * features.shape[1] + [0.0])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logit = design @ weights
        value = np.logaddexp(0, logit).sum() - (logit * good).sum() + 0.5 * (shrunk * weights**2).sum()
        return float(value), design.T @ (1 / (1 + np.exp(-logit)) - good) + shrunk * weights

    found = minimize(loss, np.zeros(design.shape[1]), jac=True).x
    weights = found[:-1] / spread
    return weights, float(found[-1] - weights @ mean)


def held_out(features: np.ndarray, good: np.ndarray, groups: list[str]) -> np.ndarray:
    """The probability of each, by a rule fitted without its group."""
    probability = np.empty(len(good))
    for group in set(groups):
        inside = np.array([one == group for one in groups])
        weights, constant = fit(features[~inside], good[~inside])
        probability[inside] = 1 / (1 + np.exp(-(features[inside] @ weights + constant)))
    return probability


def area_under_roc(score: np.ndarray, positive: np.ndarray) -> float:
    """How often a positive scores above a negative; NaN without one of either."""
    n_positive, n_negative = positive.sum(), (~positive).sum()
    if not n_positive or not n_negative:
        return float("nan")
    return float((rankdata(score)[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _float(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


if __name__ == "__main__":
    main()
