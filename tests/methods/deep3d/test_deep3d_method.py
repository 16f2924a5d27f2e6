"""From a photo to a Face and to the official files, with synthetic model files and stand-in weights."""

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from likeness.errors import AssetError, InputError
from likeness.landmarks import Landmarks
from likeness.methods.deep3d.alignment import align, standard_points
from likeness.methods.deep3d.coefficients import Coefficients
from likeness.methods.deep3d.decoder import shading
from likeness.methods.deep3d.inference import RNetRunner
from likeness.methods.deep3d.method import (
    Deep3dMethod,
    alignment_of,
    crop_camera,
    official_five,
    photo_camera,
)
from likeness.methods.deep3d.networks import to_input
from likeness.methods.deep3d.outputs import obj_text, official_entries, write_official
from likeness.methods.protocol import Photo
from methods.deep3d.patterns import pattern
from synthetic_bfm import front_entries, front_model, golden, standard_landmarks

STANDARD = golden("align")["lm3d_5_real"]


def photo(i):
    width, height = map(int, golden("align")[f"s{i}_size"])
    return Photo(pattern(width, height, i), f"pattern{i}.png")


def five(i):
    """Ours count from the corner of a pixel, Deep3D's from its centre."""
    return Landmarks("five", (golden("align")[f"s{i}_lm5_image"] + 0.5).astype(np.float32), 1.0)


@pytest.fixture(scope="module")
def pytorch_method(pth):
    return Deep3dMethod(device="cpu", weights=pth, front=front_model(), standard=STANDARD, albedo_size=64)


@pytest.fixture(scope="module")
def face(pytorch_method):
    return pytorch_method.reconstruct(photo(0), five(0))


def test_fast_network_agrees_with_the_plain_one(pytorch_net, tensorflow_net):
    crops = torch.from_numpy(golden("rnet_torch")["input_u8"])
    for net, name in ((pytorch_net, "rnet_torch"), (tensorflow_net, "rnet_tf")):
        recorded = golden(name)["coeff"]
        tolerance = 1e-4 if name == "rnet_torch" else 1e-4 * recorded.std()
        runner = RNetRunner(net)
        np.testing.assert_allclose(runner(crops), recorded, atol=tolerance)
        # A batch and its parts agree, and so does the plain structure.
        np.testing.assert_allclose(runner(crops[1:2]), recorded[1:2], atol=tolerance)
        pooled = net.backbone(to_input(crops[:1], net.variant))
        torch.testing.assert_close(runner.pooled(crops[:1]).clone(), pooled, rtol=1e-4, atol=1e-4 * float(pooled.std()))


def test_bfloat16_moves_the_face_by_hundredths_of_a_millimetre(pytorch_method, pytorch_net):
    crops = torch.from_numpy(golden("rnet_torch")["input_u8"][:1])
    exact, fast = (RNetRunner(pytorch_net, precision=p)(crops).clone() for p in ("float32", "bfloat16"))
    shapes = [pytorch_method.decoder.shape(Coefficients.split(vector)) for vector in (exact, fast)]
    assert 0 < (shapes[0] - shapes[1]).norm(dim=-1).max() * 100 < 0.2


def test_face_holds_what_the_network_said(pytorch_method, face):
    prepared = pytorch_method.prepare(photo(0), five(0))
    np.testing.assert_allclose(prepared.crop.astype(int), golden("align")["s0_img_full"], atol=1)
    expected = pytorch_method.predict([prepared])
    torch.testing.assert_close(face.codes["coefficients"], expected.vector()[0])
    torch.testing.assert_close(face.identity, expected.identity[0])
    torch.testing.assert_close(face.expression, expected.expression[0])
    assert face.method == "deep3d"
    assert 0 < face.confidence <= 1
    assert face.image_size == (594, 423)
    assert face.albedo.shape == (3, 64, 64)
    assert 0 <= float(face.albedo.min()) <= float(face.albedo.max()) <= 1


