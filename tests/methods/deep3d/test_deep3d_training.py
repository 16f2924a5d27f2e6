"""What training needs, against recorded numbers: losses, identity networks, augmentation, skin, detector crops."""

import random

import numpy as np
import pytest
import torch

import standin
from likeness.errors import InputError
from likeness.methods.deep3d import losses
from likeness.methods.deep3d.arcface import IdentityNetwork, identity_crop, identity_features, warp
from likeness.methods.deep3d.augmentation import Augmentation
from likeness.methods.deep3d.coefficients import Coefficients
from likeness.methods.deep3d.decoder import Decoder
from likeness.methods.deep3d.detector_input import BoxRegressor, cut_box
from likeness.methods.deep3d.facenet import FaceNet
from likeness.methods.deep3d.skin import other_likelihood, rgb_to_ycbcr, skin_likelihood, skin_mask
from methods.deep3d.patterns import pattern
from methods.deep3d.standin_rnet import SALT, keys, tensorflow_value
from synthetic_bfm import front_model, golden

# A second implementation in float32 differs by a few units in the sixth digit.
RELATIVE = {"rtol": 1e-5, "atol": 1e-9}


@pytest.fixture(scope="module")
def recorded():
    return {name: torch.from_numpy(np.atleast_1d(value)) for name, value in golden("losses_torch").items()}


def test_photometric_loss(recorded):
    a, b, mask = (recorded[f"photo_{name}"] for name in ("a", "b", "mask"))
    a = a.clone().requires_grad_()
    loss = losses.photometric_loss(a, b, mask)
    loss.backward()
    np.testing.assert_allclose(loss.detach(), recorded["photo"][0], **RELATIVE)
    np.testing.assert_allclose(a.grad, recorded["photo_grad"], rtol=1e-4, atol=1e-8)
    empty = losses.photometric_loss(a, b, torch.zeros_like(mask))
    assert float(empty) == float(recorded["photo_emptymask"][0]) == 0
    without = losses.photometric_loss(a, b, mask, epsilon=0)
    np.testing.assert_allclose(without.detach(), golden("losses_tf")["loss_photo"], **RELATIVE)


def test_landmark_loss(recorded):
    loss = losses.landmark_loss(recorded["lm_pred"], recorded["lm_gt"])
    np.testing.assert_allclose(loss, recorded["lm"][0], **RELATIVE)
    np.testing.assert_allclose(loss, golden("losses_tf")["loss_lm"], **RELATIVE)


def test_perceptual_loss(recorded):
    np.testing.assert_allclose(
        losses.perceptual_loss(recorded["feat_a"], recorded["feat_b"]), recorded["feat"][0], **RELATIVE
    )
    g = golden("losses_tf")
    a, b = torch.from_numpy(g["feat_a"]), torch.from_numpy(g["feat_b"])
    np.testing.assert_allclose(losses.perceptual_loss(a, b), g["loss_feat"], **RELATIVE)


def test_losses_on_coefficients(recorded):
    coefficients = Coefficients.split(recorded["coeff"])
    front = front_model()
    albedo = Decoder(front).albedo(coefficients)
    skin = torch.from_numpy(front.skin.astype(np.float32))
    found = {
        "reg": losses.coefficient_loss(coefficients),
        "gamma": losses.light_loss(coefficients),
        "reflc": losses.reflectance_loss(albedo, skin),
    }
    for name, loss in found.items():
        np.testing.assert_allclose(loss, recorded[name][0], **RELATIVE)
        np.testing.assert_allclose(loss, golden("losses_tf")[f"loss_{name}"], **RELATIVE)


def test_identity_crop_and_warp(recorded):
    crop = identity_crop(recorded["norm_lm"])
    np.testing.assert_allclose(crop, recorded["norm_M"], atol=1e-4)
    images = recorded["img_u8"].permute(0, 3, 1, 2).float() / 255
    warped = warp(images, crop)
    np.testing.assert_allclose(warped[:, :, ::7, ::7], recorded["warp_sub"], atol=2e-4)
    np.testing.assert_allclose(warped.mean((2, 3)), recorded["warp_mean"], atol=2e-4)


def test_identity_crop_of_one_point_is_the_identity():
    crop = identity_crop(torch.full((1, 68, 2), 30.0))
    torch.testing.assert_close(crop, torch.eye(2, 3)[None])


