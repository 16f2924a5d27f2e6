import pickle

import pytest
import torch

from likeness import assets
from likeness.errors import AssetError, InputError
from likeness.methods import load_method
from likeness.methods.inorig.checkpoint import load_network, read_checkpoint
from likeness.methods.inorig.observation import regress_pose
from methods.inorig.recorded import crops, network, state


def saved(tmp_path, content):
    path = tmp_path / "Ours.pth"
    torch.save(content, path)
    return path


@pytest.mark.slow
def test_a_whole_checkpoint_loads(tmp_path):
    loaded = load_network(saved(tmp_path, state()))
    assert torch.equal(regress_pose(loaded, crops()), regress_pose(network(), crops()))
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_missing_file(tmp_path):
    with pytest.raises(AssetError, match="no such file"):
        read_checkpoint(tmp_path / "Ours.pth")


def test_a_network_of_another_kind(tmp_path):
    with pytest.raises(AssetError, match="not an INORig checkpoint"):
        read_checkpoint(saved(tmp_path, {"encoder.weight": torch.zeros(3, 3)}))


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "nan"])
def test_nearly_right_is_refused(tmp_path, change, monkeypatch):
    """On a small stand-in for the network, since the true checkpoint is 200 MB."""
    import likeness.methods.inorig.checkpoint as checkpoint

    monkeypatch.setattr(checkpoint, "InorigNetwork", lambda: torch.nn.Linear(4, 3))
    content = {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}
    assert checkpoint.read_checkpoint(saved(tmp_path, content)).keys() == content.keys()
    if change == "missing":
        del content["bias"]
    elif change == "extra":
        content["more"] = torch.zeros(1)
    elif change == "shape":
        content["bias"] = torch.zeros(4)
    else:
        content["bias"][1] = float("nan")
    with pytest.raises(AssetError):
        checkpoint.read_checkpoint(saved(tmp_path, content))


@pytest.mark.parametrize("content", [[torch.zeros(3)], {"state": {"a": torch.zeros(1)}}, torch.zeros(2)])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    with pytest.raises(AssetError, match="state dict"):
        read_checkpoint(saved(tmp_path, content))


class Hostile:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('was_here').touch()",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (lambda p: torch.save({"a": Hostile()}, p), lambda p: p.write_bytes(pickle.dumps(Hostile()))):
        path = tmp_path / "Ours.pth"
        write(path)
        with pytest.raises(AssetError):
            read_checkpoint(path)
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 broken", b"\x80\x02" + b"x" * 64])
def test_damaged_files(tmp_path, data):
    path = tmp_path / "Ours.pth"
    path.write_bytes(data)
    with pytest.raises(AssetError):
        read_checkpoint(path)


def test_without_official_files_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match="likeness assets add"):
        load_method("inorig")
    names = {entry.asset.name for entry in assets.status("inorig")}
    assert {"inorig-weights", "inorig-weights-robust", "bfm-face3d"} <= names


def test_unknown_weights():
    with pytest.raises(InputError, match="best, robust"):
        load_method("inorig", weights="worst")
