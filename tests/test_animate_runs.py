"""Whole runs of animation: every kind of driver in, every kind of file out."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

import likeness
from likeness.animate.driving import DrivingOptions
from likeness.animate_runs import AnimationOptions, animate
from likeness.cli import run as run_cli
from likeness.errors import FileFormatError, ImageError, InputError, NoFaceError
from likeness.face import Face
from likeness.motion import Motion
from likeness.videos import VideoReader, VideoWriter

SMALL = AnimationOptions(size=96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Face, a short film and a picture of the astronaut, and a motion."""
    folder = tmp_path_factory.mktemp("animate")
    picture = np.ascontiguousarray(skimage.data.astronaut()[:280, 90:370])
    face = likeness.reconstruct(picture, quality="fast")[0]
    face.save(folder / "face.safetensors")
    Image.fromarray(picture).save(folder / "photo.png")
    with VideoWriter(folder / "film.mp4", fps=10) as out:
        for k in range(6):
            out.write(np.roll(picture, k, 0))
    names = face.head.expression_names
    weights = np.zeros((12, len(names)), np.float32)
    weights[:, names.index("jawOpen")] = np.linspace(0, 1, 12)
    Motion(10, names, weights, np.zeros((12, 3), np.float32), np.zeros((12, 2, 3), np.float32)).save(folder / "m.csv")
    return folder


def go(folder, drive, out, options=SMALL):
    lines = []
    animate(
        folder / "face.safetensors", str(drive), out, options, report=lines.append, progress=lambda *_: None
    )  # fmt: skip
    assert lines == [f"{drive} -> {out}"]


@pytest.mark.parametrize("drive", ["film.mp4", "photo.png", "face.safetensors", "m.csv"])
def test_every_driver_gives_motion(folder, tmp_path, drive):
    go(folder, folder / drive, tmp_path / "out.safetensors")
    motion = Motion.load(tmp_path / "out.safetensors")
    assert len(motion) == {"film.mp4": 6, "m.csv": 12}.get(drive, 1)
    assert "jawOpen" in motion.names


def test_a_photo_drives_as_its_face_does(folder, tmp_path):
    go(folder, folder / "photo.png", tmp_path / "a.safetensors")
    go(folder, folder / "face.safetensors", tmp_path / "b.safetensors")
    first, second = Motion.load(tmp_path / "a.safetensors"), Motion.load(tmp_path / "b.safetensors")
    np.testing.assert_allclose(first.weights, second.weights, atol=1e-5)


@pytest.mark.parametrize("ending", [".csv", ".json", ".safetensors", ".glb"])
def test_what_goes_in_as_motion_comes_out(folder, tmp_path, ending):
    go(folder, folder / "m.csv", tmp_path / f"out{ending}")
    given, found = Motion.load(folder / "m.csv"), Motion.load(tmp_path / f"out{ending}")
    assert found.fps == given.fps
    at = found.names.index("jawOpen")
    np.testing.assert_array_equal(found.weights[:, at], given.weights[:, given.names.index("jawOpen")])


def test_films(folder, tmp_path):
    go(folder, folder / "m.csv", tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as film:
        frames = [frame.pixels for frame in film]
        assert len(frames) == 12 and film.fps == 10
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 60
    go(folder, folder / "m.csv", tmp_path / "out.gif", AnimationOptions(size=48, driving=DrivingOptions(fps=5)))
    with Image.open(tmp_path / "out.gif") as picture:
        assert picture.n_frames == 6
    go(folder, folder / "film.mp4", tmp_path / "both.mp4", AnimationOptions(size=96, side_by_side=True))
    with VideoReader(tmp_path / "both.mp4") as film:
        assert (film.width, film.height) == (192, 96)


def test_a_folder_of_meshes(folder, tmp_path):
    from likeness.files.obj_reader import read_obj

    go(folder, folder / "m.csv", tmp_path / "meshes")
    paths = sorted((tmp_path / "meshes").iterdir())
    assert [path.name for path in paths][:2] == ["frame_00000.obj", "frame_00001.obj"] and len(paths) == 12
    first, last = read_obj(paths[0]), read_obj(paths[-1])
    assert np.abs(first.vertices - last.vertices).max() > 10


def test_what_cannot_be_is_said(folder, tmp_path):
    gray = tmp_path / "gray.png"
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(gray)
    (tmp_path / "bad.csv").write_text("nothing")
    cases = [
        (folder / "m.csv", "out.bvh", InputError),
        (gray, "out.csv", NoFaceError),
        (tmp_path / "bad.csv", "out.mp4", FileFormatError),
        (tmp_path / "none.mp4", "out.mp4", ImageError),
        (tmp_path / "none.safetensors", "out.mp4", FileFormatError),
        ("97", "out.csv", ImageError),
    ]
    for drive, out, error in cases:
        with pytest.raises(error):
            go(folder, drive, tmp_path / out)
    with pytest.raises(InputError, match="driving video"):
        go(folder, folder / "m.csv", tmp_path / "out.mp4", AnimationOptions(size=96, side_by_side=True))
    assert {path.name for path in tmp_path.iterdir()} == {"gray.png", "bad.csv"}


def test_from_the_command_line(folder, tmp_path, capsys):
    face = str(folder / "face.safetensors")
    out = str(tmp_path / "out.csv")
    arguments = ["animate", face, "--drive", str(folder / "m.csv"), "-o", out, "--strength", "0.5", "--eyes", "camera"]
    assert run_cli(arguments) == 0
    assert Motion.load(out).weights.max() == pytest.approx(0.5)
    assert run_cli(["animate", face, "--drive", "97", "-o", out]) == 1
    assert "camera 97" in capsys.readouterr().err


def test_another_person_of_other_eyes_blinks_too(folder, tmp_path):
    """A blink is a blink: at weight 1 the lids of whoever wears it meet."""
    from likeness.animate.closing import closing_weights, with_closing_blinks

    rig = with_closing_blinks(Face.load(folder / "face.safetensors").rig())
    for value in closing_weights(rig).values():
        assert value == pytest.approx(1, abs=1e-3)
