"""DECA's parts beside what they replace, on synthetic data and stand-in weights.

    pip install smplx        # for the first table only
    python benchmarks/bench_deca.py [--rounds 30] [--threads 2]

FLAME: ours against `smplx`'s on the same numbers (100 shape, 50 expression components, 68 landmarks with the moving
contour). Networks: encoders and decoder of one picture against the plain eager modules of the same weights. Rasteriser:
one head.

Both sides of a comparison run in turns, so that what else the machine does falls on both. "wall" is the median of the
ratios of neighbouring runs, "work" the same of processor time, which hardly minds neighbours; the times are the best of
all runs.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import synthetic_deca
import synthetic_flame
from likeness.heads import Flame
from likeness.methods.deca.geometry import pose_geometry
from likeness.methods.deca.inference import fast_networks
from likeness.methods.deca.pictures import Frame, draw_buffers
from likeness.render import rasterize

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rounds = arguments.rounds
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {rounds} rounds\n")
    print(f"{'theirs / ours':<46}{'wall':>6}{'work':>6}{'theirs, ms':>12}{'ours, ms':>10}")
    for table in (flame_table, network_table):
        for name, theirs, ours in table():
            compare(name, theirs, ours, rounds)
    for name, run in rasteriser_table():
        wall = min(measure(run)[0] for _ in range(rounds))
        print(f"{name:<46}{'':>6}{'':>6}{'':>12}{1e3 * wall:>10.2f}")


def compare(name: str, theirs: Run, ours: Run, rounds: int) -> None:
    theirs(), ours()
    pairs = np.array([(measure(theirs), measure(ours)) for _ in range(rounds)])
    wall, work = np.median(pairs[:, 0] / pairs[:, 1], 0)
    best = 1e3 * pairs[:, :, 0].min(0)
    print(f"{name:<46}{wall:>6.2f}{work:>6.2f}{best[0]:>12.2f}{best[1]:>10.2f}")


def measure(run: Run) -> tuple[float, float]:
    """Wall and processor time of a run, s."""
    begin = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


# ------------------------------------------------------------------ FLAME


def flame_table():
    if find_spec("smplx") is None:
        print("FLAME: not compared, `smplx` is not installed")
        return
    layer = Flame(synthetic_flame.flame_model(), n_shape=100, n_expression=50)
    places = synthetic_flame.flame_embeddings()
    for batch in (1, 64):
        draw = torch.Generator().manual_seed(batch)
        shape, expression = torch.randn(batch, 100, generator=draw), torch.randn(batch, 50, generator=draw)
        turns = 0.2 * torch.randn(batch, 5, 3, generator=draw)
        theirs = smplx_flame(batch)
        kwargs = dict(
            zip(("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose"), turns.unbind(1), strict=True)
        )
        prepared = layer.prepare(shape[:1])

        def run_theirs(theirs=theirs, shape=shape, expression=expression, kwargs=kwargs):
            return theirs(betas=shape, expression=expression, **kwargs)

        def run_ours(shape=shape, expression=expression, turns=turns):
            vertices = layer(shape, expression, turns)
            return vertices, places.moving(vertices, turns)

        def run_prepared(prepared=prepared, expression=expression, turns=turns):
            vertices = layer.pose(prepared, expression, turns)
            return vertices, places.moving(vertices, turns)

        error = (run_theirs().vertices - run_ours()[0]).abs().max()
        assert error < 1e-6, f"the two FLAMEs differ by {error} m"
        with_grad = [code.clone().requires_grad_() for code in (shape, expression)]
        yield f"FLAME, batch {batch}", no_grad(run_theirs), no_grad(run_ours)
        yield f"FLAME, batch {batch}, identity prepared", no_grad(run_theirs), no_grad(run_prepared)
        yield (
            f"FLAME, batch {batch}, with gradients",
            lambda run=run_theirs, codes=with_grad: run(shape=codes[0], expression=codes[1]).vertices.sum().backward(),
            lambda run=run_ours, codes=with_grad: run(shape=codes[0], expression=codes[1])[0].sum().backward(),
        )


def smplx_flame(batch: int):
    """`smplx`'s FLAME on the synthetic numbers, in a file without `chumpy`, which it could not read."""
    import smplx

    model, embedding = dict(synthetic_flame.model()), synthetic_flame.embedding()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "FLAME_NEUTRAL.pkl").write_bytes(pickle.dumps(model))
        static = {
            "lmk_face_idx": embedding["static_lmk_faces_idx"],
            "lmk_b_coords": embedding["static_lmk_bary_coords"],
        }
        (path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(static))
        moving = {
            "lmk_face_idx": embedding["dynamic_lmk_faces_idx"],
            "lmk_b_coords": embedding["dynamic_lmk_bary_coords"],
        }
        np.save(path / "flame_dynamic_embedding.npy", np.array(moving, dtype=object), allow_pickle=True)
        made = smplx.FLAME(folder, num_betas=100, num_expression_coeffs=50, batch_size=batch, use_face_contour=True)
    return made.requires_grad_(False)


def no_grad(run: Run) -> Run:
    def quiet():
        with torch.no_grad():
            return run()

    return quiet


# ------------------------------------------------------------------ networks


def network_table():
    plain = synthetic_deca.networks()
    image = synthetic_deca.golden("encoder")["images_u8"][:1].float() / 255
    latent = synthetic_deca.golden("detail_decoder")["latent_jaw3_exp50_detail128"][:1].split([3, 50, 128], 1)

    def encode_decode(networks) -> Run:
        return no_grad(lambda: (networks.coarse(image), networks.detail(image), networks.decoder(*latent)))

    slow = encode_decode(plain)
    for precision in ("full", "bfloat16"):
        fast = fast_networks(plain, precision)
        exact, rough = slow(), encode_decode(fast)()
        error = max(float((a - b).norm() / a.norm()) for a, b in zip(exact, rough, strict=True))
        yield f"encode + decode, {precision} (differs {error:.0e})", slow, encode_decode(fast)
        if precision == "full":
            yield "  one encoder", no_grad(lambda: plain.coarse(image)), no_grad(lambda fast=fast: fast.coarse(image))
            yield "  decoder", no_grad(lambda: plain.decoder(*latent)), no_grad(lambda fast=fast: fast.decoder(*latent))


# ------------------------------------------------------------------ rasteriser


def rasteriser_table():
    model = synthetic_deca.model()
    code, crop = synthetic_deca.scene()
    geometry = pose_geometry(model, code)
    for side in (224, 1024):
        frame = Frame(torch.zeros(1, 3, side, side))
        vertices_px = frame.to_pixels(geometry.vertices_image)
        vertices_px[..., :2] *= side / crop.shape[-1]
        yield (
            f"rasterise 9,976 triangles at {side}²",
            lambda side=side, px=vertices_px: rasterize(px, model.triangles, (side, side), perspective=False),
        )
    frame = Frame(crop)
    yield "rasterise + interpolate all of DECA's at 224²", lambda: draw_buffers(model, geometry, frame)


if __name__ == "__main__":
    main()
