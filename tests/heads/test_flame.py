"""FLAME: the reference implementation's numbers, a textbook twin, the laws of a head, and files of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

import synthetic_flame
from likeness.errors import FileFormatError, InputError
from likeness.heads import Flame, Head
from likeness.heads.flame_files import (
    read_flame,
    read_flame_chart,
    read_flame_landmarks,
    read_flame_mediapipe,
)
from likeness.heads.flame_landmarks import contour_rows

GOLDENS = Path(__file__).parents[1] / "goldens" / "deca"
# float32 sums of 150 terms in another order; the reference itself is good to about 1e-7.
TOLERANCE_M = 2e-6

DIGESTS = {
    "J": "275d527569758e85",
    "dynamic_lmk_faces_idx": "d9e29a14c414e419",
    "f": "51d6d08d172cbbfa",
    "full_lmk_bary_coords": "46c054ca601e4406",
    "posedirs": "5d2b6643645d8a23",
    "shapedirs": "90f93c7a1dac1519",
    "static_lmk_faces_idx": "396c96596298b523",
    "v_template": "f1344849289eee1a",
    "weights": "c1bb438b29afe4ed",
}


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDENS / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def rotations(pose: torch.Tensor, eyes: torch.Tensor | None = None) -> torch.Tensor:
    """DECA's six numbers of pose (root, jaw), and six of the eyes, as rotations of the five joints."""
    found = torch.zeros(len(pose), 5, 3)
    found[:, 0], found[:, 2] = pose[:, :3], pose[:, 3:]
    if eyes is not None:
        found[:, 3], found[:, 4] = eyes[:, :3], eyes[:, 3:]
    return found


@pytest.fixture(scope="module")
def layer():
    return Flame(synthetic_flame.flame_model(), n_shape=100, n_expression=50)


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE_M) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


# ------------------------------------------------------------------ the reference's numbers


def test_the_synthetic_model_is_the_one_the_goldens_were_recorded_with():
    found = synthetic_flame.digests()
    assert {key: found[key] for key in DIGESTS} == DIGESTS


def test_vertices_and_landmarks(layer):
    data, places = golden("flame"), synthetic_flame.flame_embeddings()
    turns = rotations(data["pose"])
    vertices = layer(data["shape"], data["exp"], turns)
    close(vertices, data["verts"])
    close(places.moving(vertices, turns), data["landmarks2d"])
    close(places.fixed.points(vertices), data["landmarks3d"])


def test_eyes(layer):
    data = golden("flame")
    vertices = layer(data["shape"], data["exp"], rotations(data["pose"], data["eye_pose"]))
    close(vertices[:1], data["verts_eye"])
    close(synthetic_flame.flame_embeddings().fixed.points(vertices), data["landmarks3d_eye"])


def test_skinning_with_every_joint_turned(layer):
    data = golden("lbs")
    shape, expression = data["betas_shape100_exp50"].split([100, 50], 1)
    turns = data["full_pose_global_neck_jaw_eyes"].view(-1, 5, 3)
    close(layer(shape, expression, turns), data["verts"])
    close(layer.joints(shape, expression), data["joints_rest"])
    unposed = layer(shape, expression)
    close(unposed[:, ::10], data["v_shaped_every10"])


def test_the_contour_follows_the_yaw(layer):
    data, places = golden("landmarks_yaw"), synthetic_flame.flame_embeddings()
    turns = rotations(data["pose"])
    assert torch.equal(contour_rows(turns), data["table_row"])
    vertices = layer(torch.zeros(1, 100), None, turns)
    close(places.moving(vertices, turns), data["landmarks2d"])
    close(places.fixed.points(vertices), data["landmarks3d"])


def test_rotations_are_those_of_the_reference():
    data = golden("rotations")
    # Row 10 is a rotation vector of -1e-8, for which the reference divides by zero and roma does not.
    usable = torch.arange(len(data["axis_angle"])) != 10
    close(roma.rotvec_to_rotmat(data["axis_angle"][usable]), data["rodrigues"][usable], 1e-6)
    close(roma.rotvec_to_rotmat(data["axis_angle"][:8]), data["axis2matrix_quat"], 1e-6)
    close(roma.euler_to_rotvec("XYZ", data["euler_xyz"]), data["euler2axis"], 1e-6)
    close(roma.euler_to_rotmat("XYZ", data["euler_xyz"]), data["euler2matrix"], 1e-6)
    scalar_last = roma.euler_to_unitquat("XYZ", data["euler_xyz"])
    close(
        scalar_last[:, [3, 0, 1, 2]] * scalar_last[:, 3:].sign(), data["euler2quat"] * data["euler2quat"][:, :1].sign()
    )


# ------------------------------------------------------------------ twin and laws


