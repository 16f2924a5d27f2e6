"""The licensed methods from the command line: synthetic files in the official formats, `assets add`, a real photo."""

import json

import pytest
import skimage
import torch
import trimesh
from PIL import Image
from scipy.io import loadmat, savemat

import synthetic_deca
from heads.test_bfm_face3d import write_face3d
from likeness.cli import run
from likeness.face import Face
from likeness.heads import bfm_assets
from methods.deep3d.standin_rnet import write_pytorch, write_tensorflow
from methods.inorig.recorded import state
from methods.inorig.synthetic_face import make_face
from synthetic_bfm import front_entries, standard_landmarks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path / "store"))
    cached = (bfm_assets.front_model, bfm_assets.face3d_model)
    for made in cached:
        made.cache_clear()
    yield tmp_path / "downloads"
    for made in cached:
        made.cache_clear()


def reconstruct(photo, out, *options) -> list[str]:
    assert run(["reconstruct", str(photo), "-o", str(out), *options]) == 0
    folder = out / "astronaut"
    record = json.loads((folder / "parameters.json").read_text())
    face = Face.load(folder / "face.safetensors")
    assert record["method"] == face.method
    assert len(trimesh.load(folder / "head.obj", process=False).faces) == len(face.mesh().triangles)
    assert len(trimesh.load(folder / "head.glb").geometry) >= 1
    return sorted(path.name for path in folder.iterdir())


EVERYTHING = "face,glb,obj,ply,landmarks,parameters,depth,overview,official"


def give_positive_scale(checkpoint) -> None:
    """Stand-in weights may see a head behind the camera; its scale is output 206 of the coarse encoder."""
    networks = torch.load(checkpoint, weights_only=True)
    networks["E_flame"]["layers.2.weight"] *= 0.1
    networks["E_flame"]["layers.2.bias"][206] = 7.5
    torch.save(networks, checkpoint)


def test_deca(store, photo, tmp_path, capsys):
    assert run(["reconstruct", str(photo), "-o", str(tmp_path / "out"), "--method", "deca"]) == 1
    assert "likeness assets add" in capsys.readouterr().err
    downloads = synthetic_deca.write_deca(store)
    give_positive_scale(downloads / "deca_model.tar")
    assert run(["assets", "add", str(downloads)]) == 0
    assert "deca-weights" in capsys.readouterr().out
    written = reconstruct(photo, tmp_path / "out", "--method", "deca", "--formats", EVERYTHING)
    assert {"astronaut_kpt2d.txt", "astronaut.mat"} <= set(written) or "astronaut" in written
    reconstruct(photo, tmp_path / "official", "--method", "deca", "--compat", "official", "--formats", EVERYTHING)
    arguments = ["transfer", str(photo), str(photo), "-o", str(tmp_path / "transfer"), "--method", "deca"]
    assert run([*arguments, "--formats", "face,obj"]) == 0
    assert (tmp_path / "transfer/sheet.png").exists()


@pytest.mark.parametrize("variant", ["pytorch", "tensorflow"])
def test_deep3d(store, photo, tmp_path, variant):
    store.mkdir()
    savemat(store / "BFM_model_front.mat", dict(front_entries()))
    savemat(store / "similarity_Lm3D_all.mat", {"lm": standard_landmarks()})
    write_pytorch(store / "epoch_20.pth") if variant == "pytorch" else write_tensorflow(store / "FaceReconModel.pb")
    assert run(["assets", "add", str(store)]) == 0
    written = reconstruct(photo, tmp_path / "out", "--method", "deep3d", "--formats", EVERYTHING)
    assert {"astronaut.mat", "astronaut_mesh.obj"} <= set(written)
    entries = loadmat(tmp_path / "out/astronaut/astronaut.mat")
    assert entries["lm_68p"].shape[-2:] == (68, 2)


def test_inorig(store, photo, tmp_path):
    store.mkdir()
    write_face3d(store, make_face())
    torch.save(state(), store / "Ours.pth")
    assert run(["assets", "add", str(store)]) == 0
    other = tmp_path / "turned.png"
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other)
    out = tmp_path / "out"
    formats = ["--formats", "face,glb,obj,parameters,official"]
    assert (
        run(["reconstruct", str(photo), str(other), "--same-person", "--method", "inorig", "-o", str(out), *formats])
        == 0
    )
    first, second = (Face.load(out / name / "face.safetensors") for name in ("astronaut", "turned"))
    assert first.head.version == second.head.version
    assert (out / "turned/overlay.jpg").exists() and (out / "astronaut/mesh_full.ply").exists()
