"""GLB files that lie about lengths, offsets, counts and indices."""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import assert_refused

from likeness.errors import FileFormatError
from likeness.files.glb import document, glb_bytes, read_glb

sys.path.insert(0, str(Path(__file__).parents[1] / "files"))
from glb_models import full_model

SETUP = "from likeness.files.glb import read_glb"
SOUND = glb_bytes(full_model(6, 8))
JSON_LENGTH = struct.unpack_from("<I", SOUND, 12)[0]
ROOT = SOUND[20 : 20 + JSON_LENGTH].decode()
BINARY = SOUND[20 + JSON_LENGTH + 8 :]


def packed(text, binary=BINARY):
    text = text.encode() if isinstance(text, str) else text
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def changed(change):
    root = json.loads(ROOT)
    change(root)
    return packed(json.dumps(root))


def position(root):
    return root["accessors"][root["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]


def position_view(root):
    return root["bufferViews"][position(root)["bufferView"]]


def first_sparse(root):
    return next(accessor for accessor in root["accessors"] if "sparse" in accessor)


def zero_backed(root):
    """A target accessor with no bytes behind it."""
    return next(a for a in root["accessors"] if "bufferView" not in a and "sparse" not in a)


def many_targets(root):
    """Some hundred thousand morph targets that all name one accessor."""
    target = {"POSITION": root["meshes"][0]["primitives"][0]["targets"][0]["POSITION"]}
    root["meshes"][0].pop("extras")
    root["meshes"][0].pop("weights")
    for primitive in root["meshes"][0]["primitives"]:
        primitive["targets"] = [target] * 150_000
    root.pop("animations")


def many_primitives(root):
    mesh = root["meshes"][0]
    mesh["primitives"] = [{**mesh["primitives"][0], "extras": {}}] * 30_000


CONTAINERS = {
    "empty": b"",
    "magic only": b"glTF",
    "no magic": b"glTG" + SOUND[4:],
    "version 1": SOUND[:4] + struct.pack("<I", 1) + SOUND[8:],
    "promises more": SOUND[:8] + struct.pack("<I", 2**32 - 1) + SOUND[12:],
    "cut in half": SOUND[: len(SOUND) // 2],
    "chunk beyond the end": SOUND[:12] + struct.pack("<I", 2**32 - 4) + SOUND[16:],
    "binary first": SOUND[:16] + struct.pack("<I", 0x004E4942) + SOUND[20:],
    "no binary": packed(ROOT, b""),
    "not JSON": packed("{broken"),
    "JSON array": packed("[]"),
    "JSON nothing": packed("{}"),
    "JSON of bytes": packed(b"\xff\xfe\xfd\xfc"),
    "JSON nested deeply": packed("[" * 100_000),
    "JSON not a number": packed(ROOT.replace('"roughnessFactor":0.6', '"roughnessFactor":NaN')),
    "JSON infinite": packed(ROOT.replace('"roughnessFactor":0.6', '"roughnessFactor":1e999')),
    "JSON number of many digits": packed(ROOT.replace('"count":', '"count":' + "9" * 5000, 1)),
}

CHANGES = {
    "huge count": lambda root: position(root).update(count=2**40),
    "huge count beside others": lambda root: position(root).update(count=10**6),
    "zero count": lambda root: position(root).update(count=0),
    "negative count": lambda root: position(root).update(count=-1),
    "fractional count": lambda root: position(root).update(count=1.5),
    "count of text": lambda root: position(root).update(count="many"),
    "true count": lambda root: position(root).update(count=True),
    "negative accessor offset": lambda root: position(root).update(byteOffset=-4),
    "huge accessor offset": lambda root: position(root).update(byteOffset=2**52),
    "no data": lambda root: position(root).pop("bufferView"),
    "unknown component": lambda root: position(root).update(componentType=5124),
    "unknown type": lambda root: position(root).update(type="VEC9"),
    "wrong type": lambda root: position(root).update(type="VEC2"),
    "accessor not there": lambda root: root["meshes"][0]["primitives"][0].update(indices=10**6),
    "negative accessor": lambda root: root["meshes"][0]["primitives"][0].update(indices=-1),
    "view not there": lambda root: position(root).update(bufferView=10**6),
    "negative view offset": lambda root: position_view(root).update(byteOffset=-8),
    "long view": lambda root: position_view(root).update(byteLength=2**50),
    "zero stride": lambda root: position_view(root).update(byteStride=0),
    "huge stride": lambda root: position_view(root).update(byteStride=2**50),
    "other buffer": lambda root: position_view(root).update(buffer=1),
    "sparse count": lambda root: first_sparse(root)["sparse"].update(count=2**40),
    "sparse beyond": lambda root: first_sparse(root)["sparse"]["values"].update(byteOffset=2**40),
    "sparse indices as numbers": lambda root: first_sparse(root)["sparse"]["indices"].update(componentType=5126),
    "sparse indices too wide": lambda root: first_sparse(root)["sparse"]["indices"].update(componentType=5125),
    "sparse no object": lambda root: first_sparse(root).update(sparse=[]),
    "huge zeros": lambda root: zero_backed(root).update(count=2**40),
    "cyclic joints": lambda root: root["nodes"][3].update(children=[2]),
    "joint its own child": lambda root: root["nodes"][2].update(children=[2]),
    "joint not there": lambda root: root["skins"][0]["joints"].append(10**6),
    "joint twice": lambda root: root["skins"][0].update(joints=[2, 2, 3, 4]),
    "no bind matrices": lambda root: root["skins"][0].pop("inverseBindMatrices"),
    "texture not there": lambda root: root["textures"].clear(),
    "image not there": lambda root: root["textures"][0].update(source=99),
    "material not there": lambda root: root["meshes"][0]["primitives"][0].update(material=99),
    "names of numbers": lambda root: root["meshes"][0]["extras"].update(targetNames=list(range(8))),
    "weights too few": lambda root: root["meshes"][0].update(weights=[0.5]),
    "nodes of numbers": lambda root: root.update(nodes=[1, 2, 3]),
    "meshes no array": lambda root: root.update(meshes={"0": {}}),
    "extras no object": lambda root: root.update(extras=[]),
    "payload beyond": lambda root: root["extras"]["likeness_payloads"]["displacement"].update(bufferView=10**6),
    "many targets": many_targets,
    "many primitives": many_primitives,
    "sampler not there": lambda root: root["animations"][0]["channels"][0].update(sampler=10**6),
    "animation of another node": lambda root: root["animations"][0]["channels"][0]["target"].update(node=10**6),
}


def written(folder, files):
    paths = []
    for name, data in files.items():
        paths.append(folder / f"{name}.glb")
        paths[-1].write_bytes(data)
    return paths


def test_the_sound_file_is_sound(tmp_path):
    (path,) = written(tmp_path, {"sound": changed(lambda root: None)})
    assert len(read_glb(path).parts) == 3


def test_containers(tmp_path):
    paths = [*written(tmp_path, CONTAINERS), tmp_path / "missing.glb"]
    assert_refused(paths, setup=SETUP, call="read_glb(path)", max_megabytes=500)


def test_documents(tmp_path):
    paths = written(tmp_path, {name: changed(change) for name, change in CHANGES.items()})
    assert_refused(paths, setup=SETUP, call="read_glb(path)", max_megabytes=600)


def test_geometry_named_again_and_again_is_held_to_a_budget(tmp_path, monkeypatch):
    def repeat(root):
        mesh = root["meshes"][0]
        mesh["primitives"] = mesh["primitives"][:1] * 1000

    (path,) = written(tmp_path, {"again": changed(repeat)})
    assert len(read_glb(path).parts) == 1000  # small as these are, they are allowed
    monkeypatch.setattr(document, "MAX_ARRAY_BYTES", 4 << 20)
    with pytest.raises(FileFormatError, match="arrays take more than 4,194,304 bytes"):
        read_glb(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(tmp_path, value):
    root = json.loads(ROOT)
    start = root["bufferViews"][position(root)["bufferView"]]["byteOffset"]
    binary = BINARY[:start] + struct.pack("<f", value) + BINARY[start + 4 :]
    (path,) = written(tmp_path, {"nan": packed(ROOT, binary)})
    with pytest.raises(FileFormatError, match="finite"):
        read_glb(path)


def test_indices_out_of_range(tmp_path):
    root = json.loads(ROOT)
    accessor = root["accessors"][root["meshes"][0]["primitives"][0]["indices"]]
    start = root["bufferViews"][accessor["bufferView"]]["byteOffset"]
    (path,) = written(tmp_path, {"index": packed(ROOT, BINARY[:start] + b"\xff\xff" + BINARY[start + 2 :])})
    with pytest.raises(FileFormatError, match="triangles name vertices beyond"):
        read_glb(path)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_give_a_model_or_a_sentence(tmp_path_factory, data):
    content = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.glb"
    path.write_bytes(content)
    try:
        read_glb(path)
    except FileFormatError as error:
        assert str(path) in str(error)