@pytest.mark.slow
def test_arcface_features(recorded):
    network = IdentityNetwork().eval()
    official = {f"net.{key}": list(value.shape) for key, value in network.state_dict().items()}
    assert official == keys("recog_r50")
    state = standin.state_dict(keys("recog_r50"), SALT)
    network.load_state_dict({key.removeprefix("net."): value for key, value in state.items()}, strict=True)
    images = recorded["img_u8"].permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        features = identity_features(network, images, recorded["norm_M"])
    np.testing.assert_allclose(features, recorded["recog_feat"], atol=1e-4)


_LAST = {"weights": "weight", "biases": "bias", "beta": "bias"}
_LAST |= {"moving_mean": "running_mean", "moving_variance": "running_var"}


@pytest.mark.slow
def test_facenet_features():
    network = FaceNet().eval()
    state = {}
    for name, shape in keys("facenet_tf").items():
        path, last = name.removeprefix("InceptionResnetV1/").replace("/", ".").rsplit(".", 1)
        value = torch.from_numpy(np.array(tensorflow_value(name, shape), order="C"))
        value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T if value.ndim == 2 else value
        state[f"{path}.{_LAST[last]}"] = value
    network.load_state_dict(state, strict=True)
    images = torch.from_numpy(golden("rnet_torch")["input_u8"][:2]).flip(-1).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        features = network(images * 1.1 - 10)
    np.testing.assert_allclose(features, golden("facenet_tf")["feature"], atol=1e-4)


@pytest.mark.parametrize("i", range(4))
def test_augmentation(i):
    g = golden("augment")
    augmentation = Augmentation.draw(random.Random(int(g[f"a{i}_seed"])))
    np.testing.assert_allclose(augmentation.matrix, g[f"a{i}_affine"], atol=1e-9)
    np.testing.assert_allclose(np.linalg.inv(augmentation.matrix), g[f"a{i}_inv"], atol=1e-9)
    assert augmentation.mirrored == bool(g[f"a{i}_flip"])
    np.testing.assert_allclose(augmentation.landmarks(g["lm"]), g[f"a{i}_lm"], atol=1e-3)
    image = augmentation.image(pattern(224, 224, 2))
    np.testing.assert_allclose(image[::4, ::4].astype(int), g[f"a{i}_img_sub"], atol=1)


def test_skin_mask():
    g = golden("skin_mask")
    rgb = g["bgr"][..., ::-1]
    ycbcr = rgb_to_ycbcr(rgb)
    np.testing.assert_allclose(ycbcr[::5, ::5], g["ycbcr"], atol=1e-3)
    np.testing.assert_allclose(skin_likelihood(ycbcr).reshape(-1)[::13], g["lh_skin"], rtol=1e-5)
    np.testing.assert_allclose(other_likelihood(ycbcr).reshape(-1)[::13], g["lh_non"], rtol=1e-5)
    np.testing.assert_allclose(skin_mask(rgb).astype(int), g["mask"][..., 0], atol=1)


@pytest.mark.parametrize("i", range(4))
def test_detector_crop(i):
    g = golden("landmark_prep")
    regressor = BoxRegressor(*(g[f"bb_{name}"] for name in ("W1", "B1", "W2", "B2")))
    box = regressor(g[f"bb{i}_in"])
    np.testing.assert_allclose(box, g[f"bb{i}_out"], rtol=1e-6)
    width, height = map(int, g[f"bb{i}_size"])
    # The recording cut pictures in BGR.
    crop = cut_box(pattern(width, height, i)[..., ::-1], box)
    np.testing.assert_array_equal(crop.corner, g[f"bb{i}_box"][:2])
    np.testing.assert_allclose(crop.scale, g[f"bb{i}_scale"])
    np.testing.assert_allclose(crop.image[::4, ::4].astype(int), g[f"bb{i}_crop_sub"], atol=1)
    if i == 0:
        found = crop.landmarks(g["det_raw"][0], g["det_mean_face"])
        np.testing.assert_allclose(found, g["det_out"], atol=1e-6)


def test_boxes_far_outside_are_refused():
    with pytest.raises(InputError, match="too far out"):
        cut_box(np.zeros((20, 20, 3), np.uint8), np.array([-30.0, 0, 10, 10]))
    with pytest.raises(InputError, match="too far out"):
        cut_box(np.zeros((20, 20, 3), np.uint8), np.array([25.0, 0, 30, 30]))
