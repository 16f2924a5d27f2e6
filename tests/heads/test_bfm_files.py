import contextlib

import numpy as np
import pytest
from scipy.io import savemat

import synthetic_bfm
from likeness.errors import FileFormatError
from likeness.heads import bfm, bfm_assets, bfm_files, load_head
from likeness.heads.bfm_expressions import read_deviations, read_expressions
from likeness.heads.bfm_mat import indices, read_mat, read_struct
from synthetic_bfm import front_entries, golden

ENTRIES = tuple(front_entries())


def assert_golden(entries, key):
    """Shape, type, sums and 600 rows; tolerances of the recording (float32 sums in another order)."""
    recorded, array = golden("bfm_assembly"), entries[key]
    assert array.shape == tuple(recorded[f"{key}_shape"])
    assert array.dtype == str(recorded[f"{key}_dtype"])
    np.testing.assert_allclose(array.sum(dtype=np.float64), recorded[f"{key}_sum"], rtol=1e-6)
    np.testing.assert_allclose((array.astype(np.float64) ** 2).sum(), recorded[f"{key}_sumsq"], rtol=1e-6)
    if f"{key}_rows" in recorded:
        rows = array.reshape(-1) if len(array) == 1 else array
        np.testing.assert_allclose(rows[recorded["rows"]], recorded[f"{key}_rows"], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("key", ENTRIES)
def test_maker_gives_the_recorded_numbers(key):
    assert_golden(front_entries(), key)


@pytest.fixture
def nothing_loaded():
    """Heads are loaded once; before and after, as if none had been."""
    caches = (bfm_assets.front_model, bfm_assets.full_model, bfm.load_bfm_head, bfm.load_full_bfm_head)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_loaded")
def test_raw_files_assemble_to_the_recorded_numbers_to_the_bit(tmp_path, monkeypatch):
    paths = synthetic_bfm.write_raw(tmp_path)
    entries = bfm_files.front_entries(paths)
    for key in ENTRIES:
        assert_golden(entries, key)
        np.testing.assert_array_equal(entries[key], front_entries()[key])
    full = bfm_files.assemble_full(paths)
    front = bfm_files.assemble_front(paths)
    assert full.mean.shape == (53215, 3)
    # The full face holds the front face: same place, 1e5 µm a dm, up to float32 rounding at 1e5 µm.
    vertices = synthetic_bfm.recipe().front
    np.testing.assert_allclose(full.mean[vertices] / 1e5, front.model.mean, atol=1e-6)
    np.testing.assert_allclose(full.identity_basis[vertices] / 1e5, front.model.identity_basis, atol=1e-7)
    np.testing.assert_allclose(full.expression_basis[vertices] / 1e5, front.model.expression_basis, atol=1e-7)
    np.testing.assert_array_equal(full.landmarks, vertices[front.model.landmarks])
    # Lying in the store, they are what the heads are made of.
    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path))
    for name, model in (("bfm", front.model), ("bfm_full", full)):
        head = load_head(name)
        assert (head.name, head.version) == (name, model.version)


def test_recentred_mean_is_the_recorded_one():
    model, recorded = synthetic_bfm.front_model().model, golden("bfm_assembly")
    # A float32 mean of 35,709 rows depends on how a machine adds: up to 6e-6 dm.
    centred = (model.mean - model.centre).reshape(-1)[recorded["rows"]]
    np.testing.assert_allclose(centred, recorded["recentred_rows"], atol=2e-5)
    np.testing.assert_allclose(synthetic_bfm.standard_landmarks(), recorded["lm3d_68"], atol=1e-7)


def test_ready_made_file_gives_the_same_model(tmp_path):
    entries = dict(front_entries())
    savemat(tmp_path / "BFM_model_front.mat", entries)
    read, made = bfm_files.read_front(tmp_path / "BFM_model_front.mat"), synthetic_bfm.front_model()
    assert read.model.version == made.model.version
    np.testing.assert_array_equal(read.incident, made.incident)
    np.testing.assert_array_equal(read.photometric_triangles, made.photometric_triangles)
    np.testing.assert_array_equal(read.photometric, made.photometric)
    assert read.skin.sum() == 9642


