"""DECA from photo to Face, to files, to another's expression; with synthetic data and stand-in weights."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

import synthetic_deca
import synthetic_flame
from likeness import assets
from likeness.animate.transfer import transfer
from likeness.cameras import Similarity, WeakPerspective
from likeness.errors import AssetError, FileFormatError, InputError, NoFaceError
from likeness.face import Face
from likeness.files.mat import read_mat
from likeness.landmarks import Landmarks
from likeness.methods import detail_maps, follow_expression, load_method
from likeness.methods.deca import files, following
from likeness.methods.deca.crop import Box, crop_photo, whole_photo
from likeness.methods.deca.detail import decode_detail
from likeness.methods.deca.face_codes import code_to_face, crop_of, face_to_code
from likeness.methods.deca.files import Networks
from likeness.methods.deca.geometry import pose_geometry
from likeness.methods.deca.inference import fast_networks
from likeness.methods.deca.method import DecaMethod, crop_about
from likeness.methods.deca.outputs import KINDS, write_outputs
from likeness.methods.deca.sheets import draw_columns
from likeness.methods.protocol import Photo


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (9, 12, 3)).astype(np.uint8)
    from PIL import Image

    return Photo(np.array(Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)), "synthetic.png")


@pytest.fixture(scope="module")
def landmarks():
    rng = np.random.default_rng(1)
    return Landmarks("ibug68", (rng.uniform(0, 1, (68, 2)) * [90, 110] + [110, 60]).astype(np.float32), 0.9)


@pytest.fixture(scope="module")
def method():
    """Stand-in weights see heads nowhere in particular; the bias of the camera puts them in front of it."""
    networks = synthetic_deca.networks()

    coarse = copy.deepcopy(networks.coarse)
    with torch.no_grad():
        last = coarse.layers[2]
        last.weight *= 0.1
        last.bias[206], last.bias[207:209] = 7.5, 0.0
        last.bias[209:212] += 3.2
    model = dataclasses.replace(synthetic_deca.model(), networks=Networks(coarse, networks.detail, networks.decoder))
    return DecaMethod.from_model(model)


@pytest.fixture(scope="module")
def face(method, photo, landmarks):
    return method.reconstruct(photo, landmarks)


@pytest.fixture
def installed(tmp_path_factory, monkeypatch):
    """The maps and networks that wrinkles need, installed."""
    folder = tmp_path_factory.getbasetemp() / "installed"
    if not folder.exists():
        folder.mkdir()
        synthetic_flame.write_mask(folder / "uv_face_eye_mask.png")
        np.save(folder / "fixed_displacement_256.npy", synthetic_flame.fixed_displacement())
        torch.save({"D_detail": synthetic_deca.checkpoint()["D_detail"]}, folder / "deca_model.tar")
        synthetic_flame.write_model(folder / "generic_model.pkl")
        synthetic_flame.write_embedding(folder / "landmark_embedding.npy")
        synthetic_flame.write_head_template(folder / "head_template.obj")
    monkeypatch.setenv("LIKENESS_ASSETS", str(folder))
    return folder


def other_expression(face: Face, seed: int = 3) -> Face:
    draw = torch.Generator().manual_seed(seed)
    expression = torch.zeros_like(face.expression)
    expression[:50] = torch.randn(50, generator=draw)
    joints = face.joints.clone()
    joints[2] = torch.tensor([0.25, 0.02, -0.01])
    return dataclasses.replace(face, expression=expression, joints=joints)


# ------------------------------------------------------------------ photo to Face


def test_the_camera_sees_the_photo_as_deca_does(method, photo, face):
    decoded = method.decode(face, photo.pixels)
    pixels = decoded.photo.to_pixels(decoded.geometry.vertices_image)[0, :, :2]
    # A thousandth of a pixel: float32 over a few hundred of them.
    torch.testing.assert_close(face.camera.project(face.vertices[None])[0], pixels, atol=2e-3, rtol=0)
    depth, z = face.camera.depth(face.vertices[None])[0], decoded.geometry.vertices_image[0, :, 2]
    assert np.corrcoef(depth.numpy(), z.numpy())[0, 1] > 0.9999


@pytest.mark.parametrize("root", [(0.0, 0.0, 0.0), (0.3, -0.6, 0.1), (-0.2, 2.0, 0.4)])
def test_the_heads_rotation_moves_into_the_camera(method, root):
    code, _ = synthetic_deca.scene()
    code = dataclasses.replace(code, root=torch.tensor([root]))
    crop = Similarity(torch.tensor([0.37]), torch.tensor([0.2]), torch.tensor([[5.0, -7.0]]))
    face = code_to_face(method.model, code, crop, (400, 500))
    assert torch.equal(face.joints[0], torch.zeros(3))
    pixels = (pose_geometry(method.model, code).vertices_image[..., :2] + 1) * 112
    expected = crop.inverse().transform(pixels)[0]
    torch.testing.assert_close(face.camera.project(face.vertices[None])[0], expected, atol=5e-3, rtol=0)


def test_a_face_gives_its_code_back(method):
    code, _ = synthetic_deca.scene()
    crop = Similarity(torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([[3.0, 4.0]]))
    face = code_to_face(method.model, code, crop, (300, 300))
    for name, value in vars(face_to_code(face)).items():
        assert torch.equal(value, getattr(code, name)), name
    torch.testing.assert_close(crop_of(face).matrix.float(), crop.matrix)


def test_a_face_survives_its_file(face, tmp_path, installed):
    face.save(tmp_path / "face.safetensors")
    found = Face.load(tmp_path / "face.safetensors")
    assert found.head.version == face.head.version
    for name in ("identity", "expression", "joints", "light", "albedo", "displacement"):
        assert torch.equal(getattr(found, name), getattr(face, name)), name
    assert torch.equal(found.vertices, face.vertices)
    assert set(found.codes) == set(face.codes)


def test_the_result_does_not_depend_on_earlier_photos(method, photo, landmarks, face):
    other = method.reconstruct(Photo(photo.pixels[::-1].copy(), "other"), landmarks)
    again = method.reconstruct(photo, landmarks)
    assert not torch.equal(other.identity, face.identity)
    assert torch.equal(again.identity, face.identity)
    assert torch.equal(again.displacement, face.displacement)


def test_several_photos_of_one_person_share_one_identity(method, photo, landmarks):
    mirrored = Photo(photo.pixels[:, ::-1].copy(), "mirrored.png")
    first, second = method.reconstruct_together([photo, mirrored], [landmarks, landmarks])
    assert torch.equal(first.identity, second.identity)
    assert torch.equal(first.codes["detail"], second.codes["detail"])
    assert not torch.equal(first.expression, second.expression)


def test_its_numbers_can_be_optimised(face):
    identity = face.identity.clone().requires_grad_()
    face.head.vertices(identity[None], face.expression[None], face.joints[None]).sum().backward()
    assert identity.grad is not None
    assert identity.grad.isfinite().all()


def test_landmarks_of_mediapipe_serve_too(method, photo):
    points = np.random.default_rng(0).uniform(80, 220, (478, 3)).astype(np.float32)
    face = method.reconstruct(photo, Landmarks("mediapipe478", points, 1.0))
    assert face.residuals["landmarks_px"] > 0
    assert 0 <= face.confidence <= 1


def test_no_head_in_the_crop_is_said(method, photo, landmarks):
    blind = copy.copy(method)
    networks = dataclasses.replace(method.model.networks, coarse=lambda images: torch.full((len(images), 236), -1.0))
    blind.model = dataclasses.replace(method.model, networks=networks)
    with pytest.raises(NoFaceError, match="DECA sees no head"):
        blind.reconstruct(photo, landmarks)


def test_landmarks_in_one_point_are_refused(method, photo):
    with pytest.raises(InputError, match="pixels large"):
        method.reconstruct(photo, Landmarks("ibug68", np.full((68, 2), 50, np.float32), 1.0))


@pytest.mark.parametrize("options", [{"compat": "older"}, {"precision": "half"}, {"textures": "none"}])
def test_unknown_options_are_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        load_method("deca", device="cpu", **options)


def test_missing_files_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match=r"deca_model\.tar.*likeness assets add"):
        load_method("deca", device="cpu")


@pytest.mark.slow
def test_from_files_as_their_owners_give_them(tmp_path, monkeypatch, photo, landmarks):
    """`likeness assets add FOLDER`, then `load_method('deca')`: nothing but files in the official formats."""
    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path / "store"))
    installed = assets.add(synthetic_deca.write_deca(tmp_path / "official"))
    assert "deca-weights" in {entry.asset.name for entry in installed}
    method = load_method("deca", device="cpu")
    assert isinstance(method, DecaMethod)
    code = method.encode(synthetic_deca.golden("encoder")["images_u8"].float() / 255)
    torch.testing.assert_close(code.shape, synthetic_deca.golden("encoder")["code_shape"], atol=2e-5, rtol=0)


# ------------------------------------------------------------------ crop


def test_our_crop_of_a_photo_that_is_a_crop_does_not_turn_it():
    similarity = whole_photo((121, 201))
    assert float(similarity.angle) == 0
    corners = similarity.transform(torch.tensor([[[0.0, 0.0], [200.0, 120.0]]], dtype=torch.float64))[0]
    assert corners.min() >= 0
    assert corners.max() <= 223
    assert float(whole_photo((121, 201), "official").angle) == pytest.approx(np.radians(-7.1), abs=2e-3)


def test_large_photos_are_averaged_not_picked():
    """A checkerboard of single pixels is grey from afar; the reference keeps its sparkle."""
    board = (np.indices((2000, 2000)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    similarity = Box(400, 1600, 400, 1600).similarity()
    ours, theirs = crop_photo(board, similarity), crop_photo(board, similarity, "official")
    assert ours.std() < 0.02
    assert theirs.std() > 0.1
    assert float(ours.mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_averaging_does_not_shift_the_picture(step):
    """A ramp looks the same through both crops, wherever the square lies."""
    side = 224 * step
    ramp = np.linspace(0, 255, 2 * side)[None, :, None].repeat(2 * side, 0).repeat(3, 2).astype(np.uint8)
    similarity = Box(0.4 * side, 1.3 * side, 0.5 * side, 1.4 * side).similarity()
    # A level of 255 either way: the ramp is stored in bytes.
    torch.testing.assert_close(
        crop_photo(ramp, similarity), crop_photo(ramp, similarity, "official"), atol=1.5 / 255, rtol=0
    )


def test_a_crop_that_reaches_beyond_the_photo_is_black_there():
    white = np.full((300, 300, 3), 255, np.uint8)
    crop = crop_photo(white, Box(-200, 200, -200, 200).similarity())
    assert crop[:, :100, :100].max() == 0
    assert crop[:, 150:, 150:].min() == 1


# ------------------------------------------------------------------ networks made fast


def test_fast_networks_compute_the_same():
    slow, fast = synthetic_deca.networks(), fast_networks(synthetic_deca.networks())
    images = synthetic_deca.golden("encoder")["images_u8"][:1].float() / 255
    with torch.no_grad():
        torch.testing.assert_close(fast.coarse(images), slow.coarse(images), atol=2e-5, rtol=0)
        latent = synthetic_deca.golden("detail_decoder")["latent_jaw3_exp50_detail128"].split([3, 50, 128], 1)
        torch.testing.assert_close(fast.decoder(*latent), slow.decoder(*latent), atol=1e-7, rtol=0)


def test_half_precision_costs_half_a_percent():
    slow, fast = synthetic_deca.networks(), fast_networks(synthetic_deca.networks(), "bfloat16")
    images = synthetic_deca.golden("encoder")["images_u8"][:1].float() / 255
    with torch.no_grad():
        exact, rough = slow.coarse(images), fast.coarse(images)
    assert 0 < float((rough - exact).norm() / exact.norm()) < 0.01


# ------------------------------------------------------------------ checkpoint


@pytest.mark.parametrize("damage", ["missing network", "missing tensor", "wrong shape", "no torch file"])
def test_a_partial_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / "deca_model.tar"
    state = synthetic_deca.checkpoint()["D_detail"]
    if damage == "no torch file":
        path.write_bytes(b"not a checkpoint")
    else:
        if damage == "missing tensor":
            del state["l1.0.bias"]
        if damage == "wrong shape":
            state["l1.0.bias"] = torch.zeros(3)
        torch.save({} if damage == "missing network" else {"D_detail": state, "opt": {"step": 3}}, path)
    with pytest.raises(FileFormatError, match=r"deca_model\.tar"):
        files.read_decoder(path)


def test_a_checkpoint_may_hold_more(tmp_path):
    path = tmp_path / "deca_model.tar"
    state = synthetic_deca.checkpoint()["D_detail"]
    torch.save({"D_detail": {**state, "extra": torch.zeros(2)}, "opt": {"step": 3}, "global_step": 7}, path)
    decoder = files.read_decoder(path)
    assert torch.equal(decoder.state_dict()["l1.0.bias"], state["l1.0.bias"])


# ------------------------------------------------------------------ expression transfer


def test_transfer_keeps_the_person_and_takes_the_expression(face, installed):
    other = other_expression(face)
    worn = transfer(face, other)
    assert torch.equal(worn.identity, face.identity)
    assert torch.equal(worn.codes["detail"], face.codes["detail"])
    assert torch.equal(worn.codes["root"], face.codes["root"])
    assert torch.equal(worn.expression, other.expression)
    assert torch.equal(worn.joints[2], other.joints[2])
    assert worn.albedo is face.albedo
    assert not torch.equal(worn.displacement, face.displacement)


def test_transferred_wrinkles_are_those_the_decoder_gives(method, photo, face, installed):
    """The chain through the Face is DECA's own: D_detail(jaw of E, expression of E, detail of I)."""
    other = other_expression(face)
    worn = transfer(face, other)
    code = face_to_code(face).take_expression(face_to_code(other))
    detail = decode_detail(method.model, code, pose_geometry(method.model, code))
    mask = torch.from_numpy(synthetic_flame.face_eye_mask().astype(np.float32) / 255)
    torch.testing.assert_close(worn.displacement, detail.displacement[0, 0] * mask * 1000, atol=1e-4, rtol=0)
    decoded = method.decode(worn, photo.pixels)
    torch.testing.assert_close(decoded.geometry.vertices, pose_geometry(method.model, code).vertices, atol=1e-6, rtol=0)


