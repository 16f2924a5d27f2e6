"""The open head that ships: laws of the model, of its mesh, its atlas and its landmarks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import InputError
from likeness.heads import Head, load_head
from likeness.heads.open_head import OpenHead
from likeness.landmarks.conventions import LEFT_EYE, LIPS_INNER, LIPS_OUTER, MIRROR, RIGHT_EYE

N_ARKIT = 52


@pytest.fixture(scope="module")
def head() -> OpenHead:
    loaded = load_head("open")
    assert isinstance(loaded, OpenHead)
    return loaded


@pytest.fixture(scope="module")
def mean(head: OpenHead) -> np.ndarray:
    return head.vertices(torch.zeros(1, head.n_identity))[0].numpy()


def expression_of(head: OpenHead, **weights: float) -> torch.Tensor:
    code = torch.zeros(1, head.n_expression)
    for name, value in weights.items():
        code[0, head.expression_names.index(name)] = value
    return code


def twice_area_2d(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    p, q = b - a, c - a
    return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]


def test_it_is_a_head_with_arkits_shapes(head: OpenHead) -> None:
    assert isinstance(head, Head)
    assert head.n_expression == N_ARKIT == len(set(head.expression_names))
    assert head.joint_names == ("root", "neck", "jaw", "eyeLeft", "eyeRight")
    assert head.vertices(torch.zeros(3, head.n_identity)).shape == (3, len(head.topology.mirror), 3)


def test_the_mean_is_symmetric_and_life_sized(head: OpenHead, mean: np.ndarray) -> None:
    flipped = mean[head.topology.mirror] * [-1, 1, 1]
    np.testing.assert_allclose(flipped, mean, atol=1e-4)  # float32 of numbers up to 200 mm
    eyes = head.joint_positions(torch.zeros(1, head.n_identity))[0, 3:].numpy()
    assert eyes[0, 0] > 0 > eyes[1, 0]
    assert 58 < np.linalg.norm(eyes[0] - eyes[1]) < 68  # adult pupils are 54–74 mm apart, 63 on average


def test_shapes_of_both_sides_mirror_each_other(head: OpenHead, mean: np.ndarray) -> None:
    z = torch.zeros(1, head.n_identity)
    left = head.vertices(z, expression_of(head, eyeBlinkLeft=1.0))[0].numpy() - mean
    right = head.vertices(z, expression_of(head, eyeBlinkRight=1.0))[0].numpy() - mean
    np.testing.assert_allclose(left[head.topology.mirror] * [-1, 1, 1], right, atol=0.02)  # half precision
    assert mean[np.linalg.norm(left, axis=1) > 1, 0].min() > 0


def test_every_shape_moves_something_and_the_jaw_opens_downwards(head: OpenHead, mean: np.ndarray) -> None:
    codes = torch.eye(head.n_expression)
    moved = head.vertices(torch.zeros(head.n_expression, head.n_identity), codes) - torch.from_numpy(mean)
    assert (moved.norm(dim=-1).amax(1) > 1.0).all()
    jaw = moved[head.expression_names.index("jawOpen")].numpy()
    assert jaw[head.topology.region("teeth_lower"), 1].max() < -5.0
    assert np.abs(jaw[head.topology.region("teeth_upper")]).max() < 0.05


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_identity_and_expression_are_linear(seed: int) -> None:
    head = load_head("open")
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 1, head.n_identity, generator=generator)
    e = torch.rand(1, head.n_expression, generator=generator)
    rest = head.vertices(torch.zeros(1, head.n_identity))
    summed = head.vertices(a + b, e)
    parts = head.vertices(a) + head.vertices(b) + head.vertices(torch.zeros_like(a), e) - 2 * rest
    torch.testing.assert_close(summed, parts, atol=5e-3, rtol=0)  # sums of a hundred float32 terms


def test_joints_at_rest_change_nothing_and_the_root_moves_all_rigidly(head: OpenHead) -> None:
    identity = torch.randn(2, head.n_identity, generator=torch.Generator().manual_seed(0))
    rest = head.vertices(identity)
    joints = torch.zeros(2, 5, 3)
    torch.testing.assert_close(head.vertices(identity, None, joints), rest, atol=1e-3, rtol=0)
    joints[:, 0, 1] = 0.4
    turned = head.vertices(identity, None, joints)
    before, after = torch.pdist(rest[0, ::50]), torch.pdist(turned[0, ::50])
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0)


def test_an_eye_joint_turns_its_eyeball_about_its_centre_and_leaves_the_face(head: OpenHead, mean: np.ndarray) -> None:
    joints = torch.zeros(1, 5, 3)
    joints[0, head.joint_names.index("eyeLeft"), 1] = 0.35
    moved = head.vertices(torch.zeros(1, head.n_identity), None, joints)[0].numpy() - mean
    ball = head.topology.region("eyeball_left")
    pupil = mean[ball, 2].argmax()
    assert moved[ball][pupil, 0] > 4.0  # a turn about +y takes the front to +x: 16 mm · sin 0.35
    poles = mean[ball][[0, -1]]
    np.testing.assert_allclose((moved[ball][[0, -1]]).mean(0), 0, atol=0.05)  # the middle stays
    assert np.linalg.norm(poles[0] - poles[1]) > 20
    assert np.linalg.norm(moved[~ball], axis=1).max() < 1.0


def test_gradients_reach_every_code(head: OpenHead) -> None:
    identity = torch.zeros(1, head.n_identity, requires_grad=True)
    expression = torch.zeros(1, head.n_expression, requires_grad=True)
    joints = torch.zeros(1, 5, 3, requires_grad=True)
    (head.vertices(identity, expression, joints) ** 2).sum().backward()
    for code in (identity, expression, joints):
        assert code.grad is not None and bool((code.grad != 0).all())


@pytest.mark.parametrize("code", [torch.zeros(3), torch.zeros(1, 7)])
def test_a_code_of_the_wrong_size_is_refused(head: OpenHead, code: torch.Tensor) -> None:
    with pytest.raises(InputError, match="identity code must be"):
        head.vertices(code)


def test_triangles_cut_the_quads_and_wind_outwards(head: OpenHead, mean: np.ndarray) -> None:
    topology = head.topology
    assert topology.quads is not None
    n_quads = len(topology.quads)
    pairs = topology.triangles[: 2 * n_quads].reshape(n_quads, 6)
    assert all(set(pair) == set(quad) for pair, quad in zip(pairs.tolist(), topology.quads.tolist(), strict=True))
    for part in ("eyeball_left", "eyeball_right", "tongue"):  # closed: the divergence theorem gives the volume
        rows = topology.region(part)[topology.triangles].all(1)
        a, b, c = mean[topology.triangles[rows]].transpose(1, 0, 2)
        assert (a * np.cross(b, c)).sum() / 6 > 0
    skin = topology.triangles[topology.region("face")[topology.triangles].all(1)]
    a, b, c = mean[skin].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a)[:, 2] > 0).mean() > 0.9


def test_the_atlas_has_no_flipped_triangle_and_no_overlap(head: OpenHead) -> None:
    from likeness.render import rasterize

    uv, corners = head.topology.uv, head.topology.uv_triangles
    assert uv is not None and corners is not None
    assert uv.min() >= 0 and uv.max() <= 1
    a, b, c = uv[corners].astype(np.float64).transpose(1, 0, 2)
    area = twice_area_2d(a, b, c) / 2
    assert area.min() > 0
    size = 1024
    flat = np.concatenate([uv * size, np.ones((len(uv), 1))], 1).astype(np.float32)
    drawn = rasterize(torch.from_numpy(flat)[None], torch.from_numpy(corners), (size, size), perspective=False)
    covered = drawn.mask.double().mean().item()
    # Overlaps would cover less than the triangles' areas add up to; pixels at the charts' edges leave a little room.
    assert covered == pytest.approx(area.sum(), rel=0.01)


def test_the_face_gets_more_texture_than_the_scalp(head: OpenHead, mean: np.ndarray) -> None:
    def texels_per_mm(region: str) -> float:
        rows = head.topology.region(region)[head.topology.triangles].all(1)
        a, b, c = mean[head.topology.triangles[rows]].transpose(1, 0, 2)
        p, q, r = head.topology.uv[head.topology.uv_triangles[rows]].transpose(1, 0, 2)
        in_space = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
        return float(2048 * np.sqrt(twice_area_2d(p, q, r).sum() / in_space))

    assert texels_per_mm("face") > 1.5 * texels_per_mm("scalp")
    assert texels_per_mm("face") > 4.0


def test_skin_weights_sum_to_one_and_eyes_belong_to_their_joints(head: OpenHead) -> None:
    weights = head.skin_weights()
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    assert bool((weights >= 0).all())
    for side, joint in (("left", "eyeLeft"), ("right", "eyeRight")):
        ball = torch.from_numpy(head.topology.region(f"eyeball_{side}"))
        assert bool((weights[ball, head.joint_names.index(joint)] == 1).all())


@pytest.mark.parametrize(("convention", "count"), [("mediapipe478", 478), ("ibug68", 68)])
def test_landmarks_are_symmetric(head: OpenHead, mean: np.ndarray, convention, count: int) -> None:
    embedding = head.embeddings[convention]
    points = embedding.points(torch.from_numpy(mean)).numpy()
    assert points.shape == (count, 3)
    np.testing.assert_allclose(embedding.barycentric.sum(1), 1, atol=1e-6)
    assert embedding.barycentric.min() >= 0
    # 0.3 mm: iBUG's nearest MediaPipe points and rounding
    np.testing.assert_allclose(points[MIRROR[convention]] * [-1, 1, 1], points, atol=0.3)


def test_landmarks_sit_on_their_own_features(head: OpenHead) -> None:
    embedding, region = head.embeddings["mediapipe478"], head.topology.region
    corners = embedding.corners.numpy()
    lips = region("lip_upper") | region("lip_lower")
    assert lips[corners[list(LIPS_INNER)]].all()
    assert lips[corners[list(LIPS_OUTER)]].any(1).mean() > 0.8
    assert not (region("eyeball_left") | region("eyeball_right"))[corners[[*LEFT_EYE, *RIGHT_EYE]]].any()
    assert region("eyeball_left")[corners[473:478]].all()
    assert region("eyeball_right")[corners[468:473]].all()


def test_inner_lips_part_when_the_jaw_opens_and_lids_meet_in_a_blink(head: OpenHead) -> None:
    embedding, z = head.embeddings["mediapipe478"], torch.zeros(1, head.n_identity)

    def gap(upper: int, lower: int, **weights: float) -> float:
        points = embedding.points(head.vertices(z, expression_of(head, **weights)))[0]
        return float(points[upper, 1] - points[lower, 1])

    assert abs(gap(13, 14)) < 2.0
    assert gap(13, 14, jawOpen=1.0) > 20.0
    assert gap(386, 374) > 5.0
    assert abs(gap(386, 374, eyeBlinkLeft=1.0)) < 3.0


def test_outline_lines_pass_through_their_landmarks(head: OpenHead, mean: np.ndarray) -> None:
    vertices = torch.from_numpy(mean)
    for convention, lines in head.contours.items():
        landmarks = head.embeddings[convention].points(vertices)[lines.landmark]
        away = (lines.points(vertices) - landmarks[:, None]).norm(dim=-1).amin(1)
        assert float(away.max()) < 4.0  # half the spacing of a line's points


def test_the_outline_moves_forward_on_the_far_cheek(head: OpenHead, mean: np.ndarray) -> None:
    lines, vertices = head.contours["ibug68"], torch.from_numpy(mean)[None]
    chosen = {}
    for degrees in (0.0, 35.0):
        yaw = np.radians(degrees)
        turn = torch.tensor([[np.cos(yaw), 0, np.sin(yaw)], [0, -1, 0]], dtype=torch.float32)
        line_px, centre = lines.points(vertices) @ turn.T, vertices.mean(1) @ turn.T
        chosen[degrees] = lines.outermost(line_px, centre)[0]
    # Points are ordered from front to back; a turn to the subject's left hides the left cheek (iBUG 10–14).
    assert bool((chosen[35.0][10:15] < chosen[0.0][10:15]).all())
