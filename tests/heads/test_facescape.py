"""FaceScape's head: names, laws, files; on a tiny model of its own (official numbers: the method's goldens)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import synthetic_facescape
from likeness.errors import AssetError
from likeness.heads import Head
from likeness.heads.facescape import facescape_head, load_facescape_head
from likeness.heads.facescape_expressions import ARKIT_NAMES, FACESCAPE_NAMES, FACESCAPE_TO_ARKIT, KEY_EXPRESSIONS
from likeness.heads.facescape_files import TABLE_FILES, read_core, read_factors, read_landmarks, read_tables


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return synthetic_facescape.write_tiny_model(tmp_path_factory.mktemp("facescape"))


@pytest.fixture(scope="module")
def head(paths):
    return _head(paths["facescape_faces"].parent, paths)


def _head(folder, paths):
    core, factors = read_core(folder / "core_847_50_52.npy"), read_factors(folder / "factors_id_847_50_52.npy")
    return facescape_head(core, factors, read_tables(paths))


def test_the_names_are_arkits_but_for_the_tongue():
    assert len(FACESCAPE_NAMES) == 52
    assert FACESCAPE_TO_ARKIT["neutral"] is None
    assert len(set(ARKIT_NAMES)) == 51
    assert "tongueOut" not in ARKIT_NAMES
    assert FACESCAPE_TO_ARKIT["LipsPucker"] == "mouthPucker"
    assert FACESCAPE_TO_ARKIT["ChinLowerRaise"] == "mouthShrugLower"
    assert len(KEY_EXPRESSIONS) == 20
    # Left and right in both spellings agree.
    for name, arkit in FACESCAPE_TO_ARKIT.items():
        if name.endswith("_L"):
            assert arkit is not None
            assert arkit.endswith("Left") or "Left" in arkit


def test_it_is_a_head(head):
    assert isinstance(head, Head)
    assert (head.n_identity, head.n_expression, len(head.expression_names)) == (6, 51, 51)
    torch.testing.assert_close(head.skin_weights().sum(1), torch.ones(head.n_vertices))
    face = head.vertices(torch.zeros(1, 6))[0][head.topology.region("face")]
    # The origin is the middle of the face.
    assert face.mean(0).abs().max() < 0.01


def test_expressions_add_absolute_shapes_and_the_file_stays_as_it_is(head):
    before = head.core.clone()
    identity, weights = torch.randn(2, 6), torch.rand(2, 51) * 0.4
    mean, deviation = (torch.from_numpy(np.asarray(x)) for x in _statistics(head))
    factors = mean + identity.double() * deviation
    expected = torch.zeros(2, head.core.shape[2], dtype=torch.float64)
    core = head.core.double()
    for row in range(2):
        for k in range(6):
            neutral = core[k, 0]
            shape = neutral + sum(weights[row, j] * (core[k, j + 1] - neutral) for j in range(51))
            expected[row] += factors[row, k] * shape
    found = head.vertices(identity, weights).double() + head.origin
    torch.testing.assert_close(found, expected.reshape(2, -1, 3), atol=1e-3, rtol=0)
    assert torch.equal(head.core, before)
    slots = head.personal_blendshapes(identity[:1])
    torch.testing.assert_close(slots[7], head.vertices(identity[:1], torch.eye(51)[6:7])[0], atol=1e-3, rtol=0)


def _statistics(head):
    return head.tables.identity_mean, np.sqrt(head.tables.identity_variance)


def test_identity_goes_there_and_back(head):
    identity = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(head.identity_of(head.factors_of(identity)), identity)


def test_gradients_reach_identity_and_expression(head):
    identity, weights = torch.zeros(1, 6, requires_grad=True), torch.full((1, 51), 0.2, requires_grad=True)
    head.vertices(identity, weights).square().sum().backward()
    for parameter in (identity, weights):
        assert parameter.grad is not None
        assert parameter.grad.abs().min() > 0


def test_the_joint_turns_the_whole_head_about_itself(head):
    identity = torch.zeros(1, 6)
    turned = head.vertices(identity, None, torch.tensor([[[0.0, torch.pi, 0.0]]]))
    joint = head.joint_positions(identity)
    expected = (head.vertices(identity) - joint) * torch.tensor([-1.0, 1.0, -1.0]) + joint
    torch.testing.assert_close(turned, expected, atol=1e-3, rtol=0)


def test_tables_are_kept_and_read_again_while_their_sources_stay(paths, tmp_path):
    cache = tmp_path / "kept.safetensors"
    first = read_tables(paths, cache)
    assert cache.is_file()
    again = read_tables(paths, cache)
    np.testing.assert_array_equal(again.contour_left[3], first.contour_left[3])
    np.testing.assert_array_equal(again.face_mask, first.face_mask)
    moved = dict(paths)
    moved["facescape_landmarks"] = tmp_path / "index_68.txt"
    moved["facescape_landmarks"].write_text("\n".join(map(str, first.landmarks[::-1])))
    np.testing.assert_array_equal(read_tables(moved, cache).landmarks, first.landmarks[::-1])
    cache.write_bytes(b"damaged")
    np.testing.assert_array_equal(read_tables(paths, cache).landmarks, first.landmarks)


@pytest.mark.parametrize("name", [name for name in TABLE_FILES if name != "facescape_mask"])
def test_a_file_that_holds_something_else_is_refused_by_name(paths, tmp_path, name):
    wrong = tmp_path / paths[name].name
    wrong.write_bytes(b"\x80\x02]q\x00(K\x01X\x01\x00\x00\x00ae.")  # the list [1, "a"]
    with pytest.raises(AssetError, match=wrong.name.split(".")[0]):
        read_tables({**paths, name: wrong})


def test_a_pickle_that_runs_code_is_refused(paths, tmp_path):
    evil = tmp_path / "id_mean.pkl"
    evil.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(AssetError, match="id_mean"):
        read_tables({**paths, "facescape_identity_mean": evil})


def test_indices_beyond_the_mesh_are_refused(paths, tmp_path):
    beyond = tmp_path / "index_68.txt"
    beyond.write_text("\n".join(["26316"] * 68))
    assert len(read_landmarks(beyond)["landmarks"]) == 68
    with pytest.raises(AssetError, match="do not belong"):
        read_tables({**paths, "facescape_landmarks": beyond})


def test_files_of_two_models_do_not_mix(paths, tmp_path):
    other = synthetic_facescape.write_tiny_model(tmp_path, n_identity=5)
    folder = other["facescape_faces"].parent
    with pytest.raises(AssetError, match="factors"):
        facescape_head(
            read_core(folder / "core_847_50_52.npy"),
            read_factors(folder / "factors_id_847_50_52.npy"),
            read_tables(paths),
        )


def test_a_core_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "core_847_50_52.npy"
    np.save(path, np.zeros((5, 47, 9), np.float32))
    with pytest.raises(AssetError, match=r"1\.3"):
        read_core(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AssetError, match="cut short"):
        read_core(path)


def test_installed_files_make_the_head(paths, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(paths["facescape_faces"].parent))
    assert load_facescape_head().n_vertices == 775


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match=r"core_847_50_52\.npy"):
        load_facescape_head()