def test_wearing_ones_own_expression_changes_nothing(face, installed):
    worn = transfer(face, face)
    # The decoder's channels lie in another order in memory: the last bits of 10 mm.
    torch.testing.assert_close(worn.displacement, face.displacement, atol=1e-5, rtol=0)
    assert torch.equal(worn.vertices, face.vertices)


def test_faces_of_other_methods_have_no_wrinkles_of_decas():
    from tiny_head import TinyHead

    head = TinyHead()
    stranger = Face(
        head=head,
        identity=torch.zeros(head.n_identity),
        expression=torch.zeros(head.n_expression),
        joints=torch.zeros(len(head.joint_names), 3),
        camera=WeakPerspective(torch.eye(3)[None], torch.ones(1), torch.zeros(1, 2)),
        image_size=(10, 10),
        method="open",
        confidence=1.0,
    )
    assert follow_expression(stranger) is stranger
    assert detail_maps(stranger) == ()


def blend(maps, face: Face) -> np.ndarray:
    """What an animator's tool makes of detail maps for the Face's expression and jaw."""
    weights = dict(zip(face.head.expression_names, face.expression.tolist(), strict=True))
    weights |= dict(zip(following.JAW_NAMES, face.joints[2].tolist(), strict=True))
    return sum(detail.displacement * detail.strength(weights) for detail in maps)


