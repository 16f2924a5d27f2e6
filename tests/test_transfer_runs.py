"""What a user does: a photo, some expressions, a folder of results. Synthetic model files, a real photograph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import standin_heads
import synthetic_deca
from animate.test_retarget import face_on
from likeness.errors import LikenessError
from likeness.face import Face
from likeness.heads import load_head
from likeness.heads.personal import PersonalHead
from likeness.transfer_runs import transfer_expressions


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return synthetic_deca.write_deca_facing(tmp_path_factory.mktemp("deca"))


@pytest.mark.slow
def test_one_person_wears_the_expressions_of_photos_and_videos(store, tmp_path, monkeypatch):
    data = pytest.importorskip("skimage.data")
    from likeness.videos import VideoWriter

    monkeypatch.setenv("LIKENESS_ASSETS", str(store))
    portrait = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    Image.fromarray(portrait).save(tmp_path / "anna.png")
    folder = tmp_path / "expressions"
    folder.mkdir()
    Image.fromarray(portrait[:, ::-1]).save(folder / "mirrored.png")
    (folder / "broken.png").write_bytes(b"no picture")
    with VideoWriter(tmp_path / "talk.mp4", fps=10) as video:
        for _ in range(2):
            video.write(portrait)
    reported: list[str] = []
    complaints: list[LikenessError] = []
    failures = transfer_expressions(
        tmp_path / "anna.png",
        [folder, tmp_path / "talk.mp4", tmp_path / "absent.jpg"],
        tmp_path / "out",
        method="deca",
        device="cpu",
        formats=("face", "obj"),
        report=reported.append,
        complain=complaints.append,
    )
    assert failures == len(complaints) == 2
    assert any("broken.png" in str(error) for error in complaints)
    assert any("absent.jpg" in str(error) for error in complaints)
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["0001_mirrored", "0002_talk_0000", "0003_talk_0001", "sheet.png"]
    assert len(reported) == 3
    worn = [Face.load(tmp_path / "out" / name / "face.safetensors") for name in made[:3]]
    assert torch.equal(worn[0].identity, worn[1].identity)
    assert not torch.equal(worn[0].expression, worn[1].expression)
    assert not torch.equal(worn[0].displacement, worn[1].displacement)
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width == 4 * sheet.height // 3
    for name in made[:3]:
        assert {"clay.png", "face.safetensors", "head.obj"} <= {p.name for p in (tmp_path / "out" / name).iterdir()}


def run(source, expressions, out, **options):
    complaints: list[LikenessError] = []
    failures = transfer_expressions(
        source,
        expressions,
        out,
        **{"method": "open", "device": "cpu", "formats": ("face", "obj", "overview"), **options},
        report=lambda line: None,
        complain=complaints.append,
    )
    return failures, complaints


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A result folder with a smiling Face on the open head, and two people on a head of their own topology."""
    folder = tmp_path_factory.mktemp("saved")
    smiling = face_on(load_head("open"), 3, mouthSmileLeft=0.9, mouthSmileRight=0.9, jawOpen=0.4)
    (folder / "anna").mkdir()
    smiling.save(folder / "anna" / "face.safetensors")
    mesh, front = standin_heads.bfm_mesh(), standin_heads.bfm_head()
    shapes = torch.from_numpy(mesh.carried(standin_heads.open_shapes()).astype(np.float32))
    (folder / "people").mkdir()
    for name, size in (("berta", 1.0), ("carl", 1.1)):
        head = PersonalHead(
            neutral=torch.from_numpy(size * mesh.vertices).float(),
            blendshapes=size * shapes[:51] + 0.2 * size * shapes[1:],
            expression_names=tuple(f"e{k}" for k in range(51)),
            topology=front.topology,
            embeddings={"ibug68": front.embeddings["ibug68"]},
        )
        person = replace(face_on(head), head=head)
        person.save(folder / "people" / f"{name}.safetensors")
    return folder


def test_saved_faces_wear_each_others_expressions_across_heads(saved, tmp_path):
    failures, complaints = run(saved / "people" / "berta.safetensors", [saved / "anna" / "face.safetensors"], tmp_path)
    assert (failures, complaints) == (0, [])
    assert {path.name for path in tmp_path.iterdir()} == {"0000_anna", "sheet.png"}
    made = {path.name for path in (tmp_path / "0000_anna").iterdir()}
    assert {"face.safetensors", "head.obj", "clay.png"} <= made
    # There is no photo to lay an overview on.
    assert "overview.png" not in made
    before, worn = Face.load(saved / "people" / "berta.safetensors"), Face.load(
        tmp_path / "0000_anna" / "face.safetensors"
    )  # fmt: skip
    assert torch.equal(worn.neutral_vertices, before.neutral_vertices)
    moved = (worn.vertices - worn.neutral_vertices).numpy()
    corner, chin = worn.head.embeddings["ibug68"].corners[[48, 8], 0].numpy()
    assert moved[corner, 1] > 2 and moved[chin, 1] < -5


@pytest.mark.slow
def test_everybody_in_a_folder_wears_everything_in_another(saved, tmp_path):
    failures, _ = run(saved / "people", [saved], tmp_path, formats=("face",))
    assert failures == 0
    assert {path.name for path in tmp_path.iterdir()} == {"berta", "carl"}
    for name in ("berta", "carl"):
        assert {path.name for path in (tmp_path / name).iterdir()} == {"0000_anna", "sheet.png"}


@pytest.mark.slow
def test_one_bad_file_among_many_is_complained_of(saved, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    failures, complaints = run(
        saved / "people", [bad, saved / "anna" / "face.safetensors"], tmp_path / "out", formats=("face",)
    )
    assert failures == 1 and "bad.safetensors" in str(complaints[0])
    assert (tmp_path / "out" / "carl" / "0001_anna" / "face.safetensors").is_file()
    with pytest.raises(LikenessError, match=r"bad\.safetensors"):
        run(bad, [saved / "anna"], tmp_path / "none")
