"""The fork's portrait-animation sets against its own recorded numbers (``tests/goldens/deca/fork_*``)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import synthetic_deca
import synthetic_flame
from likeness.cameras import Similarity
from likeness.methods.deca import fork
from likeness.methods.deca.files import TextureSpace
from likeness.methods.deca.geometry import DecaCode
from likeness.methods.deca.pictures import Frame
from synthetic_deca import golden


def mostly_within(found: torch.Tensor, expected: torch.Tensor, levels: float) -> None:
    """99 % of the values within so much, as the recordings' tolerance is stated."""
    assert found.shape == expected.shape
    error = (found.double() - expected.double()).abs().flatten()
    share = (error <= levels).double().mean()
    assert share >= 0.99, f"only {share:.4f} within {levels}, worst {error.max()}"


def full_texture_space() -> TextureSpace:
    """The synthetic texture space with all of its 512² pixels."""
    mean, basis = (
        torch.from_numpy(np.ascontiguousarray(array[:, :, ::-1], np.float32))
        for array in synthetic_flame.texture_space("BFM")
    )
    return TextureSpace(mean.permute(2, 0, 1), basis.permute(2, 0, 1, 3))


@pytest.fixture(scope="module")
def made():
    data = golden("fork_decode")
    uv_size, _, image_size = data["uv_size_coarse_texture"].tolist()
    model = fork.fork_model(synthetic_deca.model(), full_texture_space(), uv_size=uv_size, image_size=image_size)
    code = DecaCode(
        shape=data["source_shape"],
        texture=data["source_tex"],
        expression=data["source_exp"],
        root=data["source_pose"][:, :3],
        jaw=data["source_pose"][:, 3:],
        camera=data["source_cam"],
        light=data["source_light"],
        detail=data["source_detail"],
    )
    return model, fork.read_source(model, code, data["hr_u8"][None].float() / 255)


@pytest.fixture(scope="module")
def drawn(made):
    model, source = made
    data = golden("fork_decode")
    photo = data["orig_u8"].permute(2, 0, 1)[None].float() / 255
    matrix = data["tform_hr"].double()
    to_crop = Similarity(matrix[:1, 0], torch.zeros(1, dtype=torch.float64), matrix[None, :2, 2])
    frame = Frame(photo, to_crop.inverse(), model.image_size)
    return fork.draw_target(model, source, data["exp_target"], data["jaw_target"], frame)


def u8(picture: torch.Tensor) -> torch.Tensor:
    return (picture * 255).clamp(0, 255).to(torch.uint8)


def test_source_pass(made):
    model, source = made
    data = golden("fork_decode")
    corners = source.vertices_image[:, model.model.triangles[::50]]
    torch.testing.assert_close(corners, data["attributes_every50"], atol=5e-6, rtol=0)
    seen = fork.draw_source(model, source)
    mostly_within(u8(seen.rendered), data["source_rendered_u8"], 2)
    mostly_within(u8(seen.mask), data["source_mask_u8"], 2)


def test_target_in_the_original_photo(made, drawn):
    data = golden("fork_decode")
    mostly_within(u8(drawn.rendered), data["target_rendered_u8"], 2)
    mostly_within(u8(drawn.mask), data["target_mask_u8"], 2)
    mostly_within(drawn.texture[..., ::4, ::4], data["target_uv_texture_gt_every4"], 2 / 255)
    mostly_within(drawn.detail_normals[..., ::4, ::4], data["uv_detail_normals_every4"], 2e-4)
    torch.testing.assert_close(drawn.vertices_frame[..., :2], data["trans_verts_xy"], atol=5e-6, rtol=0)
    mostly_within(u8(fork.square_depth(made[0], drawn)), data["depth_u8"], 2)


def test_the_target_differs_from_the_source(made, drawn):
    """The tolerances would notice it if the expression were not taken."""
    model, source = made
    data = golden("fork_decode")
    still = fork.draw_target(model, source, source.code.expression, source.code.jaw, Frame(torch.zeros(1, 3, 160, 160)))
    with pytest.raises(AssertionError):
        mostly_within(u8(still.rendered), data["target_rendered_u8"], 2)
    pictures = fork.frame_pictures(model, drawn)
    assert sorted(pictures) == ["depth", "mask", "masked_rendered_images", "rendered_images"]
    black = pictures["mask"] < 100
    assert (pictures["masked_rendered_images"][black] == 0).all()
    assert torch.equal(pictures["masked_rendered_images"][~black], pictures["rendered_images"][~black])


def test_frozen_eyes_and_exaggerated_upper_face():
    data = golden("fork_flame")
    model = synthetic_deca.model()
    flame = model.flame
    assert torch.equal(fork.eye_region(flame).nonzero()[:, 0], data["eye_indices"])
    assert torch.equal(fork.upper_region(flame).nonzero()[:, 0], data["upper_indices"])

    def posed(layer, expression, pose):
        rotations = torch.zeros(1, 5, 3)
        rotations[:, 0], rotations[:, 2] = pose[:, :3], pose[:, 3:]
        return layer(data["shape"], expression, rotations), rotations

    close = {"atol": 2e-6, "rtol": 0}
    source, _ = posed(flame, data["exp_source"], data["pose_source"])
    torch.testing.assert_close(source, data["verts_source"], **close)
    eyes = fork.eye_region(flame)
    torch.testing.assert_close(source[0, eyes], data["freeze_eyes"], **close)
    twice, rotations = posed(fork.exaggerated(flame, 2), data["exp_target"], data["pose_target"])
    torch.testing.assert_close(twice, data["verts_pca9x1_all2_unfrozen"], **close)
    layer = fork.exaggerated(flame, 2, component=9, component_scale=3)
    frozen, _ = posed(layer, data["exp_target"], data["pose_target"])
    frozen[0, eyes] = data["freeze_eyes"]
    torch.testing.assert_close(frozen, data["verts_pca9x3_all2_frozen"], **close)
    landmarks = model.landmarks.moving(frozen, rotations)
    torch.testing.assert_close(landmarks, data["landmarks2d_pca9x3_all2_frozen"], **close)


@pytest.mark.parametrize("name", ["jaw", "exp"])
def test_smoothing_window(name):
    data = golden("fork_smoothing")
    smoothed = fork.smooth_window(data[name][:, 0])
    torch.testing.assert_close(smoothed, data[f"smoothed_{name}"][:, 0], atol=1e-6, rtol=0)
