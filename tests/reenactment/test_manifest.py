"""What a set remembers: finished frames are kept, damaged or foreign ones are made again."""

from __future__ import annotations

import json

import pytest

from likeness.reenactment.manifest import Manifest, fingerprint

MADE_WITH = {"source": {"name": "anna.jpg", "bytes": 3, "sha256": "0"}, "targets": [], "options": {"scale": 1.0}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "anna_0000_mask.png").write_bytes(b"mask")
    (tmp_path / "anna_0000_depth.png").write_bytes(b"depth")
    manifest = Manifest(tmp_path / "manifest.json", tmp_path, MADE_WITH)
    manifest.note("anna_0000", "ben.jpg", [tmp_path / "anna_0000_mask.png", tmp_path / "anna_0000_depth.png"])
    manifest.note_failure("anna_0001", "nobody.jpg", "no face found")
    manifest.write()
    return tmp_path


def again(folder, made_with=MADE_WITH) -> Manifest:
    return Manifest(folder / "manifest.json", folder, made_with)


def test_a_finished_frame_is_known_again(folder):
    manifest = again(folder)
    assert manifest.is_done("anna_0000")
    assert not manifest.is_done("anna_0001")
    assert not manifest.is_done("anna_0002")
    assert manifest.counts() == {"done": 1, "failed": 1}


@pytest.mark.parametrize("damage", ["gone", "shorter", "other bytes"])
def test_a_damaged_file_does_not_count(folder, damage):
    file = folder / "anna_0000_depth.png"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"dept" if damage == "shorter" else b"Depth")
    assert not again(folder).is_done("anna_0000")


@pytest.mark.parametrize("key", ["source", "options"])
def test_other_options_or_another_photo_count_for_nothing(folder, key):
    assert not again(folder, {**MADE_WITH, key: {"scale": 2.0}}).is_done("anna_0000")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"frames": 3}', "[" * 100_000])
def test_a_manifest_that_makes_no_sense_is_replaced(folder, text):
    (folder / "manifest.json").write_text(text)
    manifest = again(folder)
    assert not manifest.is_done("anna_0000")
    manifest.write()
    assert json.loads((folder / "manifest.json").read_text())["frames"] == {}


def test_names_in_a_manifest_lead_nowhere(folder):
    """A manifest from elsewhere cannot make us look at files outside of its folder."""
    outside = folder.parent / "secret.png"
    outside.write_bytes(b"secret")
    record = json.loads((folder / "manifest.json").read_text())
    noted = {key: value for key, value in fingerprint(outside).items() if key != "name"}
    record["frames"]["anna_0000"]["files"] = {"../secret.png": noted}
    (folder / "manifest.json").write_text(json.dumps(record))
    assert not again(folder).is_done("anna_0000")