class FewDirections(torch.nn.Module):
    """A decoder whose wrinkles depend on expression and jaw by five maps, linearly."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.maps = 1e-4 * torch.randn(5, 256, 256, generator=draw)
        self.mixing = torch.randn(53, 5, generator=draw) / 7

    def forward(self, jaw, expression, detail):
        amounts = torch.cat([expression, 5 * jaw], 1) @ self.mixing
        return (torch.einsum("bk,khw->bhw", amounts, self.maps) + 1e-4 * detail.mean())[:, None]


def test_detail_maps_blend_to_the_very_wrinkles_where_these_are_linear(face, method):
    space = dataclasses.replace(method.model.displacement, decoder=FewDirections())
    maps = following.detail_maps(face, space)
    assert len(maps) == 1 + 2 * 5
    worn = other_expression(face)
    exact = following.follow_expression(worn, space).displacement.numpy()
    # 99 % of the energy are kept: all five directions here, to rounding.
    np.testing.assert_allclose(blend(maps, worn), exact, atol=2e-3 * np.abs(exact).max())


def test_detail_maps_blend_to_the_wrinkles_of_an_expression(face, method):
    """Random weights change in all 53 directions alike, of which eight are kept: the least favourable decoder."""
    space = method.model.displacement
    maps = following.detail_maps(face, space)
    assert len({detail.name for detail in maps}) == len(maps) == 1 + 2 * 8
    small = other_expression(face)
    small = dataclasses.replace(small, expression=0.3 * small.expression, joints=0.3 * small.joints)
    exact = following.follow_expression(small, space).displacement.numpy()
    assert np.abs(blend(maps, small) - exact).mean() < 0.8 * np.abs(maps[0].displacement - exact).mean()
    neutral = following.follow_expression(face.neutral(), space).displacement.numpy()
    np.testing.assert_allclose(maps[0].displacement, neutral, atol=1e-5)


def test_a_rig_carries_flames_expressions_jaw_and_wrinkles(face, installed):
    rig = face.rig(blendshapes="native")
    assert rig.blendshape_names == face.head.expression_names
    assert "jaw" in rig.joint_names
    assert {"neutral", "wrinkles_1_more", "wrinkles_1_less"} <= {detail.name for detail in rig.details}
    posed = rig.evaluate(face.weights)
    # FLAME's joints move a little with the expression; with all joints at rest nothing else differs.
    still = dataclasses.replace(face, joints=torch.zeros_like(face.joints))
    np.testing.assert_allclose(posed.vertices, still.vertices.numpy(), atol=1e-3)
    spoken = face.rig()
    assert {"jawOpen", "eyeBlinkLeft", "tongueOut"} <= set(spoken.blendshape_names)
    assert [detail.name for detail in spoken.details] == [detail.name for detail in rig.details]
    for detail in spoken.details:
        assert set(detail.weights) <= set(spoken.blendshape_names)
        assert detail.strength({}) == (1.0 if detail.name == "neutral" else 0.0)


# ------------------------------------------------------------------ files


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, method, photo, face):
    folder = tmp_path_factory.mktemp("outputs")
    decoded = method.decode(face, photo.pixels)
    return folder, decoded, write_outputs(folder, "person", decoded)


def test_every_file_the_original_writes_is_there(outputs):
    folder, _, written = outputs
    names = {path.relative_to(folder).as_posix() for path in written}
    assert {"person_vis.jpg", "person_vis_original_size.jpg"} <= names
    endings = ("_depth.jpg", "_kpt2d.txt", "_kpt3d.txt", ".obj", ".mtl", ".png", "_normals.png", "_detail.obj", ".mat")
    assert {f"person/person{ending}" for ending in endings} <= names
    for column in ("inputs", "rendered_images", "shape_images", "shape_detail_images", "landmarks2d"):
        assert f"person/person_{column}.jpg" in names
        assert f"person/orig_person_{column}.jpg" in names
    assert all(path.stat().st_size > 0 for path in written)


def test_landmark_files_are_read_back(outputs):
    folder, decoded, _ = outputs
    flat, solid = (np.loadtxt(folder / "person" / f"person_{kind}.txt") for kind in ("kpt2d", "kpt3d"))
    np.testing.assert_allclose(flat, decoded.geometry.landmarks_contour_image[0].numpy(), atol=1e-7)
    np.testing.assert_allclose(solid[:, :3], decoded.geometry.landmarks_fixed_image[0].numpy(), atol=1e-7)
    assert set(np.unique(solid[:, 3])) <= {0.0, 1.0}


def test_meshes_are_read_by_somebody_else(outputs):
    trimesh = pytest.importorskip("trimesh")
    folder, decoded, _ = outputs
    mesh = trimesh.load(folder / "person" / "person.obj", process=False, maintain_order=True)
    assert len(mesh.faces) == 9976
    assert mesh.visual.material.image.size == (256, 256)
    lows, highs = decoded.geometry.vertices[0].amin(0).numpy(), decoded.geometry.vertices[0].amax(0).numpy()
    np.testing.assert_allclose(mesh.bounds, [lows, highs], atol=1e-5)
    material = (folder / "person" / "person.mtl").read_text()
    assert "map_Kd person.png" in material
    assert str(folder) not in material
    dense = (folder / "person" / "person_detail.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in dense) == len(synthetic_deca.dense_template().pixels)
    assert sum(line.startswith("vt ") for line in dense) == len(synthetic_deca.dense_template().pixels)
    assert len(next(line for line in dense if line.startswith("v ")).split()) == 7


def test_the_matlab_file_holds_everything(outputs):
    folder, decoded, _ = outputs
    found = read_mat(folder / "person" / "person.mat")
    official = (
        "verts trans_verts landmarks2d landmarks3d landmarks3d_world grid rendered_images alpha_images normal_images "
        "albedo uv_texture uv_texture_gt uv_detail_normals normals displacement_map shape tex exp pose cam light detail"
    )
    assert set(official.split()) <= set(found)
    np.testing.assert_array_equal(found["verts"], decoded.geometry.vertices[0].numpy())
    assert found["landmarks3d"].shape == (68, 4)


def test_the_grid_has_a_column_for_each_picture(outputs):
    from PIL import Image

    folder, decoded, _ = outputs
    with Image.open(folder / "person_vis.jpg") as grid:
        assert grid.size == (7 * 224, 224)
    columns = draw_columns(decoded, whole_photo=True)
    with Image.open(folder / "person_vis_original_size.jpg") as grid:
        assert grid.size == (sum(picture.shape[1] for picture in columns.values()), decoded.photo.size[0])


def test_without_a_texture_space_the_render_is_left_out(method, photo, face):
    plain = copy.copy(method)
    plain.model = dataclasses.replace(method.model, textures=None)
    decoded = plain.decode(face, photo.pixels)
    assert decoded.textures.albedo is None
    assert "rendered_images" not in draw_columns(decoded)


def test_an_unknown_kind_writes_nothing(tmp_path, outputs):
    with pytest.raises(InputError, match="unknown output 'fbx'"):
        write_outputs(tmp_path / "out", "person", outputs[1], ["kpt", "fbx"])
    assert not (tmp_path / "out").exists()


def test_kinds_can_be_chosen(tmp_path, outputs):
    written = write_outputs(tmp_path, "person", outputs[1], ["kpt"])
    assert sorted(path.name for path in written) == ["person_kpt2d.txt", "person_kpt3d.txt"]
    assert set(KINDS) == {"vis", "kpt", "obj", "mat", "depth", "images"}


def test_hidden_texels_are_not_taken_from_the_photo(method, photo, face):
    reference = copy.copy(method)
    reference.compat = "official"
    ours, official = (way.decode(face, photo.pixels).textures for way in (method, reference))
    assert (ours.seen <= official.seen).all()
    assert (ours.seen < official.seen).any()


def test_a_photo_of_another_size_is_refused(method, face):
    with pytest.raises(InputError, match="pixels"):
        method.decode(face, np.zeros((10, 10, 3), np.uint8))


def test_faces_of_other_methods_cannot_be_decoded(method, face, photo):
    with pytest.raises(InputError, match="DECA can decode only"):
        method.decode(dataclasses.replace(face, codes={}, method="open"), photo.pixels)


def test_the_crop_lies_about_the_landmarks(landmarks):
    similarity = crop_about(landmarks)
    inside = similarity.transform(torch.from_numpy(landmarks.points[None]).double())[0]
    assert inside.min() > 0
    assert inside.max() < 224