def test_camera_draws_the_mesh_where_deep3d_does(pytorch_method, face):
    coefficients = Coefficients.split(face.codes["coefficients"][None])
    decoded = pytorch_method.decoder.decode(coefficients)
    alignment = alignment_of(face)
    # Deep3D's rows: y up, pixel i spanning [i, i + 1].
    x, y = decoded.landmarks[0].numpy().T
    in_photo = np.linalg.inv(alignment.photo_to_crop) @ np.stack([x, 224 - y, np.ones(68)])
    points = face.head.embeddings["ibug68"].points(face.vertices)
    np.testing.assert_allclose(face.camera.project(points[None])[0], in_photo[:2].T, atol=5e-3)
    # Distances to the camera are the same in millimetres.
    depth = 100 * (10 - decoded.world[0, pytorch_method.decoder.keypoints, 2])
    torch.testing.assert_close(face.camera.depth(points[None])[0], depth, atol=0.01, rtol=1e-5)
    # And `landmarks` of the Face says the same.
    np.testing.assert_allclose(face.landmarks("ibug68").image, in_photo[:2].T, atol=5e-3)


def test_camera_is_exact_for_every_recorded_crop():
    coefficients = Coefficients.split(torch.from_numpy(golden("bfm_forward")["coeff"][1:2]))
    for i in range(8):
        width, height = map(int, golden("align")[f"s{i}_size"])
        alignment = align(golden("align")[f"s{i}_lm5_image"], (width, height), STANDARD)
        in_crop = crop_camera(coefficients)
        in_photo = photo_camera(in_crop, alignment)
        point = torch.tensor([[[10.0, -20.0, 30.0]]])
        moved = alignment.photo_to_crop @ [*in_photo.project(point)[0, 0].tolist(), 1]
        np.testing.assert_allclose(moved[:2], in_crop.project(point)[0, 0], atol=1e-3)


def test_light_in_linear_colours_shades_like_deep3d(pytorch_method):
    from likeness.lighting import linear_to_srgb, srgb_to_linear
    from likeness.lighting import shading as linear_shading
    from likeness.methods.deep3d.albedo import linear_light

    coefficients = Coefficients.split(torch.from_numpy(golden("bfm_forward")["coeff"][:1]))
    decoded = pytorch_method.decoder.decode(coefficients)
    # A gentle light from above, so that neither side clips.
    light = torch.zeros(1, 27)
    light[:, [1, 10, 19]] = -0.1
    colour = decoded.albedo * shading(decoded.normals, light)
    fitted = linear_light(decoded.normals, decoded.albedo, colour)
    camera = decoded.normals * torch.tensor([1.0, -1, -1])
    again = linear_to_srgb(srgb_to_linear(decoded.albedo) * linear_shading(camera, fitted))
    facing = decoded.normals[..., 2] > 0.3
    assert (again - colour)[facing].abs().mean() < 0.01


def test_official_entries_have_the_original_keys_shapes_types_and_frames(pytorch_method, face):
    entries = official_entries(photo(0), face)
    described = {name: (value.shape, value.dtype.name) for name, value in entries.items()}
    assert described == {
        "cropped_img": ((224, 224, 3), "uint8"),
        "recon_img": ((224, 224, 4), "float32"),
        "coeff": ((1, 257), "float32"),
        "face_shape": ((35709, 3), "float32"),
        "face_texture": ((35709, 3), "float32"),
        "face_color": ((35709, 3), "float32"),
        "lm_68p": ((68, 2), "float32"),
        "lm_5p": ((5, 2), "float64"),
    }
    np.testing.assert_allclose(entries["cropped_img"].astype(int), golden("align")["s0_img_full"], atol=1)
    # Five points: in the crop, y down, as the TensorFlow demo stores them. float32 landmarks at 300 px.
    np.testing.assert_allclose(entries["lm_5p"], golden("align_tf")["s0_lm_new"], atol=1e-3)
    decoded = pytorch_method.decoder.decode(Coefficients.split(torch.from_numpy(entries["coeff"])))
    np.testing.assert_allclose(entries["lm_68p"], decoded.landmarks[0], atol=2e-3)
    np.testing.assert_allclose(entries["face_shape"], decoded.world[0], atol=2e-5)
    np.testing.assert_allclose(entries["face_texture"], decoded.albedo[0] * 255, atol=5e-3)
    assert set(np.unique(entries["recon_img"][..., 3])) <= {0.0, 1.0}


