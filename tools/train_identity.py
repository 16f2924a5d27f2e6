"""Learn identity from the landmark network's inner layers: the open method's `identity_regression`.

    python tools/train_identity.py [--count 6000] [--jobs 2] [--keep FOLDER]

Takes portraits of known people, finds and fits their landmarks, and solves a ridge regression from fitted identity and
pose and the network's inner layers to the true identity. With --keep the portraits stay in FOLDER, and a run that was
stopped goes on from them. Needs the bake and portraits extras, and about an hour on two cores. A path tracer's and
a network's floats differ in their last bits between machines, so the file is kept, not made again in a test.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from calibrate_landmarks import SIZE as CAMERA_SIZE
from calibrate_landmarks import draw_camera, draw_expression
from open_head.portrait_paint import draw_portrait_look
from open_head.portrait_people import People, jitter_expression
from PIL import Image, ImageFilter
from safetensors.numpy import save
from tqdm import tqdm

from likeness.atomic import atomic_path, write_bytes
from likeness.cameras import Similarity
from likeness.heads import load_head
from likeness.heads.open_head import load_open_head
from likeness.landmarks import MediaPipe
from likeness.landmarks.face_mesh import inner_features
from likeness.methods.open.calibration import Calibration, calibrate
from likeness.methods.open.fit import fit_landmarks
from likeness.methods.open.identity_regression import identity_mirror, regression_inputs

OUTPUT = Path(__file__).parents[1] / "src/likeness/methods/open/identity_regression.safetensors"
SIZE = 224
BLOCK = 100
SEED = 20262
RIDGE = 0.1
HELD_OUT = 10  # every tenth block, for the report alone


@dataclass(frozen=True)
class Portraits:
    """N people and the JPEG files of their portraits: the network is to see what cameras make."""

    identity: np.ndarray  # (N, I) float32
    jpegs: list[bytes]


@dataclass(frozen=True)
class Observations:
    """What is seen of N faces, and whose they are."""

    inputs: np.ndarray  # (N, F) float32
    identity: np.ndarray  # (N, I) float32


@dataclass(frozen=True)
class Ridge:
    """identity = ((inputs - centre) / scale) @ weights + mean."""

    weights: np.ndarray  # (F, I)
    centre: np.ndarray  # (F,)
    scale: np.ndarray  # (F,)
    mean: np.ndarray  # (I,)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return ((inputs - self.centre) / self.scale) @ self.weights + self.mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=6000, help="portraits, in blocks of a hundred")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the portraits are kept, and found again")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        blocks = observe_blocks(folder, -(-options.count // BLOCK), options.jobs)
    report(blocks)
    write_regression(options.output, fit_ridge(together(blocks)))


def observe_blocks(folder: Path, n_blocks: int, jobs: int) -> list[Observations]:
    """Blocks of 100, each with its own seed: the result does not depend on the number of jobs."""
    # Mitsuba's threads do not outlive a fork.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        done = pool.map(partial(observe_block, folder), range(n_blocks))
        return list(tqdm(done, total=n_blocks, unit="block"))


def observe_block(folder: Path, block: int) -> Observations:
    torch.set_num_threads(1)
    path = folder / f"portraits-{block:04d}.npz"
    if not path.exists():
        write_portraits(path, shoot(block))
    return observe(read_portraits(path), np.random.default_rng([SEED, block, 1]))


def shoot(block: int, count: int = BLOCK) -> Portraits:
    """Portraits of random people in random poses, expressions and light."""
    # Here, so that what needs no portraits needs no path tracer.
    from open_head.portraits import Studio

    rng, head = np.random.default_rng([SEED, block]), load_open_head()
    people, studio = People(head), Studio(head)
    to_size = Similarity(torch.tensor([SIZE / CAMERA_SIZE]), torch.zeros(1), torch.zeros(1, 2))
    identities, jpegs = [], []
    for _ in range(count):
        person = people.draw(rng)
        names = head.expression_names
        expression = jitter_expression(draw_expression(names, rng), names, rng)
        shape = head.vertices(_float(person.coefficients)[None], _float(expression)[None])[0].numpy() + person.offsets
        camera = draw_camera(rng)[1].apply(to_size)
        picture = studio.render(shape, camera, SIZE, draw_portrait_look(rng), rng)
        identities.append(person.identity)
        jpegs.append(to_jpeg(Image.fromarray(picture), 95))
    return Portraits(np.stack(identities).astype(np.float32), jpegs)


def write_portraits(path: Path, portraits: Portraits) -> None:
    ends = np.cumsum([len(jpeg) for jpeg in portraits.jpegs])
    data = np.frombuffer(b"".join(portraits.jpegs), np.uint8)
    with atomic_path(path) as temporary:
        np.savez(temporary, identity=portraits.identity, jpegs=data, ends=ends)


def read_portraits(path: Path) -> Portraits:
    with np.load(path) as file:
        parts = np.split(file["jpegs"], file["ends"][:-1])
        return Portraits(file["identity"], [part.tobytes() for part in parts])


def observe(portraits: Portraits, rng: np.random.Generator) -> Observations:
    """Each face twice, as far as it is found: as it is, and mirrored in a picture that has been through more."""
    head, calibration, detector = load_open_head(), _calibration(), MediaPipe(device="cpu", min_score=0.2)
    signs = identity_mirror(head).numpy()
    inputs, identities = [], []
    for identity, jpeg in zip(portraits.identity, portraits.jpegs, strict=True):
        picture = np.asarray(Image.open(io.BytesIO(jpeg)))
        mirrored = np.ascontiguousarray(spoil(picture, rng)[:, ::-1])
        for image, whose in ((picture, identity), (mirrored, identity * signs)):
            found = detector.detect(image, max_faces=1)
            if found:
                inputs.append(_inputs(calibration, image, found[0].points))
                identities.append(whose)
    return Observations(np.stack(inputs), np.stack(identities))


def _inputs(calibration: Calibration, image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(F) what the regression gets of one face with these points (478, 3)."""
    fit = fit_landmarks(calibration, torch.from_numpy(points.copy())[None], [image.shape[:2]], [None])
    features = torch.from_numpy(inner_features(image, [points]))
    return regression_inputs(fit.identity[None], fit.camera.rotation, features)[0].numpy()


