"""How well do expressions travel between heads? Maps, carried shapes, motion there and back; and what each costs.

    python benchmarks/eval_retarget.py [SET_DIR]

The stand-ins of `tests/standin_heads.py` know where each of their points truly is on the open head. SET_DIR, the
evaluation set of `eval_heads.py`, adds heads of a third model whose sequences come with the weights that made them: the
open head's shapes are carried onto its topology, and weights are read from the true surfaces.

Times are processor seconds of one thread.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The first time a head is met shall be measured as such.
os.environ["LIKENESS_CACHE"] = tempfile.mkdtemp(prefix="likeness-cache-")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import torch

import standin_heads
from animate.test_retarget import NAMES, face_on, talk
from likeness.animate.retarget import retarget
from likeness.animate.transfer import transfer
from likeness.arkit_rig import explained
from likeness.heads import load_head
from likeness.heads.bfm_landmarks import vertex_embedding
from likeness.heads.carried import carried_shapes
from likeness.heads.common_points import common_points
from likeness.heads.contacts import open_contacts
from likeness.heads.correspondence import average_of, correspond, registration_of
from likeness.heads.personal import PersonalHead
from likeness.motion import Motion
from likeness.rig import plain_rig
from likeness.topology import Topology

STANDINS = {
    "flame": (standin_heads.flame_head, standin_heads.flame_mesh, 3),
    "bfm": (standin_heads.bfm_head, standin_heads.bfm_mesh, 5),
}
REGIONS = ("face", "lips", "eyelids", "nose", "brows")


def main() -> None:
    for name, (head, mesh, seed) in STANDINS.items():
        print(f"\n{name} stand-in: {len(mesh().vertices)} vertices")
        seconds = timed(lambda head=head: registration_of(head()))
        print(f"  met for the first time: {seconds:.1f} s")
        maps(head(), mesh(), seed)
        shapes(head())
        motion(head())
        smoothing(head())
    if len(sys.argv) > 1:
        third_model(Path(sys.argv[1]))


def maps(head, mesh, seed: int) -> None:
    opened = load_head("open")
    triangles, region = opened.topology.triangles, opened.topology.region
    found = registration_of(head)
    person = standin_heads.resized(standin_heads.average(), identity=seed)
    error = np.linalg.norm(found.head_to_open.of(person, triangles) - mesh.truth.of(person, triangles), axis=1)
    print("  distance from the true point, mm: median / 95 %")
    for name in REGIONS:
        inside = mesh.carried(region(name)[:, None].astype(float))[:, 0] > 0.5
        print(f"    {name:<8} {np.median(error[inside]):.2f} / {np.percentile(error[inside], 95):.2f}")
    there, back = correspond(opened, head), correspond(head, opened)
    places = average_of(opened)
    returned = back.points.of(there.points.of(places, triangles), head.topology.triangles)
    round_trip = np.linalg.norm(returned - places, axis=1)[back.covered & region("face")]
    print(f"    there and back on the face: {np.median(round_trip):.2f} / {np.percentile(round_trip, 95):.2f}")


def shapes(head) -> None:
    neutral = average_of(head)
    carried = carried_shapes(head, neutral)
    print(f"  ARKit's 52 for one more person: {timed(lambda: carried_shapes(head, neutral)):.2f} s")
    print(f"  face.rig(): {timed(lambda: face_on(head, 1).rig()):.2f} s")
    registration = registration_of(head)
    rows = open_contacts().rows(len(registration.template))
    lips = load_head("open").topology.region("lips")[open_contacts().upper]
    both = abs(rows) @ (~registration.open_covered).astype(float) < 1e-9

    def gaps(vertices, chosen):
        at = registration.open_to_head.of(vertices, head.topology.triangles)
        return np.linalg.norm((rows @ at)[both & chosen], axis=1)

    of = {name: carried[k] for k, name in enumerate(NAMES)}
    blink, jaw, close = of["eyeBlinkLeft"] + of["eyeBlinkRight"], of["jawOpen"], of["mouthClose"]
    wide = gaps(neutral, ~lips) > 4
    print(
        f"  lids apart at rest {np.median(gaps(neutral, ~lips)[wide]):.1f} mm, in a blink "
        f"{np.median(gaps(neutral + blink, ~lips)[wide]):.2f} mm; lips: rest {np.median(gaps(neutral, lips)):.2f}, "
        f"jawOpen {np.percentile(gaps(neutral + jaw, lips), 75):.1f}, with mouthClose "
        f"{np.median(gaps(neutral + jaw + close, lips)):.2f} mm"
    )


def motion(head) -> None:
    open_rig, native = face_on(load_head("open"), 0).rig(), plain_rig(face_on(head, 1))
    curves = talk()
    long = Motion(30.0, NAMES, *(np.tile(part, (250, *[1] * (part.ndim - 1))) for part in per_frame(curves)))
    there = retarget(curves, open_rig, native)
    back = retarget(there, native, open_rig)
    face = load_head("open").topology.region("face")
    moved, returned = (np.einsum("fk,kvc->fvc", m.weights, open_rig.blendshapes)[:, face] for m in (curves, back))
    error = np.linalg.norm(returned - moved, axis=-1)
    print(
        f"  motion into the head's own space and back: {error.mean():.2f} mm, 99 % {np.percentile(error, 99):.2f}, "
        f"of movements up to {np.linalg.norm(moved, axis=-1).max():.0f} mm"
    )
    still = retarget(Motion(30.0, NAMES, *(0 * part for part in per_frame(curves))), open_rig, native)
    print(f"  a driver at rest: largest weight {np.abs(still.weights).max():.1e}")
    first = timed(lambda: retarget(curves, open_rig, native))
    more = timed(lambda: retarget(long, open_rig, native))
    per = (more - first) / (len(long) - len(curves))
    print(f"  retarget: {first:.2f} s to prepare, then {1000 * per:.2f} ms a frame")
    driver, person = face_on(load_head("open"), 3, jawOpen=0.5, mouthSmileLeft=0.8), face_on(head, 1)
    print(f"  transfer of one expression: {timed(lambda: transfer(person, driver)):.2f} s")


def smoothing(head) -> None:
    """What holding frames together does to a noisy driver who keeps still, and to a blink of five frames."""
    open_rig, rig = face_on(load_head("open"), 0).rig(), face_on(head, 1).rig()
    rng, n = np.random.default_rng(0), 40
    noisy = np.clip(0.3 + 0.05 * rng.normal(size=(n, len(NAMES))), 0, 1).astype(np.float32)
    blink = np.zeros((n, len(NAMES)), np.float32)
    blink[18:23, NAMES.index("eyeBlinkLeft")] = (0.3, 0.9, 1.0, 0.6, 0.2)
    print("  smoothness: jitter of a noisy still driver, mm between frames; peak of a short blink")
    for smoothness in (0.0, 0.01, 0.1, 1.0):
        still, closed = (
            retarget(Motion(30.0, NAMES, weights, np.zeros((n, 3)), np.zeros((n, 2, 3))), open_rig, rig, by="surface",
                     smoothness=smoothness).weights
            for weights in (noisy, blink)
        )  # fmt: skip
        steps = np.einsum("fk,kvc->fvc", np.diff(still, axis=0), rig.blendshapes)
        jitter = np.sqrt((np.linalg.norm(steps, axis=-1) ** 2).mean())
        print(f"    {smoothness:<5} {jitter:.2f} mm, {closed[:, NAMES.index('eyeBlinkLeft')].max():.2f}")


def per_frame(motion: Motion) -> tuple[np.ndarray, ...]:
    return motion.weights, motion.head, motion.eyes


def third_model(folder: Path) -> None:
    """Weights read from true surfaces of another model against those that made them."""
    sys.path.insert(0, str(folder))
    from now_like import ARKIT

    with np.load(folder / "topology.npz") as file:
        triangles, landmarks = file["faces"].astype(np.int64), file["lmk68"]
    print("\nthird model: correlation with the weights that made its sequences (shapes that vary by more than 0.05)")
    for sequence in sorted(folder.glob("*/seq.npz")):
        neutral = np.load(sequence.parent / "neutral.npz")["verts"]
        head = PersonalHead(
            neutral=torch.from_numpy(neutral - neutral.mean(0)),
            blendshapes=torch.zeros(1, len(neutral), 3),
            expression_names=("none",),
            topology=Topology(triangles=triangles),
            embeddings={"ibug68": vertex_embedding(landmarks)},
        )
        rig = face_on(head, 0).rig()
        with np.load(sequence) as file:
            moved, truth = file["verts"] - neutral, file["arkit_weights"]
        weights = explained(common_points(registration_of(head), triangles), rig.blendshapes, moved)
        found = {}
        for name in NAMES:
            true, ours = truth[:, ARKIT.index(name)], weights[:, NAMES.index(name)]
            if true.std() > 0.05:
                found[name] = float(np.corrcoef(true, ours)[0, 1]) if ours.std() > 1e-6 else 0.0
        looks = {name: found.pop(name) for name in list(found) if name.startswith("eyeLook")}
        silent = [NAMES.index(name) for name in NAMES if truth[:, ARKIT.index(name)].max() < 0.02]
        print(f"  {sequence.parent.name}: mean {np.mean(list(found.values())):.3f}; " + ", ".join(
            f"{name} {value:.2f}" for name, value in found.items()))  # fmt: skip
        print(f"    shapes that were silent: mean weight {weights[:, silent].mean():.3f}; {len(looks)} looks left out, "
              "as this mesh has no eyeballs")  # fmt: skip


def timed(action) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


if __name__ == "__main__":
    main()