def flame_twin(model, shape, expression, turns):
    """FLAME as its papers write it, one vertex set at a time in float64."""
    codes = np.concatenate([shape, np.zeros(300 - len(shape)), expression, np.zeros(100 - len(expression))])
    rest = model.template + np.einsum("vck,k->vc", model.shapedirs.astype(np.float64), codes)
    joints = model.joint_regressor.astype(np.float64) @ rest
    matrices = roma.rotvec_to_rotmat(torch.from_numpy(turns)).numpy()
    rest = rest + model.posedirs.astype(np.float64) @ (matrices[1:] - np.eye(3)).ravel()
    world = [np.eye(4) for _ in range(5)]
    for joint in range(5):
        parent = model.parents[joint]
        local = np.eye(4)
        local[:3, :3] = matrices[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world[joint] = local if parent < 0 else world[parent] @ local
    posed = np.zeros_like(rest)
    for joint in range(5):
        moved = (rest - joints[joint]) @ world[joint][:3, :3].T + world[joint][:3, 3]
        posed += model.skin_weights[:, joint, None] * moved
    return posed


def random_codes(n: int, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    shape, expression = torch.randn(n, 100, generator=draw), torch.randn(n, 50, generator=draw)
    return shape, expression, 0.4 * torch.randn(n, 5, 3, generator=draw)


def test_the_layer_is_its_textbook_twin(layer):
    shape, expression, turns = random_codes(3)
    found = layer(shape, expression, turns)
    for row in range(3):
        twin = flame_twin(synthetic_flame.flame_model(), *(x[row].double().numpy() for x in (shape, expression, turns)))
        np.testing.assert_allclose(found[row].numpy(), twin, atol=1e-6)


def test_a_prepared_identity_poses_like_a_whole_call(layer):
    shape, expression, turns = random_codes(4)
    prepared = layer.prepare(shape[:1])
    close(layer.pose(prepared, expression, turns), layer(shape[:1].expand(4, -1), expression, turns), 5e-7)


@pytest.mark.parametrize("sizes", [(1, 4, 4), (4, 1, 4), (4, 4, 1), (4, 1, 1), (1, 4, 1), (1, 1, 4)])
def test_a_batch_of_one_broadcasts(layer, sizes):
    codes = random_codes(4)
    narrow = [code[:n] for code, n in zip(codes, sizes, strict=True)]
    wide = [code.expand(4, *code.shape[1:]) for code in narrow]
    close(layer(*narrow), layer(*wide), 5e-7)


def test_gradients_agree_with_finite_differences():
    layer = Flame(synthetic_flame.flame_model(), n_shape=2, n_expression=2).double()
    draw = torch.Generator().manual_seed(1)
    inputs = [torch.randn(1, 2, generator=draw), torch.randn(1, 2, generator=draw), torch.zeros(1, 5, 3)]
    inputs[2][0, 2] = torch.tensor([0.2, -0.1, 0.05])  # the others stay at zero, where a norm's gradient is in danger
    inputs = [code.double().requires_grad_() for code in inputs]
    direction = torch.randn(1, 5023, 3, generator=draw, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *codes: (layer(*codes) * direction).sum(), inputs, eps=1e-6, atol=1e-6)


def test_turning_the_root_turns_the_head_about_its_joint(layer):
    shape, expression, turns = random_codes(2)
    still = turns.clone()
    still[:, 0] = 0
    root = layer.joints(shape, expression)[:, :1]
    turned = (layer(shape, expression, still) - root) @ roma.rotvec_to_rotmat(turns[:, 0]).mT + root
    close(layer(shape, expression, turns), turned, 1e-6)


@pytest.mark.parametrize(
    ("shape", "expression", "turns"),
    [
        ((1, 99), (1, 50), (1, 5, 3)),
        ((1, 100), (1, 51), (1, 5, 3)),
        ((1, 100), (1, 50), (1, 4, 3)),
        ((100,), None, None),
    ],
)
def test_codes_of_the_wrong_shape_are_named(layer, shape, expression, turns):
    codes = [None if size is None else torch.zeros(size) for size in (shape, expression, turns)]
    with pytest.raises(InputError, match="FLAME's"):
        layer(*codes)


# ------------------------------------------------------------------ as a head of Likeness


def test_it_is_a_head():
    head = synthetic_flame.flame_head()
    assert isinstance(head, Head)
    assert (head.n_identity, head.n_expression) == (300, 100)
    assert len(head.expression_names) == len(set(head.expression_names)) == 100
    assert head.joint_parents == (-1, 0, 1, 1, 1)
    close(head.skin_weights().sum(1), torch.ones(5023))


def test_millimetres_at_the_door():
    head = synthetic_flame.flame_head()
    identity, expression, turns = torch.randn(2, 300), torch.randn(2, 100), 0.2 * torch.randn(2, 5, 3)
    metres = head.layer(identity, expression, turns)
    millimetres = head.vertices(identity, expression, turns)
    close(millimetres, 1000 * (metres - head.centre), 1e-4)
    close(head.to_metres(millimetres), metres, 1e-6)
    average = head.vertices(torch.zeros(1, 300))
    close(head.embeddings["ibug68"].points(average).mean(1), torch.zeros(1, 3), 1e-3)


def test_offsets_ride_on_the_neutral_shape():
    head = synthetic_flame.flame_head()
    offsets = torch.randn(5023, 3)
    identity = torch.randn(1, 300)
    # 1e-4 mm: float32 metres hold 0.1 m to 1e-8
    close(head.vertices(identity, offsets=offsets), head.vertices(identity) + offsets, 1e-4)
    joints = torch.zeros(1, 5, 3)
    joints[:, 0] = torch.tensor([0.0, 0.5, 0.0])
    turned = head.vertices(identity, None, joints) + offsets @ roma.rotvec_to_rotmat(joints[0, 0]).T
    close(head.vertices(identity, None, joints, offsets[None]), turned, 1e-4)


# ------------------------------------------------------------------ files


def test_every_variant_of_the_file_gives_the_same_model(tmp_path):
    whole = synthetic_flame.flame_model()
    data = {key: value for key, value in synthetic_flame.model().items() if isinstance(value, np.ndarray)}
    np.savez(tmp_path / "flame.npz", **data)
    import pickle

    (tmp_path / "flame2023.pkl").write_bytes(pickle.dumps(data, protocol=4))
    for name in ("flame.npz", "flame2023.pkl"):
        assert read_flame(tmp_path / name).version == whole.version


def test_another_model_has_another_version(tmp_path):
    data = dict(synthetic_flame.model())
    data["v_template"] = data["v_template"] + 1e-4
    (tmp_path / "other.pkl").write_bytes(synthetic_flame.model_pickle(data))
    assert read_flame(tmp_path / "other.pkl").version != synthetic_flame.flame_model().version


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("v_template", np.zeros((5022, 3)), "v_template has shape"),
        ("f", np.full((9976, 3), 5023), "vertices that FLAME does not have"),
        ("shapedirs", np.zeros((5023, 3, 200)), "200 components"),
        ("weights", "many", "no array of numbers"),
        ("kintree_table", np.array([[0, 2, 1, 1, 1], [0, 1, 2, 3, 4]]), "tree"),
        ("J_regressor", None, "lacks J_regressor"),
    ],
)
def test_a_file_that_is_no_flame_says_why(tmp_path, key, value, message):
    import pickle

    data = {**synthetic_flame.model(), key: value}
    if value is None:
        del data[key]
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(FileFormatError, match=message):
        read_flame(path)


