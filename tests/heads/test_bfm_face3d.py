import numpy as np
import pytest
from scipy.io import savemat

from likeness.errors import FileFormatError
from likeness.heads.bfm_face3d import read_face3d
from likeness.meshes import vertex_normals
from methods.inorig.synthetic_face import make_face
from synthetic_bfm import golden


def write_face3d(folder, face):
    """The five files face3d makes, around the arrays of a made-up face."""
    n_vertices = len(face.mean)

    def columns(basis, n):
        flat = basis.reshape(3 * n_vertices, -1)
        return np.concatenate([flat, np.ones((len(flat), n - flat.shape[1]))], 1)

    model = {
        "shapeMU": face.mean.reshape(-1, 1),
        "shapePC": columns(face.shape_basis, 100),
        "shapeEV": np.r_[face.shape_deviation, np.ones(20)][:, None],
        "texMU": face.albedo.reshape(-1, 1),
        "tri": (face.triangles + 1.0).T,
        "kpt_ind": face.landmarks[None] + 1.0,
    }
    segments = np.zeros((4, n_vertices), np.uint8)
    segments[np.arange(n_vertices) % 4, np.arange(n_vertices)] = 1
    savemat(folder / "BFM.mat", {"model": model})
    savemat(folder / "BFM_info.mat", {"model_info": {"segbin": segments}})
    savemat(folder / "BFM_UV.mat", {"UV": face.uv})
    expressions = columns(face.expression_basis, 79).T.astype("<f4")
    with (folder / "Exp_Pca.bin").open("wb") as file:
        np.array([79], "<i4").tofile(file)
        np.full(3 * n_vertices, 1e6, "<f4").tofile(file)
        expressions.tofile(file)
    np.savetxt(folder / "std_exp.txt", np.r_[face.expression_deviation, np.ones(15)][None])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("face3d") / "Out"
    folder.mkdir()
    write_face3d(folder, make_face())
    return folder


@pytest.fixture(scope="module")
def read(folder):
    return read_face3d(folder.parent)


def test_arrays_are_the_recorded_ones(read):
    recorded = golden("face3d")
    np.testing.assert_array_equal(read.triangles, recorded["tri"])
    np.testing.assert_array_equal(read.landmarks, recorded["kpt_ind"])
    flat = {
        "shapeMU__flat1": read.mean,
        "shapePC__flat128": read.shape_basis,
        "expPC__flat102": read.expression_basis,
        "texMU__flat1": read.albedo,
    }
    for key, array in flat.items():
        step = int(key.rsplit("flat", 1)[1])
        np.testing.assert_allclose(array.reshape(-1)[::step], recorded[key], rtol=1e-6)
    for key, array in {"shapePC__l2": read.shape_basis, "expPC__l2": read.expression_basis}.items():
        np.testing.assert_allclose(np.linalg.norm(array.astype(np.float64)), recorded[key], rtol=1e-6)
    np.testing.assert_allclose(read.shape_deviation, recorded["shapeEV"][:, 0], rtol=1e-6)
    np.testing.assert_allclose(read.expression_deviation, recorded["expEV"][:, 0], rtol=1e-6)


def test_the_model_winds_outward(read):
    import torch

    model = read.model()
    # Recorded are the normals of the file's own winding, which point into the head.
    normals = vertex_normals(torch.from_numpy(model.mean), torch.from_numpy(model.triangles)).numpy()
    inward = golden("face3d")["mean_normal__flat1"].reshape(-1, 3)
    assert (np.einsum("vd,vd->v", normals, inward) < 0).all()
    np.testing.assert_array_equal(model.triangles, read.triangles[:, ::-1])
    assert model.millimetres == 1e-3
    assert set(model.regions) == {"nose", "eyes", "mouth", "rest"}


def test_missing_and_mismatched_files_are_named(folder, tmp_path):
    with pytest.raises(FileFormatError, match=r"lacks BFM\.mat"):
        read_face3d(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    savemat(tmp_path / "BFM_UV.mat", {"UV": np.zeros((3, 2))})
    with pytest.raises(FileFormatError, match="'UV' has shape"):
        read_face3d(tmp_path)