def test_indices_are_zero_based_and_padding_names_the_extra_normal():
    front = synthetic_bfm.front_model()
    assert front.model.triangles.min() == 0
    assert front.incident.max() == len(front.model.triangles)
    assert front.photometric_triangles.max() < len(front.photometric)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tri": lambda a: a + len(front_entries()["meantex"][0])}, "holds indices"),
        ({"tri": lambda a: a + 0.5}, "fractions"),
        ({"idBase": lambda a: a[:-3]}, "has shape"),
        ({"meantex": lambda a: a[:, :-3]}, "entries"),
        ({"meanshape": lambda a: a * np.nan}, "not finite"),
        ({"keypoints": lambda a: a[:, :-1]}, "entries"),
        ({"skinmask": lambda a: a[:, :-1]}, "entries"),
    ],
)
def test_entries_that_do_not_fit_are_refused(change, message):
    broken = {key: change.get(key, lambda a: a)(value) for key, value in front_entries().items()}
    with pytest.raises(FileFormatError, match=message):
        bfm_files.front_from_entries(broken, "broken.mat")


def test_lacking_entries_and_broken_files_are_named(tmp_path):
    savemat(tmp_path / "small.mat", {"a": np.ones(3)})
    with pytest.raises(FileFormatError, match=r"lacks idx; it holds a"):
        read_mat(tmp_path / "small.mat", ["idx"])
    whole = (tmp_path / "small.mat").read_bytes()
    for cut in range(0, len(whole), 7):
        (tmp_path / "cut.mat").write_bytes(whole[:cut])
        with pytest.raises(FileFormatError):
            read_mat(tmp_path / "cut.mat", ["a"])
    with pytest.raises(FileFormatError, match="no such file"):
        read_mat(tmp_path / "none.mat", ["a"])


def test_flipped_bytes_never_escape_as_another_error(tmp_path):
    savemat(tmp_path / "small.mat", {"idx": np.arange(20.0)}, do_compression=True)
    whole = bytearray((tmp_path / "small.mat").read_bytes())
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        (tmp_path / "flipped.mat").write_bytes(changed)
        with contextlib.suppress(FileFormatError):
            read_mat(tmp_path / "flipped.mat", ["idx"])


def test_structs_and_objects(tmp_path):
    savemat(tmp_path / "s.mat", {"model": {"a": np.ones((2, 2)), "text": "word"}})
    np.testing.assert_array_equal(read_struct(tmp_path / "s.mat", "model", ["a"])["a"], np.ones((2, 2)))
    with pytest.raises(FileFormatError, match="lacks b"):
        read_struct(tmp_path / "s.mat", "model", ["b"])
    with pytest.raises(FileFormatError, match="no numbers"):
        read_struct(tmp_path / "s.mat", "model", ["text"])
    np.testing.assert_array_equal(indices("f", "i", np.array([1.0, 3.0]), 3), [0, 2])


def write_expressions(path, n_components, n_vertices):
    basis = np.arange(n_components * 3 * n_vertices, dtype="<f4").reshape(n_components, n_vertices, 3)
    with path.open("wb") as file:
        np.array([n_components], "<i4").tofile(file)
        np.full(3 * n_vertices, 7, "<f4").tofile(file)
        basis.tofile(file)
    return basis


def test_expressions_skip_the_mean_and_are_vertex_major(tmp_path):
    path = tmp_path / "Exp_Pca.bin"
    basis = write_expressions(path, 5, 4)
    np.testing.assert_array_equal(read_expressions(path, 4, 3), basis[:3].transpose(1, 2, 0))
    with pytest.raises(FileFormatError, match="does not fit"):
        read_expressions(path, 5, 3)
    with pytest.raises(FileFormatError, match="at least 6"):
        read_expressions(path, 4, 6)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="does not fit"):
        read_expressions(path, 4, 3)


@pytest.mark.parametrize("text", ["", "1 two", "1 -2", "1 nan", "1 inf"])
def test_deviations_must_be_positive_numbers(tmp_path, text):
    (tmp_path / "std_exp.txt").write_text(text)
    with pytest.raises(FileFormatError):
        read_deviations(tmp_path / "std_exp.txt")
