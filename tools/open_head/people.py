"""A seeded crowd of plausible people, as MakeHuman phenotypes and local changes of the head."""

import numpy as np

from open_head.source import Array, Source

SEED = 20260
N_PEOPLE = 2000

# A local change at full strength moves its farthest vertex by up to 30 mm, which is a caricature. Each is drawn with
# the standard deviation that moves its farthest vertex by this many millimetres.
PEAK_MM = 1.5
PEAK_MM_OF = {
    "ear": 2.0, "neck": 2.0, "head-scale": 3.0, "forehead": 2.5, "chin": 1.8, "nose": 1.3, "mouth": 1.1, "eye-": 0.9,
}  # fmt: skip
MAX_STRENGTH_STD = 0.35
# One side departs from the pair's common value by this fraction of the standard deviation.
ASYMMETRY = 0.25

HEAD_PREFIXES = ("cheek", "chin", "ear", "eye", "eyebrows", "forehead", "head", "mouth", "neck", "nose")
# Moves of the whole head on the body; the alignment would take them out again.
SKIPPED = ("head-trans-", "head-angle-out", "neck-trans-", "neck-scale-vert", "measure-neck-height")


def draw_people(source: Source) -> tuple[Array, Array]:
    """(N_PEOPLE, P) phenotypes and (N_PEOPLE, L) local changes, the same for every call."""
    rng = np.random.default_rng(SEED)
    return _phenotypes(source, rng), _local_changes(source, rng)


def _phenotypes(source: Source, rng: np.random.Generator) -> Array:
    """Body height and proportions stay neutral: they would only move the head about."""
    values = {name: np.full(N_PEOPLE, 0.5) for name in source.phenotype_names}
    values["gender"] = rng.uniform(0.0, 1.0, N_PEOPLE)
    # anny's age: 1/3 a child, 2/3 a young adult, 1 old
    is_child = rng.uniform(size=N_PEOPLE) < 0.08
    values["age"] = np.where(is_child, rng.uniform(0.4, 0.6, N_PEOPLE), rng.uniform(0.6, 1.0, N_PEOPLE))
    values["muscle"] = rng.normal(0.5, 0.18, N_PEOPLE).clip(0.0, 1.0)
    values["weight"] = rng.normal(0.5, 0.2, N_PEOPLE).clip(0.0, 1.0)
    ancestry = rng.dirichlet([0.6, 0.6, 0.6], N_PEOPLE)
    for column, name in enumerate(("african", "asian", "caucasian")):
        values[name] = ancestry[:, column]
    return np.stack([values[name] for name in source.phenotype_names], axis=1)


def _local_changes(source: Source, rng: np.random.Generator) -> Array:
    n_local = len(source.local_names)
    pairs = source.targets[-2 * n_local :].reshape(n_local, 2, -1, 3)
    peak_mm = np.linalg.norm(pairs, axis=-1).max(axis=(1, 2))
    values = np.zeros((N_PEOPLE, n_local))
    for column, name in enumerate(source.local_names):
        base = name.removeprefix("l-").removeprefix("r-").removeprefix("measure-")
        if not base.startswith(HEAD_PREFIXES) or name.startswith(SKIPPED):
            continue
        std = min(MAX_STRENGTH_STD, _peak(base) / max(peak_mm[column], 1e-6))
        if name.startswith("r-"):
            common = values[:, source.local_names.index("l-" + base)]
            values[:, column] = common + rng.normal(0.0, ASYMMETRY * std, N_PEOPLE)
        else:
            # "trans-out" without a side shifts the part sideways: an asymmetry, and as small as one
            std *= ASYMMETRY if name.endswith("trans-out") and not name.startswith("l-") else 1.0
            values[:, column] = rng.normal(0.0, std, N_PEOPLE)
    return values.clip(-1.0, 1.0)


def _peak(name: str) -> float:
    return next((mm for prefix, mm in PEAK_MM_OF.items() if name.startswith(prefix)), PEAK_MM)
