"""Learning identity: the regression, its file, and how portraits are kept and spoilt. No portrait is taken here."""

from pathlib import Path

import numpy as np
import pytest
import torch
import train_identity
from PIL import Image
from safetensors.torch import load_file
from train_identity import Observations, Portraits, fit_ridge, read_portraits, spoil, together, write_portraits

from likeness.heads.open_head import load_open_head
from likeness.methods.open.identity_regression import IdentityRegression, identity_mirror
from painted_person import person, photograph


def draw_observations(n: int, n_inputs: int, seed: int) -> Observations:
    """Inputs of very different sizes that tell the identity but for some noise."""
    rng, world = np.random.default_rng(seed), np.random.default_rng(0)
    told, size = rng.normal(3, 1, (n, n_inputs)), np.exp(world.normal(0, 2, n_inputs))
    identity = told @ world.normal(0, 1, (n_inputs, 4)) + rng.normal(0, 0.1, (n, 4))
    return Observations((told * size).astype(np.float32), identity.astype(np.float32))


@pytest.mark.parametrize("n", [20, 31, 200])
def test_either_system_gives_the_least_squares_solution(n: int) -> None:
    """Against the plain twin: the ridge as further rows of a least-squares problem. 20 rows take the dual system."""
    seen = draw_observations(n, 30, 1)
    ridge = fit_ridge(seen)
    x, y = (seen.inputs - ridge.centre) / ridge.scale, seen.identity - ridge.mean
    rows = np.concatenate([x, np.sqrt(train_identity.RIDGE * 30) * np.eye(30)])
    twin = np.linalg.lstsq(rows, np.concatenate([y, np.zeros((30, 4))]), rcond=None)[0]
    assert np.allclose(ridge.weights, twin, atol=1e-6)
    assert np.allclose(ridge(seen.inputs), x @ ridge.weights + ridge.mean)


def test_people_not_seen_are_told_apart() -> None:
    ridge = fit_ridge(together([draw_observations(500, 30, seed) for seed in (1, 2)]))
    unseen = draw_observations(200, 30, 3)
    left = unseen.identity - ridge(unseen.inputs)
    assert left.std() < 0.3 * unseen.identity.std()


def test_an_input_that_never_varies_is_ignored() -> None:
    seen = draw_observations(100, 30, 1)
    seen.inputs[:, 7] = 2.0
    ridge = fit_ridge(seen)
    assert np.isfinite(ridge.weights).all() and np.abs(ridge.weights[7]).max() < 1e-6


def test_the_file_says_what_the_ridge_says(tmp_path: Path) -> None:
    seen = draw_observations(200, 30, 1)
    ridge = fit_ridge(seen)
    train_identity.write_regression(tmp_path / "regression.safetensors", ridge)
    tensors = load_file(tmp_path / "regression.safetensors")
    assert tensors["weights"].dtype == torch.float16 and tensors["weights"].shape == (30, 4)
    read = IdentityRegression(**{name: tensor.float() for name, tensor in tensors.items()})
    # Half precision keeps weights to one part in two thousand.
    assert np.allclose(read(torch.from_numpy(seen.inputs)).numpy(), ridge(seen.inputs), atol=0.02)


def test_kept_portraits_come_back(tmp_path: Path) -> None:
    identity = np.random.default_rng(2).normal(0, 1, (3, 100)).astype(np.float32)
    written = Portraits(identity, [b"one", b"a second", b"3"])
    write_portraits(tmp_path / "portraits-0000.npz", written)
    read = read_portraits(tmp_path / "portraits-0000.npz")
    assert read.jpegs == written.jpegs and np.array_equal(read.identity, identity)
    assert [path.name for path in tmp_path.iterdir()] == ["portraits-0000.npz"]


def test_spoilt_pictures_stay_alike() -> None:
    rng = np.random.default_rng(3)
    small = rng.integers(40, 200, (7, 7, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC))
    for _ in range(10):
        spoilt = spoil(picture, rng)
        assert spoilt.shape == picture.shape and spoilt.dtype == np.uint8
        assert 0 < np.abs(spoilt.astype(float) - picture).mean() < 70
        assert np.corrcoef(spoilt.ravel(), picture.ravel())[0, 1] > 0.8


def test_faces_that_are_found_count_twice_and_others_not_at_all() -> None:
    empty, face = np.zeros((220, 200, 3), np.uint8), photograph(person())
    whose = np.random.default_rng(4).normal(0, 1, (2, 100)).astype(np.float32)
    portraits = Portraits(whose, [train_identity.to_jpeg(Image.fromarray(picture), 95) for picture in (empty, face)])
    seen = train_identity.observe(portraits, np.random.default_rng(5))
    assert np.allclose(seen.identity, [whose[1], whose[1] * identity_mirror(load_open_head()).numpy()])
    assert seen.inputs.shape == (2, 100 + 9 + 81 + 1792) and np.isfinite(seen.inputs).all()
    # The mirrored head leans the other way: cosines of a turn about the vertical stay, its sines change sign.
    rotation = seen.inputs[:, 100:109].reshape(2, 3, 3)
    assert np.allclose(rotation[0] * [[1, -1, -1], [-1, 1, 1], [-1, 1, 1]], rotation[1], atol=0.1)
