"""Whole runs of portrait animation: what fails is said, what is finished is kept, what is missing is made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import synthetic_deca
from likeness.cli import run
from likeness.errors import ImageError, InputError, NoFaceError
from likeness.reenact_runs import reenact
from likeness.reenactment.driving import Driver
from likeness.reenactment.pictures import DEFAULT_FILES
from likeness.reenactment.stages import choose_stage
from likeness.reenactment.wearing import Driven

STILL = Driven(torch.zeros(1), torch.zeros(1, 3))


class PaperStage:
    """Writes one tiny file a frame, counts, and fails where it is told to."""

    def __init__(self, driver: Driver, **options) -> None:
        self.driver, self.options = driver, options
        self.n_prepared, self.written = 0, []

    def drive(self, targets):
        return self.driver

    def prepare(self, photo):
        self.n_prepared += 1
        if photo.pixels.max() == 0:
            raise NoFaceError(f"{photo.name}: no face found.")
        return self

    def write(self, index, folder, name):
        self.written.append(name)
        path = folder / f"{name}_mask.png"
        path.write_bytes(name.encode())
        return [path]

    def frame_name(self, stem, index):
        return f"{stem}_{index:04d}"


def picture(path: Path, value: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
    return path


def go(source, out, stage, targets=()):
    said, complaints = [], []
    tally = reenact(source, targets, out, stage=stage, report=said.append, complain=complaints.append)
    return tally, said, complaints


@pytest.fixture
def driver():
    return Driver(("a", "b", "c"), (STILL, NoFaceError("b: no face found."), STILL))


def test_one_source_is_written_flat_with_its_manifest(tmp_path, driver):
    anna = picture(tmp_path / "anna.png")
    tally, said, complaints = go(anna, tmp_path / "out", PaperStage(driver), [anna])
    assert (tally.made, tally.failed) == (2, 1)
    assert len(complaints) == 1
    assert "2 frames made, 1 failed" in said[0]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["anna_0000_mask.png", "anna_0002_mask.png", "manifest.json"]
    record = json.loads((tmp_path / "out/manifest.json").read_text())
    assert record["frames"]["anna_0001"] == {"status": "failed", "target": "b", "reason": "b: no face found."}
    assert record["source"]["name"] == str(anna)
    assert record["targets"][0]["sha256"] == record["source"]["sha256"]


def test_a_second_run_makes_only_what_is_missing(tmp_path, driver):
    anna = picture(tmp_path / "anna.png")
    go(anna, tmp_path / "out", PaperStage(driver))
    idle = PaperStage(driver)
    tally, _, _ = go(anna, tmp_path / "out", idle)
    assert (tally.made, tally.kept, idle.n_prepared) == (0, 2, 0)
    (tmp_path / "out/anna_0002_mask.png").write_bytes(b"half")
    mending = PaperStage(driver)
    go(anna, tmp_path / "out", mending)
    assert mending.written == ["anna_0002"]
    anew = PaperStage(driver, scale=2)
    assert go(anna, tmp_path / "out", anew)[0].made == 2


def test_a_stopped_run_goes_on(tmp_path, driver):
    """Ctrl-C in the last frame: the manifest knows the one before."""
    anna = picture(tmp_path / "anna.png")
    stopped = PaperStage(driver)
    first_write = stopped.write

    def write(index, folder, name):
        if index == 2:
            raise KeyboardInterrupt
        return first_write(index, folder, name)

    stopped.write = write
    with pytest.raises(KeyboardInterrupt):
        go(anna, tmp_path / "out", stopped)
    rest = PaperStage(driver)
    assert go(anna, tmp_path / "out", rest)[0].kept == 1
    assert rest.written == ["anna_0002"]


def test_a_folder_of_sources_finishes_all_that_can_be(tmp_path, driver):
    for name in ("anna", "cleo"):
        picture(tmp_path / f"people/{name}.png")
    picture(tmp_path / "people/black.png", 0)
    (tmp_path / "people/broken.png").write_bytes(b"no picture")
    tally, said, complaints = go(tmp_path / "people", tmp_path / "out", PaperStage(driver))
    assert (tally.made, tally.sources_failed) == (4, 2)
    assert len(said) == 2
    assert len(complaints) == 3
    summary = json.loads((tmp_path / "out/manifest.json").read_text())["sources"]
    assert {name: entry["status"] for name, entry in summary.items()} == {
        "anna": "partial",
        "black": "failed",
        "broken": "failed",
        "cleo": "partial",
    }
    assert "no face" in summary["black"]["reason"]
    assert (tmp_path / "out/cleo/cleo_0000_mask.png").is_file()


def test_nothing_to_drive_with_is_said(tmp_path):
    anna = picture(tmp_path / "anna.png")
    driver = Driver(("b",), (NoFaceError("b: no face found."),))
    with pytest.raises(InputError, match="none of the driving frames"):
        go(anna, tmp_path / "out", PaperStage(driver))
    with pytest.raises(ImageError, match="no such file"):
        go(anna, tmp_path / "out", PaperStage(Driver(("a",), (STILL,))), [tmp_path / "absent.mp4"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"compat": "official"}, "--method deca"),
        ({"compat": "official", "method": "deca", "pose": "driver"}, "--pose"),
        ({"compat": "official", "method": "deca", "image_format": "webp"}, "--image-format"),
        ({"files": "rendered_images,hologram"}, "hologram"),
        ({"method": "deep3d"}, "open or deca"),
    ],
)
def test_what_cannot_be_is_refused(options, match):
    with pytest.raises(InputError, match=match):
        choose_stage(device="cpu", **options)


# ------------------------------------------------------------------ stories


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory):
    data = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("photos")
    portrait = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    Image.fromarray(portrait).save(folder / "anna.png")
    Image.fromarray(portrait[:, ::-1]).save(folder / "mirrored.png")
    return folder


@pytest.mark.slow
def test_the_default_set_of_a_photo(astronaut, tmp_path):
    out = tmp_path / "out"
    arguments = [str(astronaut / "anna.png"), str(astronaut / "mirrored.png"), "-o", str(out), "--device", "cpu"]
    assert run(["reenact", *arguments, "--files", ",".join((*DEFAULT_FILES, "obj"))]) == 0
    for kind in ("rendered_images", "masked_rendered_images", "mask", "landmarks2d", "landmarks3d", "shape_images"):
        with Image.open(out / f"anna_0000_{kind}.png") as image:
            assert image.size == (256, 256)
    with Image.open(out / "anna_0000_depth.png") as depth:
        millimetres = np.asarray(depth).astype(float) / 10
    assert 50 < np.ptp(millimetres[millimetres > 0]) < 400
    assert (out / "anna_0000.obj").read_text().count("\nv ") > 4000
    record = json.loads((out / "manifest.json").read_text())
    assert record["options"]["method"] == "open"
    assert len(record["frames"]["anna_0000"]["files"]) == len(DEFAULT_FILES) + 1


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return synthetic_deca.write_deca_facing(tmp_path_factory.mktemp("deca"))


@pytest.mark.slow
def test_decas_fork_writes_its_four_files(astronaut, store, tmp_path, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(store))
    out = tmp_path / "out"
    arguments = ["reenact", str(astronaut / "anna.png"), str(astronaut), "-o", str(out), "--device", "cpu"]
    assert run([*arguments, "--method", "deca", "--compat", "official", "--smooth", "5"]) == 0
    kinds = ("depth", "mask", "masked_rendered_images", "rendered_images")
    assert sorted(path.name for path in out.iterdir()) == [
        f"anna_{index:03d}_{kind}.jpg" for index in range(2) for kind in kinds
    ]
    for kind in kinds:
        with Image.open(out / f"anna_001_{kind}.jpg") as image:
            assert image.size == ((1024, 1024) if kind == "depth" else (256, 256))
            assert image.mode == "RGB"
    assert json.loads((tmp_path / "out.manifest.json").read_text())["options"]["smooth"] == 5
    # A window of five over two frames: both wear the same mean.
    first, second = ((out / f"anna_{index:03d}_rendered_images.jpg").read_bytes() for index in range(2))
    assert first == second


@pytest.mark.slow
def test_decas_own_set(astronaut, store, tmp_path, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(store))
    out = tmp_path / "out"
    arguments = ["reenact", str(astronaut / "anna.png"), str(astronaut / "mirrored.png"), "-o", str(out)]
    assert run([*arguments, "--method", "deca", "--freeze-eyes", "--device", "cpu"]) == 0
    assert {path.name for path in out.iterdir()} == {
        *(f"anna_0000_{kind}.png" for kind in DEFAULT_FILES),
        "manifest.json",
    }
