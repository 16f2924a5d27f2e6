"""Maps between heads, held to stand-ins of other topologies that know the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import standin_heads
from likeness.errors import InputError
from likeness.heads import correspondence, load_head
from likeness.heads.correspondence import average_of, correspond, registration_of
from likeness.heads.personal import PersonalHead
from likeness.topology import Topology

HEADS = {
    "flame": (standin_heads.flame_head, standin_heads.flame_mesh, 2),
    "bfm": (standin_heads.bfm_head, standin_heads.bfm_mesh, 5),
}


def region_of(mesh: standin_heads.Remesh, name: str) -> np.ndarray:
    mask = load_head("open").topology.region(name)
    return mesh.carried(mask[:, None].astype(float))[:, 0] > 0.5


@pytest.mark.parametrize(("name", "region", "median", "most"), [
    ("flame", "face", 0.8, 3.5), ("flame", "lips", 0.4, 2.5), ("flame", "eyelids", 0.8, 2.6), ("flame", "nose", 1.0, 3),
    ("bfm", "face", 1.1, 4.0), ("bfm", "lips", 0.6, 1.2), ("bfm", "eyelids", 0.8, 2.0), ("bfm", "nose", 1.0, 2.5),
])  # fmt: skip
def test_points_are_found_where_they_truly_are(name, region, median, most):
    """Bounds: half as much again as measured. The stand-ins differ from the open head by more than people do."""
    make, mesh, seed = HEADS[name][0](), HEADS[name][1](), HEADS[name][2]
    found, triangles = registration_of(make), load_head("open").topology.triangles
    person = standin_heads.resized(standin_heads.average(), identity=seed)
    error = np.linalg.norm(found.head_to_open.of(person, triangles) - mesh.truth.of(person, triangles), axis=1)
    asked = region_of(mesh, region) & found.head_covered
    assert asked.sum() > 100
    assert np.median(error[asked]) < median
    assert np.percentile(error[asked], 95) < most


@pytest.mark.parametrize("name", HEADS)
def test_there_and_back_again(name):
    head, opened = HEADS[name][0](), load_head("open")
    there, back = correspond(opened, head), correspond(head, opened)
    places = average_of(opened)
    # Where each open vertex went, and what the open head has there.
    returned = back.points.of(there.points.of(places, opened.topology.triangles), head.topology.triangles)
    both = back.covered & opened.topology.region("face") & ~opened.topology.region("nostrils")
    error = np.linalg.norm(returned - places, axis=1)[both]
    assert both.sum() > 1000
    assert np.median(error) < 0.3
    assert np.percentile(error, 95) < 1.5


def test_between_two_other_heads_through_the_open_one():
    flame, bfm = standin_heads.flame_head(), standin_heads.bfm_head()
    found = correspond(flame, bfm)
    truth = standin_heads.bfm_mesh().truth.of(standin_heads.average(), load_head("open").topology.triangles)
    on_flame = standin_heads.flame_mesh().carried(standin_heads.average())
    error = np.linalg.norm(found.points.of(on_flame, flame.topology.triangles) - truth, axis=1)[found.covered]
    assert found.covered.mean() > 0.9
    assert np.median(error) < 1.5


def test_a_face_without_a_neck_covers_no_neck():
    found, region = registration_of(standin_heads.bfm_head()), load_head("open").topology.region
    assert found.open_covered[region("lips")].mean() > 0.85
    for missing in ("teeth", "tongue", "scalp"):
        assert found.open_covered[region(missing)].mean() < 0.1
    assert np.isfinite(found.template).all()
    # What is missing goes on where the rest ends: no farther from the face than on the open head itself.
    reach = np.linalg.norm(found.template - found.template[region("nose")].mean(0), axis=1)
    assert reach[region("neck")].max() < 260


def test_the_open_head_is_itself():
    head = load_head("open")
    found = correspond(head, head)
    np.testing.assert_allclose(found.points.of(average_of(head), head.topology.triangles), average_of(head), atol=1e-6)
    assert found.covered.all()


def test_a_registration_is_kept_and_a_damaged_one_made_anew(tmp_path, monkeypatch):
    made = []

    def register(*arguments):
        made.append(arguments)
        return kept

    kept = registration_of(standin_heads.bfm_head())
    monkeypatch.setenv("LIKENESS_CACHE", str(tmp_path))
    monkeypatch.setattr(correspondence, "register", register)
    monkeypatch.setattr(correspondence, "_RECENT", {})
    registration_of(standin_heads.bfm_head())
    monkeypatch.setattr(correspondence, "_RECENT", {})
    again = registration_of(standin_heads.bfm_head())
    assert len(made) == 1
    np.testing.assert_array_equal(again.template, kept.template)
    np.testing.assert_array_equal(again.head_to_open.barycentric, kept.head_to_open.barycentric)
    np.testing.assert_array_equal(again.open_covered, kept.open_covered)
    (file,) = (tmp_path / "registrations").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    monkeypatch.setattr(correspondence, "_RECENT", {})
    registration_of(standin_heads.bfm_head())
    assert len(made) == 2


def test_a_head_without_landmarks_says_so():
    triangle = PersonalHead(
        neutral=torch.eye(3) * 50,
        blendshapes=torch.zeros(1, 3, 3),
        expression_names=("none",),
        topology=Topology(triangles=np.array([[0, 1, 2]])),
    )
    with pytest.raises(InputError, match="ibug68"):
        registration_of(triangle)
