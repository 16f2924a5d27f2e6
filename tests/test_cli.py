"""What a user does at the command line, and what they are told when it cannot work."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import skimage
import torch
import trimesh
from PIL import Image

from likeness.cli import run
from likeness.face import Face
from likeness.files.maps import read_depth
from likeness.render import closest_points

FILES = {
    "face.safetensors",
    "displacement.exr",
    "displacement.png",
    "head.glb",
    "head.obj",
    "head.mtl",
    "albedo.png",
    "neutral.obj",
    "landmarks.json",
    "parameters.json",
    "depth.png",
    "normal.png",
    "overview.png",
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


@pytest.fixture(scope="module")
def result(photo, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    assert run(["reconstruct", str(photo), "-o", str(out)]) == 0
    return out / "astronaut"


def test_every_promised_file_is_there_and_nothing_else(result):
    assert {path.name for path in result.iterdir()} == FILES
    assert [path.name for path in result.parent.iterdir()] == ["astronaut"]


def test_meshes_open_elsewhere_and_agree(result):
    head, neutral = (trimesh.load(result / name, process=False) for name in ("head.obj", "neutral.obj"))
    face = Face.load(result / "face.safetensors")
    np.testing.assert_allclose(head.bounds, [face.mesh().vertices.min(0), face.mesh().vertices.max(0)], atol=1e-3)
    assert len(head.faces) == len(neutral.faces) == len(face.mesh().triangles)
    glb = trimesh.load(result / "head.glb")
    assert {"skin", "eyes", "teeth"} <= {name.split(".")[0] for name in glb.geometry} or len(glb.geometry) >= 3


def test_landmarks_lie_on_the_meshes_and_in_the_face(result):
    record = json.loads((result / "landmarks.json").read_text())
    for convention, count in (("ibug68", 68), ("mediapipe478", 478), ("five", 5)):
        entry = record[convention]
        assert {key: len(value) for key, value in entry.items()} == dict.fromkeys(
            ("image", "visible", "head", "neutral"), count
        )
        for kind, file in (("head", "head.obj"), ("neutral", "neutral.obj")):
            mesh = trimesh.load(result / file, process=False)
            points, vertices = (
                torch.tensor(np.array(a), dtype=torch.float32)[None] for a in (entry[kind], mesh.vertices)
            )
            distance = closest_points(points, vertices, torch.tensor(np.array(mesh.faces))).distance
            assert distance.max() < 0.01, (convention, kind)  # mm; the files keep a tenth of that
    ibug = np.array(record["ibug68"]["image"])
    # The astronaut's eyes and mouth corners, read off the picture by hand.
    for index, place in {36: (192.8, 101.3), 45: (258.8, 103), 48: (203.7, 140.3), 54: (245, 141.7)}.items():
        assert np.linalg.norm(ibug[index] - place) < 4, index
    assert sum(record["ibug68"]["visible"]) > 55


def test_parameters_are_complete(result):
    record = json.loads((result / "parameters.json").read_text())
    assert record["method"] == record["head"]["name"] == "open"
    assert len(record["expression"]) == 52
    assert all(0 <= weight <= 1 for weight in record["expression"].values())
    assert record["expression"]["mouthSmileLeft"] + record["expression"]["mouthSmileRight"] > 0.4
    assert record["camera"]["kind"] == "pinhole" and record["camera"]["focal_px"] > 100
    assert 0 < record["confidence"] <= 1
    rotation = np.array(record["head_rotation"]["matrix"])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)


def test_depth_has_the_scale_the_parameters_tell(result):
    record = json.loads((result / "parameters.json").read_text())
    depth = read_depth(result / "depth.png", scale=record["depth"]["millimetres_per_step"])
    assert depth.shape == (512, 512)
    seen = np.isfinite(depth)
    distance = record["camera"]["translation_mm"][2]
    assert 0.03 < seen.mean() < 0.3
    assert abs(np.nanmedian(depth) - distance) < 150


def test_two_runs_give_the_same_bytes(result, photo, tmp_path):
    assert run(["reconstruct", str(photo), "-o", str(tmp_path)]) == 0
    for name in FILES:
        assert (tmp_path / "astronaut" / name).read_bytes() == (result / name).read_bytes(), name


def test_info_and_export(result, tmp_path, capsys):
    assert run(["info", str(result / "face.safetensors")]) == 0
    assert "open" in capsys.readouterr().out
    assert run(["export", str(result / "face.safetensors"), "-o", str(tmp_path), "--formats", "ply,obj"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "head.ply",
        "head.obj",
        "head.mtl",
        "albedo.png",
        "neutral.obj",
    }


def test_same_person_gives_one_identity(photo, tmp_path):
    turned = tmp_path / "turned.png"
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(turned)
    out = tmp_path / "out"
    arguments = ["reconstruct", str(photo), str(turned), "--same-person", "-o", str(out), "--formats", "face"]
    assert run(arguments) == 0
    first, second = (Face.load(out / name / "face.safetensors") for name in ("astronaut", "turned"))
    assert first.identity.equal(second.identity)
    assert not first.camera.rotation.equal(second.camera.rotation)


def test_landmarks_of_the_user_stand_in_for_detection(result, photo, tmp_path, capsys):
    record = json.loads((result / "landmarks.json").read_text())
    points = np.array(record["ibug68"]["image"])
    np.savetxt(tmp_path / "points.txt", points)
    arguments = ["reconstruct", str(photo), "-o", str(tmp_path), "--formats", "landmarks,parameters"]
    assert run([*arguments, "--landmarks", str(tmp_path / "points.txt")]) == 0
    again = json.loads((tmp_path / "astronaut/landmarks.json").read_text())
    assert again["detected"]["convention"] == "ibug68"
    assert np.abs(np.array(again["ibug68"]["image"]) - points).mean() < 2
    assert run([*arguments, str(photo.parent / "other.png"), "--landmarks", str(tmp_path / "points.txt")]) == 1
    assert "one photo" in capsys.readouterr().err
    np.savetxt(tmp_path / "few.txt", points[:7])
    assert run([*arguments, "--landmarks", str(tmp_path / "few.txt")]) == 1
    assert "holds 7 points" in capsys.readouterr().err


def test_several_faces_get_numbered_folders(photo, tmp_path):
    picture = Image.open(photo).crop((120, 0, 330, 260))
    pair = Image.new("RGB", (520, 260), "gray")
    pair.paste(picture, (0, 0))
    pair.paste(picture.resize((168, 208)), (300, 20))
    pair.save(tmp_path / "pair.png")
    assert run(["reconstruct", str(tmp_path / "pair.png"), "-o", str(tmp_path / "out"), "--formats", "parameters"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"pair", "pair-2"}


# ---------------------------------------------------------------- bad input


def bad_inputs(folder) -> dict[str, str]:
    """File name -> a word its message must hold."""
    Image.new("RGB", (300, 200), (90, 120, 150)).save(folder / "empty_sky.png")
    Image.new("RGB", (1, 1)).save(folder / "one_pixel.png")
    Image.new("L", (20000, 20)).save(folder / "wide.png")
    (folder / "text.jpg").write_text("this is no photo\n" * 50)
    whole = folder / "whole.jpg"
    Image.fromarray(skimage.data.astronaut()).save(whole)
    (folder / "truncated.jpg").write_bytes(whole.read_bytes()[:9000])
    whole.unlink()
    (folder / "empty.jpg").write_bytes(b"")
    return {
        "empty_sky.png": "no face",
        "one_pixel.png": "no face",
        "wide.png": "no face",
        "text.jpg": "text.jpg",
        "truncated.jpg": "truncated.jpg",
        "empty.jpg": "empty.jpg",
        "missing.jpg": "missing.jpg",
    }


def test_bad_photos_are_named_and_the_good_one_still_finishes(photo, tmp_path, capsys):
    expected = bad_inputs(tmp_path)
    out = tmp_path / "out"
    paths = [str(tmp_path / name) for name in expected]
    assert run(["reconstruct", *paths, str(photo), "-o", str(out), "--formats", "face"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == len(expected)
    for (name, word), line in zip(expected.items(), lines, strict=True):
        assert name in line and word in line
    assert [path.name for path in out.iterdir()] == ["astronaut"]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "I;16", "P"])
def test_odd_pixel_formats_work(photo, tmp_path, mode):
    picture = Image.open(photo)
    if mode == "I;16":
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(tmp_path / "odd.png")
        name = "odd.png"
    else:
        name = "odd.jpg" if mode == "CMYK" else "odd.png"
        picture.convert(mode).save(tmp_path / name)
    assert run(["reconstruct", str(tmp_path / name), "-o", str(tmp_path / "out"), "--formats", "parameters"]) == 0
    assert (tmp_path / "out/odd/parameters.json").exists()


def test_exif_turned_photo_gives_the_upright_result(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise for viewing
    Image.open(photo).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    out = tmp_path / "out"
    assert run(["reconstruct", str(tmp_path / "turned.png"), str(photo), "-o", str(out), "--formats", "landmarks"]) == 0
    turned, upright = (json.loads((out / name / "landmarks.json").read_text()) for name in ("turned", "astronaut"))
    np.testing.assert_allclose(turned["ibug68"]["image"], upright["ibug68"]["image"], atol=0.01)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_unwritable_folder(photo, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run(["reconstruct", str(photo), "-o", str(tmp_path / "locked")]) == 1
    assert "locked" in capsys.readouterr().err


def test_a_file_where_the_folder_should_be(photo, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert run(["reconstruct", str(photo), "-o", str(tmp_path / "taken")]) == 1
    assert "taken" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_stands_for_its_photos(photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo.read_bytes())
    (folder / "notes.txt").write_text("not a photo")
    assert run(["reconstruct", str(folder), "-o", str(tmp_path / "out"), "--formats", "parameters"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


@pytest.mark.parametrize("arguments", [["reconstruct"], ["reconstruct", "x.jpg", "--formats", "fbx"], ["nonsense"]])
def test_misuse_is_explained(arguments, capsys):
    assert run(arguments) == 2
    assert capsys.readouterr().err


def test_unknown_method_and_foreign_face_file(photo, tmp_path, capsys):
    assert run(["reconstruct", str(photo), "-o", str(tmp_path / "out"), "--method", "magic"]) == 1
    assert "magic" in capsys.readouterr().err
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    assert run(["info", str(tmp_path / "x.safetensors")]) == 1
    assert "x.safetensors" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    heavy = ("torch", "warp", "onnxruntime", "scipy")
    code = f"import sys; from likeness.cli import run; run(['--help']); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert "reconstruct" in done.stdout


def test_same_names_from_different_folders_do_not_overwrite(photo, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "me.png").write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    paths = [str(tmp_path / name / "me.png") for name in ("a", "b")]
    assert run(["reconstruct", *paths, "-o", str(out), "--formats", "parameters"]) == 0
    assert len(list(out.iterdir())) == 2


def test_rerun_keeps_what_others_put_there(photo, tmp_path):
    out = tmp_path / "out"
    (out / "astronaut").mkdir(parents=True)
    (out / "astronaut" / "notes.txt").write_text("mine")
    began = time.time() - 2
    assert run(["reconstruct", str(photo), "-o", str(out), "--formats", "parameters"]) == 0
    assert (out / "astronaut" / "notes.txt").read_text() == "mine"
    assert (out / "astronaut" / "parameters.json").stat().st_mtime >= began