def test_an_embedding_beyond_the_mesh_is_refused(tmp_path):
    content = dict(synthetic_flame.embedding())
    content["static_lmk_faces_idx"] = content["static_lmk_faces_idx"] + 9976
    np.save(tmp_path / "landmark_embedding.npy", np.array(content, dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError, match="triangles that FLAME does not have"):
        read_flame_landmarks(tmp_path / "landmark_embedding.npy")


def test_the_chart_is_read_back(tmp_path):
    chart = read_flame_chart(synthetic_flame.write_head_template(tmp_path / "head_template.obj"))
    triangles, uv_triangles, uv = synthetic_flame.topology()
    np.testing.assert_array_equal(chart.triangles, triangles)
    np.testing.assert_array_equal(chart.uv_triangles, uv_triangles)
    np.testing.assert_allclose(chart.uv, uv, atol=1e-6)


@pytest.mark.parametrize("text", ["v 0 0 0\nf 1 1 1\n", "f a/b c/d e/f\n", "", "v 0 0 0\nf 1/1 2/2 3/3 4/4\n"])
def test_another_mesh_is_no_chart(tmp_path, text):
    path = tmp_path / "head_template.obj"
    path.write_text(text)
    with pytest.raises(FileFormatError, match="head_template"):
        read_flame_chart(path)


def test_the_mediapipe_embedding(tmp_path):
    path = tmp_path / "mediapipe_landmark_embedding.npz"
    np.savez(path, landmark_indices=[0, 477], lmk_face_idx=[3, 9975], lmk_b_coords=[[1.0, 0, 0], [0.2, 0.3, 0.5]])
    found = read_flame_mediapipe(path)
    assert found.indices.tolist() == [0, 477]
    np.savez(path, landmark_indices=[478], lmk_face_idx=[3], lmk_b_coords=[[1.0, 0, 0]])
    with pytest.raises(FileFormatError, match="do not exist"):
        read_flame_mediapipe(path)
