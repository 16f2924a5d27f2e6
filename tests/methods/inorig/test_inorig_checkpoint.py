import pickle

import pytest
import torch

from heads.test_bfm_face3d import write_face3d
from likeness import assets
from likeness.errors import AssetError, InputError
from likeness.heads.bfm_assets import face3d_model
from likeness.methods import load_method
from likeness.methods.inorig.checkpoint import read_checkpoint
from likeness.methods.inorig.method import InorigMethod
from likeness.methods.inorig.observation import regress_pose
from methods.inorig.recorded import crops, network, state, template
from methods.inorig.synthetic_face import make_face


def saved(tmp_path, content):
    path = tmp_path / "Ours.pth"
    torch.save(content, path)
    return path


@pytest.mark.slow
def test_installed_files_make_the_method(tmp_path, monkeypatch):
    """Every official file under its own name, as its owners give it; the method is asked for by name."""
    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path))
    saved(tmp_path, state())
    write_face3d(tmp_path, make_face())
    face3d_model.cache_clear()
    installed = load_method("inorig", device="cpu")
    face3d_model.cache_clear()
    assert isinstance(installed, InorigMethod)
    assert torch.equal(regress_pose(installed.network, crops()), regress_pose(network(), crops()))
    assert not any(weight.requires_grad for weight in installed.network.parameters())
    # The text file of deviations keeps six digits.
    torch.testing.assert_close(installed.template.expression_basis, template().expression_basis, rtol=1e-5, atol=1e-3)
    assert torch.equal(installed.template.uv, template().uv)


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
