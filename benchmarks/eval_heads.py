"""How near are the heads to the truth? Scores a method on a set of rendered or scanned heads with known geometry.

    python benchmarks/eval_heads.py SET_DIR [--same-person] [--method open] [--quality fast] [--kind neutral]

SET_DIR holds ``idNN/viewK.jpg`` with their truth and the metric ``now_like.py`` (alignment and distances after the NoW
challenge). Every photo is reconstructed alone, or with ``--same-person`` all photos of a person together; the table is
the metric's own. The set is not part of this repository.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np

import likeness
from likeness.api import Reconstructor, read_photo
from likeness.errors import NoFaceError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--method", default="open")
    parser.add_argument("--quality", default=None, help="passed to the method when given")
    parser.add_argument("--kind", choices=["neutral", "posed"], default="neutral")
    parser.add_argument("--same-person", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=None, help="keep the predictions in this folder")
    arguments = parser.parse_args()
    metric = load_metric(arguments.set)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        options = {} if arguments.quality is None else {"quality": arguments.quality}
        reconstructor = Reconstructor(method=arguments.method, max_faces=1, **options)
        began = time.perf_counter()
        n_photos = predict(arguments.set, folder, reconstructor, same_person=arguments.same_person)
        print(f"{n_photos} photos reconstructed in {time.perf_counter() - began:.1f} s")
        rows = score(arguments.set, folder, arguments.kind, arguments.jobs)
        report(metric, rows, arguments.kind)
        metric.run_nme(str(arguments.set), str(folder))


def load_metric(folder: Path) -> ModuleType:
    """The set's own metric as a module."""
    spec = importlib.util.spec_from_file_location("now_like", folder / "now_like.py")
    if spec is None or spec.loader is None:
        sys.exit(f"{folder}: holds no now_like.py, so this is no evaluation set.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def predict(folder: Path, out: Path, reconstructor: Reconstructor, *, same_person: bool) -> int:
    """Reconstruct every view and leave neutral and posed meshes with landmarks in the metric's layout."""
    people = sorted({path.parent for path in folder.glob("*/view*.jpg")})
    n_photos = 0
    for person in people:
        paths = sorted(person.glob("view*.jpg"))
        for path, face in zip(paths, _faces(paths, reconstructor, same_person), strict=True):
            n_photos += 1
            if face is not None:
                _write(out / person.name / path.stem, face)
    return n_photos


def _faces(paths: list[Path], reconstructor: Reconstructor, same_person: bool) -> list[likeness.Face | None]:
    photos = [read_photo(path) for path in paths]
    if same_person:
        found = [reconstructor.detect(photo, 1)[0] for photo in photos]
        return [result.faces[0] for result in reconstructor.together(photos, found)]
    return [_face_or_none(photo, reconstructor) for photo in photos]


def _face_or_none(photo, reconstructor: Reconstructor) -> likeness.Face | None:
    try:
        return reconstructor(photo).faces[0]
    except NoFaceError as error:
        print(error)
        return None


def _write(stem: Path, face: likeness.Face) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    points = face.landmarks("ibug68")
    for kind, mesh, landmarks in (
        ("neutral", face.neutral().mesh(), points.neutral),
        ("posed", face.mesh(), points.head),
    ):
        np.savez(f"{stem}.{kind}.npz", verts=mesh.vertices, faces=mesh.triangles)
        Path(f"{stem}.{kind}.lmk.json").write_text(json.dumps(landmarks.tolist()))
    Path(f"{stem}.lmk2d.json").write_text(json.dumps(points.image.tolist()))


def score(folder: Path, predictions: Path, kind: str, jobs: int) -> list[tuple[str, dict]]:
    """The metric's distances for every item, in parallel."""
    names = sorted(str(path.relative_to(folder))[:-4] for path in folder.glob("*/view*.npz"))
    with ProcessPoolExecutor(jobs) as pool:
        results = pool.map(_score_one, *zip(*((folder, predictions, name, kind) for name in names), strict=True))
        return [(name, result) for name, result in zip(names, results, strict=True) if result is not None]


def _score_one(folder: Path, predictions: Path, name: str, kind: str) -> dict | None:
    metric = load_metric(folder)
    stem = str(predictions / f"{name}.{kind}")
    mesh = metric.find_mesh(stem)
    if mesh is None:
        return None
    vertices, triangles = metric.read_mesh(mesh)
    truth = folder / (f"{name}.npz" if kind == "posed" else str(Path(name).parent / "neutral.npz"))
    landmarks = metric.read_points(stem + ".lmk.json", vertices)
    result = metric.score(
        vertices, triangles, landmarks, metric.Truth(str(truth), metric.load_topology(str(folder))), "mm"
    )
    return {key: result[key] for key in ("scaled", "metrical", "scaled_coverage")}


def report(metric: ModuleType, rows: list[tuple[str, dict]], kind: str) -> None:
    groups = {"every photo": rows, "view0 (frontal)": [row for row in rows if row[0].endswith("view0")]}
    print(f"distance of the {kind} truth's surface to ours, mm")
    for view in ("view1", "view2"):
        groups[view] = [row for row in rows if row[0].endswith(view)]
    for name, members in groups.items():
        if members:
            pooled = {key: [result[key] for _, result in members] for key in ("scaled", "metrical", "scaled_coverage")}
            metric.table([(f"{name} ({len(members)})", pooled)])


if __name__ == "__main__":
    main()
