"""The store of licensed files: recognition by content, whole installation, what is said when one lacks."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import synthetic_flame
from likeness import assets
from likeness.errors import AssetError


@pytest.fixture(scope="module")
def deca_data(tmp_path_factory):
    return synthetic_flame.write_deca_data(tmp_path_factory.mktemp("deca") / "data")


@pytest.fixture(autouse=True)
def empty_store(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path / "store"))
    return tmp_path / "store"


def test_names_are_unique_and_rows_are_complete():
    for name, row in assets.assets().items():
        assert name == row.name
        assert row.filenames
        assert row.url.startswith("https://")
        assert row.what
        assert row.licence


def test_a_missing_file_says_which_where_and_what_next():
    with pytest.raises(AssetError) as caught:
        assets.require("flame")
    message = str(caught.value)
    for part in ("generic_model.pkl", "https://flame.is.tue.mpg.de", "likeness assets add"):
        assert part in message


def test_a_method_lists_all_it_lacks_but_nothing_optional():
    with pytest.raises(AssetError) as caught:
        assets.require_all("deca")
    message = str(caught.value)
    for row in assets.assets().values():
        if "deca" in row.methods:
            assert (row.filenames[0] in message) != row.optional


def test_a_folder_is_searched_and_every_known_file_installed(deca_data, empty_store):
    installed = {entry.asset.name for entry in assets.add(deca_data)}
    assert installed == {
        "flame", "flame-landmarks", "flame-chart", "deca-face-mask", "deca-fixed-displacement",
        "deca-dense-template",
    }  # fmt: skip
    path = assets.require("flame")
    assert path.is_relative_to(empty_store)
    assert path.read_bytes() == (deca_data / "generic_model.pkl").read_bytes()
    with pytest.raises(AssetError, match=r"deca_model\.tar"):
        assets.require_all("deca")


def test_content_decides_not_the_name(deca_data, tmp_path):
    renamed = tmp_path / "my head.pkl"
    shutil.copyfile(deca_data / "generic_model.pkl", renamed)
    (entry,) = assets.add(renamed)
    assert entry.asset.name == "flame"
    assert entry.path is not None
    assert entry.path.name == "generic_model.pkl"


def test_a_newer_variant_replaces_the_older(deca_data, tmp_path):
    assets.add(deca_data / "generic_model.pkl")
    newer = tmp_path / "flame2023.pkl"
    shutil.copyfile(deca_data / "generic_model.pkl", newer)
    assets.add(newer)
    path = assets.require("flame")
    assert path.name == "flame2023.pkl"
    assert [file.name for file in path.parent.iterdir()] == ["flame2023.pkl"]


def test_a_wrong_file_under_a_right_name_says_why(tmp_path):
    wrong = tmp_path / "landmark_embedding.npy"
    np.save(wrong, np.zeros(3))
    with pytest.raises(AssetError, match=r"named like where the 68 landmarks .*no landmark embedding"):
        assets.add(wrong)
    assert assets.find("flame-landmarks") is None


def test_a_map_of_the_right_size_needs_the_right_name_too(tmp_path):
    unnamed = tmp_path / "some_map.npy"
    np.save(unnamed, synthetic_flame.fixed_displacement())
    with pytest.raises(AssetError, match="none of the known model files"):
        assets.add(unnamed)
    named = tmp_path / "fixed_displacement_256.npy"
    shutil.copyfile(unnamed, named)
    assert assets.add(named)[0].asset.name == "deca-fixed-displacement"


@pytest.mark.parametrize("path", ["absent.pkl", "."])
def test_nothing_to_add_says_so(tmp_path, path):
    with pytest.raises(AssetError):
        assets.add(tmp_path / path)


def test_adding_twice_changes_nothing(deca_data):
    first = assets.add(deca_data / "head_template.obj")[0].path
    assert first is not None
    before = first.stat().st_mtime_ns
    assert assets.add(first)[0].path == first
    assert first.stat().st_mtime_ns == before


def test_a_folder_of_files_can_itself_be_the_store(deca_data, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(deca_data))
    assert assets.require("flame-landmarks") == deca_data / "landmark_embedding.npy"


def test_the_table_tells_installed_from_missing(deca_data):
    assets.add(deca_data / "head_template.obj")
    lines = assets.status_table("deca").splitlines()
    (template,) = [line for line in lines if line.startswith("flame-chart")]
    (weights,) = [line for line in lines if line.startswith("deca-weights")]
    assert "installed" in template
    assert "missing" in weights
    assert any("likeness assets add" in line for line in lines)
