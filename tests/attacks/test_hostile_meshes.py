"""OBJ, MTL and PLY files that lie about their sizes or lead out of their folder."""

import pytest
from limits import assert_refused

from likeness.errors import FileFormatError
from likeness.files.obj_reader import read_obj

PLY_SETUP = "from likeness.files.ply import read_ply"
OBJ_SETUP = "from likeness.files.obj_reader import read_obj"
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def ply(counts, *, encoding="binary_little_endian", properties="property float x\n", body=b""):
    vertices, faces = counts
    header = (
        f"ply\nformat {encoding} 1.0\nelement vertex {vertices}\n{properties}"
        f"element face {faces}\nproperty list uint int vertex_indices\nend_header\n"
    )
    return header.encode() + body


def test_ply(tmp_path):
    xyz = "property float x\nproperty float y\nproperty float z\n"
    vertices, four = bytes(36), (4).to_bytes(4, "little")
    ascii_vertices = b"0 0 0\n1 0 0\n0 1 0\n"
    files = {
        "a trillion vertices": ply((10**12, 0)),
        "a trillion ascii vertices": ply((10**12, 0), encoding="ascii", body=ascii_vertices),
        "a trillion rows of nothing": ply((10**12, 1), properties=""),
        "a trillion faces": ply((3, 10**12), properties=xyz, body=vertices),
        "more digits than a number": ply(("9" * 5000, 0)),
        "negative count": ply((-5, 0)),
        "four billion corners": ply((3, 1), properties=xyz, body=vertices + b"\xff" * 8),
        "four billion ascii corners": ply((3, 1), encoding="ascii", properties=xyz, body=ascii_vertices + b"4e9 0 1"),
        "list cut short": ply((3, 1), properties=xyz, body=vertices + four + bytes(8)),
        "index out of range": ply((3, 1), properties=xyz, body=vertices + four + b"\x09\0\0\0" * 4),
        "index below zero": ply((3, 1), properties=xyz, body=vertices + four + b"\xff" * 16),
        "not a number": ply((3, 0), properties=xyz, body=b"\0\0\xc0\x7f" * 9),
        "infinite ascii": ply((1, 0), encoding="ascii", properties=xyz, body=b"0 inf 0\n"),
        "no coordinates": ply((3, 0), properties="property float a\n", body=vertices),
        "no vertices": ply((0, 0), properties=xyz),
        "unknown type": ply((3, 0), properties="property complex x\n", body=vertices),
        "unknown format": ply((3, 0), encoding="binary_middle_endian"),
        "endless header": b"ply\n" + b"comment\n" * 100_000,
        "one endless line": ply((3, 0), encoding="ascii", properties=xyz, body=b"0 " * (1 << 20)),
        "empty": b"",
    }
    paths = []
    for name, data in files.items():
        paths.append(tmp_path / f"{name}.ply")
        paths[-1].write_bytes(data)
    paths.append(tmp_path / "missing.ply")
    assert_refused(paths, setup=PLY_SETUP, call="read_ply(path)", max_megabytes=600)


def test_obj(tmp_path):
    texts = {
        "index beyond": TRIANGLE + "f 1 2 4\n",
        "index far beyond": TRIANGLE + "f 1 2 99999999999999999999\n",
        "index before the first": TRIANGLE + "f -4 -2 -1\n",
        "index zero": TRIANGLE + "f 0 1 2\n",
        "index of many digits": TRIANGLE + "f 1 2 " + "9" * 10_000 + "\n",
        "index no number": TRIANGLE + "f 1 2 three\n",
        "uv index beyond": TRIANGLE + "f 1/1 2/1 3/1\n",
        "too many slashes": TRIANGLE + "f 1/1/1/1 2 3\n",
        "two corners": TRIANGLE + "f 1 2\n",
        "not a number": TRIANGLE + "v nan 0 0\nf 1 2 3\n",
        "infinite": TRIANGLE + "v 1e999 0 0\nf 1 2 3\n",
        "beyond single precision": TRIANGLE + "v 1e39 0 0\nf 1 2 3\n",
        "two coordinates": TRIANGLE + "v 0 0\nf 1 2 3\n",
        "word for a coordinate": TRIANGLE + "v 0 0 __import__('os')\nf 1 2 3\n",
        "no faces": TRIANGLE,
        "one endless line": TRIANGLE + "f" + " 1" * (1 << 20),
        "one endless continued line": TRIANGLE + "f \\\n" + "1 \\\n" * (1 << 19),
        "library above": "mtllib ../../etc/passwd\n" + TRIANGLE + "f 1 2 3\n",
        "library by its root": "mtllib /etc/passwd\n" + TRIANGLE + "f 1 2 3\n",
        "library of Windows": "mtllib C:\\secret.mtl\n" + TRIANGLE + "f 1 2 3\n",
        "library above on Windows": "mtllib ..\\secret.mtl\n" + TRIANGLE + "f 1 2 3\n",
        "library of a share": "mtllib \\\\server\\share\\a.mtl\n" + TRIANGLE + "f 1 2 3\n",
    }
    paths = []
    for name, text in texts.items():
        paths.append(tmp_path / f"{name}.obj")
        paths[-1].write_text(text)
    assert_refused(paths, setup=OBJ_SETUP, call="read_obj(path)", max_megabytes=600)


@pytest.mark.parametrize("texture", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_textures_outside_the_folder(tmp_path, texture):
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "a.mtl").write_text(f"newmtl m\nmap_Kd {texture}\n")
    (folder / "a.obj").write_text("mtllib a.mtl\n" + TRIANGLE + "usemtl m\nf 1 2 3\n")
    with pytest.raises(FileFormatError, match="outside its own folder"):
        read_obj(folder / "a.obj")


def test_links_that_lead_out_of_the_folder(tmp_path):
    folder = tmp_path / "mesh"
    folder.mkdir()
    (tmp_path / "secret.mtl").write_text("newmtl m\n")
    (folder / "a.mtl").symlink_to(tmp_path / "secret.mtl")
    (folder / "a.obj").write_text("mtllib a.mtl\n" + TRIANGLE + "f 1 2 3\n")
    with pytest.raises(FileFormatError, match="leads out of its own folder"):
        read_obj(folder / "a.obj")
