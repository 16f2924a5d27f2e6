"""The decoder against numbers recorded from both official ones, and against laws of its own."""

import numpy as np
import pytest
import torch

from likeness.errors import InputError
from likeness.methods.deep3d import decoder as d
from likeness.methods.deep3d.coefficients import Coefficients
from likeness.methods.deep3d.rendering import reconstruction_image, render_face
from synthetic_bfm import front_model, golden

# Lengths in dm, normals, texture, colour in [0, 1], pixels: what float32 sums in another order may change.
TOLERANCE = {"length": 2e-5, "normal": 5e-5, "texture": 1e-5, "colour": 2e-5, "pixel": 2e-3}


@pytest.fixture(scope="module")
def decoder():
    return d.Decoder(front_model())


@pytest.fixture(scope="module")
def coefficients():
    return Coefficients.split(torch.from_numpy(golden("bfm_forward")["coeff"]))


@pytest.fixture(scope="module")
def face(decoder, coefficients):
    with torch.no_grad():
        return decoder.decode(coefficients)


@pytest.fixture(scope="module")
def quantities(decoder, face):
    camera = d.to_camera(face.world)
    return {
        "shape": (face.canonical, "length"),
        "texture": (face.albedo, "texture"),
        "norm": (decoder.normals(face.canonical), "normal"),
        "norm_rotated": (face.normals, "normal"),
        "color": (face.colour, "colour"),
        "transformed": (face.world, "length"),
        "camera": (camera, "length"),
        "projected": (d.project(face.world), "pixel"),
        "clip": (d.clip_coordinates(camera), "length"),
    }


@pytest.mark.parametrize(
    "name", ["shape", "texture", "norm", "norm_rotated", "color", "transformed", "camera", "projected", "clip"]
)
def test_pytorch_decoder(quantities, name):
    g, (found, kind) = golden("bfm_forward"), quantities[name]
    np.testing.assert_allclose(found[:, g["vi"]], g[name], atol=TOLERANCE[kind], rtol=0)
    np.testing.assert_allclose(found.double().mean(1), g[f"{name}_mean"], atol=TOLERANCE[kind], rtol=0)


def test_pose_and_landmarks(coefficients, face):
    g = golden("bfm_forward")
    np.testing.assert_allclose(d.rotation_matrix(coefficients.angles).mT, g["rotation"], atol=1e-6)
    np.testing.assert_allclose(face.landmarks, g["landmarks"], atol=TOLERANCE["pixel"])
    np.testing.assert_allclose(2 * np.degrees(np.arctan(112 / d.FOCAL)), g["fov"], atol=1e-6)


def test_tensorflow_decoder(face):
    g = golden("bfm_tf")
    found = {
        "face_shape": (face.world, 1),
        "face_shape_canonical": (face.canonical, 1),
        "face_texture": (face.albedo * 255, 255),
        "face_color": (face.colour * 255, 255),
    }
    for name, (values, scale) in found.items():
        np.testing.assert_allclose(values[:, g["vi"]], g[name], atol=2e-5 * scale, rtol=0)
        np.testing.assert_allclose(values.double().mean(1), g[f"{name}_mean"], atol=2e-5 * scale, rtol=0)
    np.testing.assert_allclose(face.landmarks, g["landmark_p"], atol=TOLERANCE["pixel"])


def test_reconstruction_image(decoder, face):
    g = golden("bfm_tf")
    image = reconstruction_image(face.world, face.colour, decoder.triangles)
    difference = np.abs(image[:2].numpy() - g["recon_img_01"])
    assert (difference[..., :3].max(-1) < 0.5).mean() > 0.99
    assert (difference[..., 3] > 0).mean() < 1e-3
    np.testing.assert_allclose(image.double().mean((1, 2)), g["recon_img_mean"], atol=0.1)
    assert set(np.unique(image[..., 3])) == {0.0, 1.0}


def test_training_pictures_and_masks(decoder, face):
    g = golden("bfm_tf")
    shape = tuple(g["mask_shape"])
    image, mask = render_face(face.world, face.colour, decoder.triangles)
    difference = np.abs(255 * image.flip(-1)[:, ::4, ::4].numpy() - g["train_render_bgr_sub"])
    assert (difference.max(-1) < 0.5).mean() > 0.99
    assert (np.unpackbits(g["train_mask"]).reshape(shape) != mask.numpy()).mean() < 1e-3
    # The region of the photometric loss: gathered vertices, triangles that count within it.
    region = torch.from_numpy(decoder.front.photometric)
    triangles = torch.from_numpy(decoder.front.photometric_triangles)
    _, mask = render_face(face.world[:, region], face.colour[:, region], triangles)
    assert (np.unpackbits(g["train_mask_crop"]).reshape(shape) != mask.numpy()).mean() < 1e-3


def test_a_covered_pixel_that_is_all_negative_is_a_hole(decoder, face):
    image = reconstruction_image(face.world[:1], -torch.ones_like(face.colour[:1]), decoder.triangles)
    assert image.abs().max() == 0


def test_zero_is_the_recentred_mean_lit_evenly(face):
    mean = front_model().model.mean
    np.testing.assert_allclose(face.canonical[0], mean - mean.mean(0), atol=2e-5)
    # 0.8 · π/√(4π): the start of the light.
    np.testing.assert_allclose(face.colour[0], face.albedo[0] * 0.8 * 0.886226925, atol=1e-5)


def test_white_light_is_the_same_light_in_three_channels():
    g = golden("bfm_forward")["coeff"][1:2]
    white = np.concatenate([g[:, :227], g[:, 227:236], g[:, 254:]], 1)
    split = Coefficients.split(torch.from_numpy(white))
    assert white.shape == (1, 239)
    np.testing.assert_array_equal(split.light.reshape(3, 9), np.repeat(g[:, 227:236], 3, 0))
    np.testing.assert_array_equal(split.translation, g[:, 254:])
    np.testing.assert_array_equal(split.angles, g[:, 224:227])


def test_coefficients_round_trip_and_other_widths_are_refused(coefficients):
    np.testing.assert_array_equal(coefficients.vector(), golden("bfm_forward")["coeff"])
    with_focal = torch.cat([coefficients.vector(), torch.ones(4, 1)], 1)
    np.testing.assert_array_equal(Coefficients.split(with_focal).vector(), coefficients.vector())
    assert len(coefficients[1:3]) == 2
    for width in (236, 256, 260):
        with pytest.raises(InputError, match="257"):
            Coefficients.split(torch.zeros(1, width))


def test_gradients_agree_with_finite_differences(decoder):
    generator = torch.Generator().manual_seed(3)
    vector = torch.randn(1, 257, generator=generator) * 0.1
    weights = torch.randn(68, 2, generator=generator)

    def value(x):
        face = decoder.decode(Coefficients.split(x))
        return (face.landmarks * weights).sum() + 50 * face.colour[0, ::500].sum()

    vector.requires_grad_()
    (gradient,) = torch.autograd.grad(value(vector), vector)
    direction = torch.randn(1, 257, generator=generator)
    step = 1e-2
    with torch.no_grad():
        ahead, behind = value(vector + step * direction), value(vector - step * direction)
    # float32 sums of ~1e4: central differences carry about a part in a thousand.
    torch.testing.assert_close((ahead - behind) / (2 * step), (gradient * direction).sum(), rtol=5e-3, atol=0.1)