def test_entries_of_recorded_coefficients_are_the_recorded_ones(pytorch_method, face):
    """The same way, from coefficients whose official outputs are recorded."""
    from dataclasses import replace

    g = golden("bfm_tf")
    coefficients = Coefficients.split(torch.from_numpy(g["coeff"][1:2]))
    decoded = pytorch_method.decoder.decode(coefficients)
    codes = face.codes | {
        "coefficients": coefficients.vector()[0],
        "vertex_albedo": decoded.albedo[0],
        "vertex_colour": decoded.colour[0],
    }
    made = replace(face, identity=coefficients.identity[0], expression=coefficients.expression[0], codes=codes)
    entries = official_entries(photo(0), made)
    np.testing.assert_allclose(entries["face_shape"][g["vi"]], g["face_shape"][1], atol=2e-5)
    np.testing.assert_allclose(entries["face_texture"][g["vi"]], g["face_texture"][1], atol=5e-3)
    np.testing.assert_allclose(entries["face_color"][g["vi"]], g["face_color"][1], atol=5e-3)
    np.testing.assert_allclose(entries["lm_68p"], g["landmark_p"][1], atol=2e-3)
    difference = np.abs(entries["recon_img"] - g["recon_img_01"][1])
    assert (difference[..., :3].max(-1) < 0.5).mean() > 0.99


def test_files_are_written_whole_and_read_back(tmp_path, face):
    mat, obj = write_official(tmp_path, "someone", photo(0), face)
    assert (mat.name, obj.name) == ("someone.mat", "someone_mesh.obj")
    read = {key: value for key, value in loadmat(mat).items() if not key.startswith("__")}
    entries = official_entries(photo(0), face)
    assert set(read) == set(entries)
    for key, value in entries.items():
        np.testing.assert_array_equal(read[key], value)
        assert read[key].dtype == value.dtype
    lines = obj.read_text().splitlines()
    assert len(lines) == 35709 + 1 + 70789
    assert lines[35709] == ""
    first = np.array(lines[0].split()[1:], float)
    np.testing.assert_allclose(first[:3], entries["face_shape"][0], atol=1e-6)
    np.testing.assert_allclose(first[3:], np.clip(entries["face_color"][0], 0, 255) / 255, atol=1e-6)
    assert lines[-1] == "f " + " ".join(map(str, front_model().model.triangles[-1] + 1))


def test_obj_text_is_the_recorded_one():
    vertices = np.array([[0.1, -1.2345678, 2], [3, 4, 5.5], [0, 0, 0]])
    colours = np.array([[300, 128, -5], [1, 2, 3], [255, 0, 64]], float)
    text = obj_text(vertices, colours, np.array([[0, 1, 2]]))
    assert text == str(golden("align_tf")["obj_text"])


def test_edits_reach_the_official_files(face):
    calm = face.neutral()
    entries, neutral = official_entries(photo(0), face), official_entries(photo(0), calm)
    assert np.abs(entries["face_shape"] - neutral["face_shape"]).max() > 0.01
    np.testing.assert_array_equal(entries["face_texture"], neutral["face_texture"])


def test_expression_transfer_works_as_for_any_face(pytorch_method, face):
    from likeness.animate.transfer import transfer

    other = pytorch_method.reconstruct(photo(2), five(2))
    worn = transfer(face, other)
    torch.testing.assert_close(worn.identity, face.identity)
    torch.testing.assert_close(worn.expression, other.expression)
    entries = official_entries(photo(0), worn)
    np.testing.assert_array_equal(entries["coeff"][0, 80:144], other.expression)
    np.testing.assert_array_equal(entries["coeff"][0, 224:], face.codes["coefficients"][224:])


def test_batch_is_the_same_as_one_by_one(pytorch_method, face):
    together = pytorch_method.reconstruct_batch([photo(0), photo(2)], [five(0), five(2)])
    # oneDNN sums a batch in another order.
    torch.testing.assert_close(together[0].identity, face.identity, atol=1e-4, rtol=0)
    assert together[0].confidence == pytest.approx(face.confidence, rel=1e-2)