def spoil(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8: small or soft at times, another tone, some noise, and a JPEG of any quality."""
    image = Image.fromarray(picture)
    if rng.random() < 0.4:
        side = int(rng.uniform(110, 256))
        image = image.resize((side, side), Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)
    elif rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))
    tone = (np.asarray(image) / 255.0) ** np.exp(rng.normal(0, 0.2))
    tone = tone * np.exp(rng.normal(0, 0.04, 3)) + rng.normal(0, 0.02)
    tone = tone + rng.normal(0, rng.uniform(0, 0.02), tone.shape)
    spoilt = Image.fromarray((tone.clip(0, 1) * 255).astype(np.uint8))
    return np.asarray(Image.open(io.BytesIO(to_jpeg(spoilt, int(rng.integers(40, 95))))))


def to_jpeg(image: Image.Image, quality: int) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def together(blocks: list[Observations]) -> Observations:
    """One of several."""
    return Observations(
        np.concatenate([block.inputs for block in blocks]), np.concatenate([block.identity for block in blocks])
    )


def fit_ridge(seen: Observations) -> Ridge:
    """Ridge regression on standardised inputs, the penalty on weights being ``RIDGE`` times their number."""
    inputs, mean = seen.inputs.astype(np.float64), seen.identity.astype(np.float64).mean(0)
    deviation = inputs.std(0)
    # An input that hardly varies shall not be blown up.
    scale = deviation + 1e-3 * deviation.mean() + 1e-6
    centre = inputs.mean(0)
    weights = _solve_ridge((inputs - centre) / scale, seen.identity - mean)
    return Ridge(weights, centre, scale, mean)


def _solve_ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(F, I): argmin of |x w - y|² + RIDGE F |w|², by the smaller of the two systems that say so."""
    n, n_inputs = x.shape
    if n < n_inputs:
        return x.T @ np.linalg.solve(x @ x.T / n_inputs + RIDGE * np.eye(n), y) / n_inputs
    return np.linalg.solve(x.T @ x / n_inputs + RIDGE * np.eye(n_inputs), x.T @ y / n_inputs)


def report(blocks: list[Observations]) -> None:
    """How well people are told whom the regression has not seen: root mean square over their faces' points."""
    print(f"{sum(len(block.identity) for block in blocks)} faces found")
    unseen, seen = blocks[::HELD_OUT], [block for i, block in enumerate(blocks) if i % HELD_OUT]
    if not seen:
        return
    test, gram = together(unseen), People(load_open_head()).face_gram()
    guesses = {
        "mean": test.identity.mean(0),
        "landmarks": test.inputs[:, : test.identity.shape[1]],
        "regression": fit_ridge(together(seen))(test.inputs),
    }
    for name, guess in guesses.items():
        error = guess - test.identity
        print(f"by {name:10}: {np.sqrt(np.einsum('ni,ij,nj->n', error, gram, error).mean()):.2f} mm")


def write_regression(path: Path, ridge: Ridge) -> None:
    """The file that `likeness.methods.open.identity_regression` reads."""
    tensors = {
        "weights": ridge.weights.astype(np.float16),
        "centre": ridge.centre.astype(np.float32),
        "scale": ridge.scale.astype(np.float32),
        "mean": ridge.mean.astype(np.float32),
    }
    write_bytes(path, save(tensors))


@cache
def _calibration() -> Calibration:
    return calibrate(load_head("open"), "mediapipe478")


def _float(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


if __name__ == "__main__":
    main()
