"""What a user does: a photo, some expressions, a folder of results. Synthetic model files, a real photograph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import synthetic_deca
import synthetic_flame
from likeness.errors import LikenessError
from likeness.face import Face
from likeness.transfer_runs import transfer_expressions


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """DECA's files, with stand-in weights that at least look at the head from in front."""
    folder = synthetic_flame.write_deca_data(tmp_path_factory.mktemp("deca"))
    content = synthetic_deca.checkpoint()
    last = content["E_flame"]
    last["layers.2.weight"] *= 0.1
    last["layers.2.bias"][206], last["layers.2.bias"][207:209] = 7.5, 0.0
    torch.save(content, folder / "deca_model.tar")
    return folder


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