def test_one_person_in_several_photos_shares_one_identity(pytorch_method):
    photos, landmarks = [photo(i) for i in (0, 1, 2)], [five(i) for i in (0, 1, 2)]
    shared = pytorch_method.reconstruct_together(photos, landmarks)
    alone = pytorch_method.reconstruct_batch(photos, landmarks)
    weights = torch.tensor([each.confidence for each in shared])
    expected = (weights[:, None] * torch.stack([each.identity for each in alone])).sum(0) / weights.sum()
    for each, single in zip(shared, alone, strict=True):
        torch.testing.assert_close(each.identity, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(each.expression, single.expression)
        torch.testing.assert_close(each.codes["coefficients"][:80], each.identity)


def test_landmarks_of_other_conventions_give_the_same_five(pytorch_method):
    generator = np.random.default_rng(3)
    ibug = Landmarks("ibug68", generator.uniform(50, 200, (68, 2)).astype(np.float32), 1.0)
    points = official_five(ibug)
    np.testing.assert_allclose(points[0], ibug.points[[36, 39]].mean(0) - 0.5, atol=1e-4)
    np.testing.assert_allclose(points[2], ibug.points[30] - 0.5, atol=1e-4)
    mediapipe = Landmarks("mediapipe478", generator.uniform(50, 200, (478, 3)).astype(np.float32), 1.0)
    assert official_five(mediapipe).shape == (5, 2)


def test_landmark_residual_is_in_pixels_of_the_photo(pytorch_method):
    generator = np.random.default_rng(3)
    detected = generator.uniform(100, 300, (68, 2)).astype(np.float32)
    detected[[36, 39, 42, 45, 30, 48, 54]] = np.array(
        [[140, 200], [170, 200], [220, 200], [250, 200], [195, 240], [160, 280], [230, 280]], np.float32
    )
    found = pytorch_method.reconstruct(photo(0), Landmarks("ibug68", detected, 1.0))
    seen = found.landmarks("ibug68").image
    # The Face's landmarks are drawn where pixels are; the network's count leaves half a pixel of the crop.
    expected = np.linalg.norm(seen - detected, axis=1).mean()
    assert found.residuals["landmarks_px"] == pytest.approx(expected, abs=3 / alignment_of(found).scale)


def test_faces_of_other_methods_are_refused(face):
    from dataclasses import replace

    with pytest.raises(InputError, match="only those of 'deep3d'"):
        official_entries(photo(0), replace(face, codes={}))


def test_face_is_saved_and_loaded_without_loss(tmp_path, face, monkeypatch):
    from likeness.face import Face
    from likeness.heads import bfm

    monkeypatch.setattr(bfm, "load_bfm_head", lambda: face.head)
    face.save(tmp_path / "face.safetensors")
    again = Face.load(tmp_path / "face.safetensors")
    torch.testing.assert_close(again.vertices, face.vertices)
    first, second = official_entries(photo(0), face), official_entries(photo(0), again)
    for key, value in first.items():
        np.testing.assert_array_equal(second[key], value)


@pytest.mark.slow
def test_from_installed_files_of_either_network(tmp_path, pb, pth, monkeypatch):
    """Files as people have them: recognised, installed, used."""
    from scipy.io import savemat

    from likeness import assets
    from likeness.heads import bfm_assets
    from likeness.methods import load_method

    monkeypatch.setenv("LIKENESS_ASSETS", str(tmp_path / "store"))
    bfm_assets.front_model.cache_clear()
    with pytest.raises(AssetError, match=r"FaceReconModel\.pb.*not installed"):
        load_method("deep3d", device="cpu")
    folder = tmp_path / "downloads"
    folder.mkdir()
    savemat(folder / "BFM_model_front.mat", dict(front_entries()))
    savemat(folder / "similarity_Lm3D_all.mat", {"lm": standard_landmarks()})
    (folder / "FaceReconModel.pb").symlink_to(pb)
    (folder / "epoch_20.pth").symlink_to(pth)
    installed = {entry.asset.name for entry in assets.add(folder)}
    assert installed == {"bfm-front", "bfm-landmarks", "deep3d-pytorch", "deep3d-tensorflow"}
    for variant in ("pytorch", "tensorflow"):
        method = load_method("deep3d", device="cpu", variant=variant, albedo_size=32)
        made = method.reconstruct(photo(1), five(1))
        direct = Deep3dMethod(
            device="cpu", weights=pth if variant == "pytorch" else pb, front=front_model(),
            standard=standard_points(standard_landmarks()), albedo_size=32,
        )  # fmt: skip
        torch.testing.assert_close(made.identity, direct.reconstruct(photo(1), five(1)).identity)
    bfm_assets.front_model.cache_clear()
